"""What is exchanged in Jittor, and in the modules of the model, while a trace runs, and put back afterwards."""

import contextlib
import functools
import sys
import types

import jittor as jt

from export.proxy import BINARY, COMPARE, is_traced
from export.registry import RULES

_MISSING = object()


class Patches:
    """Attributes and dict entries that are set for a while."""

    def __init__(self):
        self._undo = []

    def set(self, owner, name, new):
        """Set an attribute of a class, module or object."""
        old = vars(owner).get(name, _MISSING)
        self._undo.append(functools.partial(delattr, owner, name) if old is _MISSING
                          else functools.partial(setattr, owner, name, old))
        setattr(owner, name, new)

    def set_item(self, mapping, key, new):
        """Set an entry that exists."""
        self._undo.append(functools.partial(mapping.__setitem__, key, mapping[key]))
        mapping[key] = new

    def restore(self):
        while self._undo:
            self._undo.pop()()


@contextlib.contextmanager
def patched(trace, modules):
    """Send every operation on a Proxy to `trace`, and tell it which module runs. modules: those of the traced model."""
    patches = Patches()
    try:
        operators, functions, classes = _resolve_rules()
        exchanged = _exchange_operators(trace, patches, operators)
        exchanged |= {id(function): _wrap_function(trace, function, rule) for function, rule in functions}
        _exchange_methods(trace, patches, operators)
        _exchange_references(patches, exchanged, modules)
        _exchange_executes(trace, patches, classes, modules)
        _keep_pending_work_pending(patches)
        _forget_caches(patches)
        yield
    finally:
        patches.restore()


def _resolve_rules():
    """Rules by what their targets are now: C operators by name; (function, rule) pairs; module classes."""
    operators, functions, classes = {}, [], {}
    for target, rule in RULES.items():
        found = _look_up(target) if isinstance(target, str) else target
        if isinstance(found, type):
            classes[found] = rule
        elif isinstance(found, types.BuiltinFunctionType) or isinstance(target, str) and found is None:
            operators[target.removeprefix("ops.")] = rule
        else:
            functions.append((found, rule))
    return operators, functions, classes


def _look_up(name):
    found = jt
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _wrap_function(trace, original, rule):
    @functools.wraps(original)
    def call(*args, **kwargs):
        if is_traced(args) or is_traced(kwargs):
            return trace.call(rule, original, args, kwargs)
        return original(*args, **kwargs)
    return call


def _wrap_operator(trace, name, original, rule):
    """`original`: a C function or method. Without a rule it is refused, except on Vars that are not traced."""
    def call(*args, **kwargs):
        if not (is_traced(args) or is_traced(kwargs) or name == "random"):
            return original(*args, **kwargs)
        if rule is None:
            trace.refuse_operator(name)
        return trace.call(rule, original, args, kwargs)
    call.__name__ = name
    return call


def _exchange_operators(trace, patches, operators):
    """The functions of `jt.ops`; returns their wrappers by the id of the original."""
    exchanged = {}
    for space in (jt.ops, jt):
        for name, original in list(vars(space).items()):
            if not isinstance(original, types.BuiltinFunctionType) or id(original) in exchanged:
                continue
            if space is jt.ops or name in operators:
                exchanged[id(original)] = _wrap_operator(trace, name, original, operators.get(name))
    for name, original in list(vars(jt.ops).items()):
        if id(original) in exchanged:
            patches.set(jt.ops, name, exchanged[id(original)])
    return exchanged


def _exchange_methods(trace, patches, operators):
    """The methods of `jt.Var` that are written in C, and its Python operators: for a real Var that meets a Proxy."""
    for name, original in list(vars(jt.Var).items()):
        if isinstance(original, types.MethodDescriptorType) and not name.startswith("__"):
            patches.set(jt.Var, name, _wrap_operator(trace, name, original, operators.get(name)))
    for dunder, name in {**BINARY, **COMPARE}.items():
        for method in (f"__{dunder}__", f"__i{dunder}__"):
            original = vars(jt.Var).get(method)
            if isinstance(original, types.WrapperDescriptorType):
                patches.set(jt.Var, method, _wrap_dunder(original, name))


def _wrap_dunder(original, name):
    def call(self, other):
        # In place too: the real Var stays as it is, and the user's name is bound to the result.
        return getattr(jt, name)(self, other) if is_traced(other) else original(self, other)
    return call


def _exchange_references(patches, exchanged, modules):
    """Whatever else refers to the exchanged functions: globals of loaded modules, methods of Var, attributes of the
    model's modules. (A reference in a closure stays; a Python function there is traced through.)"""
    for module in list(sys.modules.values()):
        space = getattr(module, "__dict__", None)
        if type(space) is not dict or getattr(module, "__name__", "").startswith("export."):
            continue
        for key, found in list(space.items()):
            if id(found) in exchanged and space is not vars(jt.ops):
                patches.set_item(space, key, exchanged[id(found)])
    for name, found in list(vars(jt.Var).items()):
        if id(found) in exchanged:
            patches.set(jt.Var, name, exchanged[id(found)])
    for module in modules:
        for key, found in list(vars(module).items()):
            if id(found) in exchanged:
                patches.set_item(vars(module), key, exchanged[id(found)])


def _exchange_executes(trace, patches, classes, modules):
    """`execute` of the classes that have a rule, and of every class of the model, to follow which module runs."""
    involved = dict.fromkeys(classes)
    for module in modules:
        involved.update(dict.fromkeys(type(module).__mro__))
    for cls in involved:
        if cls is not jt.Module and "execute" in vars(cls):
            patches.set(cls, "execute", _wrap_execute(trace, vars(cls)["execute"], classes.get(cls)))


def _wrap_execute(trace, original, rule):
    @functools.wraps(original)
    def execute(module, *args, **kwargs):
        with trace.inside(module):
            if rule is not None and (is_traced(args) or is_traced(kwargs)):
                return trace.call(rule, original, (module, *args), kwargs)
            return original(module, *args, **kwargs)
    return execute


def _keep_pending_work_pending(patches):
    """Reading a real Var during the trace must compute that Var alone.

    Jittor otherwise runs every pending operation with it, the traced model's at its made-up sizes among them.
    """
    for name in ("numpy", "item", "fetch_sync", "__array__"):
        patches.set(jt.Var, name, _read_alone(vars(jt.Var)[name]))
    original_data = vars(jt.Var)["data"]
    patches.set(jt.Var, "data", property(
        lambda self: original_data.__get__(self.sync()), lambda self, new: original_data.__set__(self, new)))
    original_sync = vars(jt.Var)["sync"]
    patches.set(jt.Var, "sync", lambda self, *args, **kwargs: original_sync(self, False, False))
    nothing = lambda *args, **kwargs: None  # noqa: E731
    for name in ("sync", "sync_all"):
        patches.set(jt, name, nothing)


def _read_alone(original):
    def read(self, *args, **kwargs):
        self.sync(False, False)
        return original(self, *args, **kwargs)
    return read


def _forget_caches(patches):
    """`jittor.einops` remembers by shape what it has worked out; a dynamic size is good for one trace only."""
    space = sys.modules.get("jittor.einops.einops")
    for name in ("_reconstruct_from_shape", "_prepare_transformation_recipe"):
        cached = getattr(space, name, None)
        if hasattr(cached, "__wrapped__"):
            patches.set(space, name, cached.__wrapped__)
