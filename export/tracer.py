"""Runs a module once on Proxies and records what it does."""

import contextlib
import types

import jittor as jt
import numpy as np

from export import context
from export.errors import ExportError, refusal
from export.graph import Graph
from export.inputs import Input, call, symbol_values
from export.location import jittor_function, line_of, module_path, user_place
from export.outputs import flatten
from export.patching import patched
from export.proxy import Proxy, at
from export.refusals import why_not
from export.symbolic import Sym

_UNREACHED = "a traced Var reached C code through a reference that the exporter cannot exchange, as in a closure"


class Trace:
    """One trace: the graph so far, which module runs, and what had to be assumed about dynamic sizes.

    assumptions: texts such as "vit.py:31: x.shape[2] % 7 > 0 is False"
    """

    def __init__(self, model: jt.Module, inputs: list[Input], opset: int):
        self.graph = Graph(opset)
        self.assumptions: list[str] = []
        self._model = model
        self._inputs = inputs
        self._paths = {}
        self._stack = []
        self._axes = symbol_values(inputs)
        self._symbols = {}
        self._dim_names = {}

    def run(self, output_names: list[str] | None) -> Graph:
        """Trace the model and return its graph. output_names: None for "output", or "output_0", ... or a dict's
        keys."""
        if context.active is not None:
            raise RuntimeError("a trace is already running in this process")
        proxies = [self._input(spec) for spec in self._inputs]
        self._name_parameters()
        modules = list(self._model.modules())
        context.active = self
        try:
            # The innermost is undone first: `execute`s are put back before the modules' attributes.
            with jt.no_grad(), evaluation(self._model), patched(self, modules):
                outputs = self._run_the_users_model(proxies)
                self._record_outputs(outputs, output_names)
        finally:
            context.active = None
        return self.graph

    def _input(self, spec):
        first, second = (jt.empty(spec.sizes(values), spec.dtype) for values in self._axes_values())
        self.graph.inputs.append(spec.name)
        for axis, symbol in spec.dynamic.items():
            pair = self._axes[symbol]
            self._symbols.setdefault(pair, ("size", spec.name, axis))
            self._dim_names[pair] = symbol
        proxy = Proxy(first, second, spec.name)
        self._note(proxy)
        return proxy

    def _axes_values(self):
        return ({symbol: pair[which] for symbol, pair in self._axes.items()} for which in (0, 1))

    def _name_parameters(self):
        state = self._model.state_dict()
        # Now, so that a lazy random initialisation is the same to everybody.
        jt.sync(list(state.values()), False, False)
        for key, var in state.items():
            self.graph.name_parameter(key, var)
        for key, module in self._model.named_modules():
            self._paths.setdefault(id(module), key)
            for name, var in vars(module).items():
                if type(var) is jt.Var:  # what the state dict leaves out: names with a "_", buffers that do not persist
                    self.graph.name_parameter(f"{key}.{name}".lstrip("."), var)
        taken = set(self.graph.inputs) & set(state)
        if taken:
            raise ExportError("the inputs", f"{', '.join(sorted(taken))} is the name of a parameter too",
                              "name the input differently")

    def _run_the_users_model(self, proxies):
        return call(self._model, dict(zip(self.graph.inputs, proxies)))

    def _record_outputs(self, outputs, names):
        found = flatten(outputs)
        names = names or [name for name, _ in found]
        if len(names) != len(found):
            raise ExportError("the outputs", f"the model returns {len(found)}, and {len(names)} names were given: "
                              f"{', '.join(names)}")
        for name, (place, output) in zip(names, found):
            if type(output) is not Proxy:
                kind = "a Var" if type(output) is jt.Var else type(output).__name__
                raise ExportError(f"{place} of the model", f"it is {kind} that depends on no input",
                                  "return only Vars that are computed from the inputs")
            if name in self.graph.inputs or name in self.graph.outputs:
                raise ExportError(f"{place} of the model", f"the name {name} is taken", "name the outputs (--output)")
            self.graph.add_output(name, output.tensor)
            self._note(Proxy(output.first, output.second, name))

    # What the patched Jittor calls.

    def call(self, rule, original, args, kwargs):
        """The result of `original` on traced arguments, by its rule."""
        if rule.rewrites:
            result = rule.function(*args, **kwargs)
        else:
            build = rule.result or original
            out = self._paired(rule, *(build(*at(args, which), **at(kwargs, which)) for which in (0, 1)))
            result = rule.function(self.graph, out, *args, **kwargs)
            if result is not NotImplemented:
                self._named(out, result)
                return out
        if result is not NotImplemented:
            return result
        if not isinstance(original, types.FunctionType):
            raise refusal(rule.name, "the exporter has no rule for these arguments")
        return original(*args, **kwargs)

    def _paired(self, rule, first, second):
        """What Jittor returned at both sizes as Proxies without a name, nested as it is."""
        if not isinstance(first, (list, tuple)):
            return Proxy(first, second, None)
        if len(first) != len(second):
            raise refusal(rule.name, "it returns a different number of Vars at different sizes of a dynamic axis",
                          "make the axis static (--dynamic)")
        make = getattr(type(first), "_make", type(first))  # namedtuples have one
        return make([self._paired(rule, a, b) for a, b in zip(first, second)])

    def _named(self, out, names):
        if isinstance(out, (list, tuple)):
            for part, name in zip(out, names):
                self._named(part, name)
        else:
            out.tensor = names
            self._note(out)

    def refuse_operator(self, name):
        reason, instead = why_not(name, jittor_function())
        running = self._stack[-1][1] if self._stack else "ThatClass"
        raise refusal(name, reason, instead.replace("ThatClass", running))

    @contextlib.contextmanager
    def inside(self, module):
        """While active, `module` is the one that runs."""
        path = self._paths.get(id(module))
        if path is None:  # made during the run
            parent = self._stack[-1][0] if self._stack else ""
            path = f"{parent}.{type(module).__name__}".lstrip(".")
        self._stack.append((path, type(module).__name__))
        self.graph.scope = path
        try:
            yield
        except ExportError:
            raise
        except Exception as error:
            self._explain(error)
            raise
        finally:
            self._stack.pop()
            self.graph.scope = self._stack[-1][0] if self._stack else ""

    def where(self) -> str:
        """The module that runs, as "encoder.blocks[2].attn (Attention)"."""
        if not self._stack:
            return ""
        path, kind = self._stack[-1]
        return f"{module_path(path)} ({kind})" if path else kind

    def _explain(self, error):
        """Say where an error of the model itself (or of Jittor) arose; one about a Proxy in C code becomes ours."""
        text = str(error)
        if isinstance(error, TypeError) and "Proxy" in text and "operand type" in text:
            raise refusal("a Python operator", f"Jittor has none for Vars: {text.replace('Proxy', 'Var')}",
                          "say it with a function of Jittor, as jt.logical_not(mask) for ~mask", error) from error
        if isinstance(error, (TypeError, RuntimeError)) and "Proxy" in text:
            raise refusal("a C operator", _UNREACHED, "call it as jt.name(x) or x.name()", error) from error
        if not getattr(error, "__notes__", None):
            line = line_of(error)
            error.add_note(f"while exporting {self.where()}" + (f", at {line}" if line else ""))

    def assume(self, text):
        place, _ = user_place()
        text = f"{place or self.where()}: {text}"
        if text not in self.assumptions:
            self.assumptions.append(text)

    def size(self, proxy, axis):
        """The size of a Proxy's axis: an int, or a Sym where the two traces differ."""
        first, second = int(proxy.first.shape[axis]), int(proxy.second.shape[axis])
        if first == second:
            return first
        return Sym(first, second, self._symbols.get((first, second), ("size", proxy.tensor, axis)))

    def size_name(self, tensor, axis):
        for pair, recipe in self._symbols.items():
            if recipe == ("size", tensor, axis):
                return self._dim_names[pair]
        return f"{tensor}.shape[{axis}]"

    def _note(self, proxy):
        """Keep what Jittor knows of a tensor: the finished graph is checked against it."""
        first, second = list(proxy.first.shape), list(proxy.second.shape)
        if len(first) != len(second) or str(proxy.first.dtype) != str(proxy.second.dtype):
            raise refusal("an operation", f"its result has shape {first} at one size of the dynamic axes and {second} "
                          "at another")
        if proxy.tensor not in self.graph.values:
            dims = tuple(a if a == b else self._dim_names.get((a, b)) for a, b in zip(first, second))
            self.graph.values[proxy.tensor] = (_dtype(proxy), dims)


def _dtype(proxy) -> str:
    name = str(proxy.dtype)
    try:
        return np.dtype(name).name
    except TypeError as error:
        raise refusal(f"{name} Vars", "ONNX engines on the CPU have no such type", "export it in float32") from error


@contextlib.contextmanager
def evaluation(model: jt.Module):
    """The model in eval mode for a while; afterwards every module has the attributes it had, its mode among them."""
    modules = list(model.modules())
    before = [dict(vars(module)) for module in modules]
    try:
        for module in modules:
            module.is_train = False
        yield model
    finally:
        for module, attributes in zip(modules, before):
            vars(module).clear()
            vars(module).update(attributes)
