"""The ONNX graph under construction."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jittor as jt
import numpy as np

from export.errors import refusal
from export.proxy import Proxy
from export.symbolic import Sym

UNTIL_THE_END = np.iinfo(np.int64).max
"""What ONNX takes for "to the end of the axis" in Slice."""


@dataclass
class Node:
    """One operator. Inputs that are absent are ""."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


class Graph:
    """Nodes in order, constants by name, and what is known of each tensor.

    opset         version of the ONNX operator set
    nodes         list of Node
    initializers  name to array; a parameter's name is its key in the state dict
    values        name to (dtype as NumPy calls it, sizes): a size is an int, the name of a dynamic axis, or None
    inputs        names, in the order of the model's arguments; outputs likewise
    scope         path of the module that runs: what new names begin with
    rows          names of what x[i] gave: where something is written into it, Jittor writes it into x too
    """

    def __init__(self, opset: int):
        self.opset = opset
        self.nodes: list[Node] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.values: dict[str, tuple[str, tuple]] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.scope = ""
        self.rows: set[str] = set()
        self._parameters: dict[int, tuple[str, jt.Var]] = {}
        self._constants: dict[tuple, str] = {}
        self._sizes: dict[Any, str] = {}
        self._counter: Counter = Counter()

    def name_parameter(self, name: str, parameter: jt.Var):
        self._parameters.setdefault(id(parameter), (name, parameter))

    def is_parameter(self, name: str) -> bool:
        """Whether a constant is one of the model's own, under its name."""
        return any(name == known for known, _ in self._parameters.values())

    def op(self, kind: str, *operands, outputs: int = 1, **attributes):
        """Append an ONNX node and return the name of its output (a list of names where there are several).

        operands: whatever `operand` takes, or None for an optional input that is left out. attributes: those that are
        None are left out.
        """
        inputs = ["" if operand is None else self.operand(operand) for operand in operands]
        while inputs and not inputs[-1]:
            inputs.pop()
        names = [self._new_name(kind) for _ in range(outputs)]
        attributes = {key: _plain(value) for key, value in attributes.items() if value is not None}
        self.nodes.append(Node(kind, inputs, names, attributes))
        return names[0] if outputs == 1 else names

    def add_output(self, name: str, tensor: str):
        """Make `tensor` an output of the model, under the name `name`."""
        self.nodes.append(Node("Identity", [tensor], [name]))
        self.outputs.append(name)

    def operand(self, value) -> str:
        """The name of the tensor that holds `value`: a Proxy, a Var (parameter or constant), an array, or a name."""
        if isinstance(value, str):
            return value
        if type(value) is Proxy:
            return value.tensor
        if type(value) is jt.Var:
            return self._parameter(value)
        if isinstance(value, (np.ndarray, np.generic)):
            return self.constant(value)
        raise refusal(f"a value of type {type(value).__name__}", "it is neither a Var nor an array")

    def constant(self, array) -> str:
        """An initializer that is no parameter. Small ones are shared."""
        array = np.array(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        name = self._constants.get(key)
        if name is None:
            name = self._new_name("Constant")
            self.initializers[name] = array
            if key is not None:
                self._constants[key] = name
        return name

    def int64s(self, *numbers: int) -> str:
        """A 1-D int64 constant."""
        return self.constant(np.array(numbers, np.int64).reshape(-1))

    def scalar(self, number, dtype) -> str:
        """A 0-D constant of the NumPy dtype (or its name)."""
        with np.errstate(over="ignore"):
            return self.constant(np.asarray(number).astype(str(dtype)))

    def cast(self, value, dtype) -> str:
        """`value`, an operand of any kind, as NumPy dtype (or its name); no node where it already is one."""
        known = str(value.dtype) if isinstance(value, jt.Var) else self.values.get(value, (None,))[0]
        if known == str(dtype):
            return self.operand(value)
        return self.op("Cast", value, to=np.dtype(str(dtype)))

    def sizes(self, dims) -> str:
        """A 1-D int64 operand that holds `dims`, ints and Syms."""
        if not any(type(dim) is Sym for dim in dims):
            return self.int64s(*dims)
        parts = [self.size(dim) for dim in dims]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def size(self, number, dtype="int64") -> str:
        """A 1-D operand of one element that holds a Sym or a plain number."""
        if type(number) is not Sym:
            return self.constant(np.array([number], dtype))
        name, computed = self._compute(number.recipe)
        return name if computed == dtype else self.op("Cast", name, to=np.dtype(dtype))

    def _compute(self, recipe):
        """The operand (shape [1]) that a recipe computes, and its dtype, int64 or float64."""
        if not isinstance(recipe, tuple):
            dtype = "float64" if isinstance(recipe, float) else "int64"
            return self.constant(np.array([recipe], dtype)), dtype
        if recipe not in self._sizes:
            self._sizes[recipe] = self._compute_anew(*recipe)
        return self._sizes[recipe]

    def _compute_anew(self, kind, *parts):
        if kind == "size":
            tensor, axis = parts
            if tensor is None:
                raise AssertionError("a rule computes with a dynamic size of its result, which does not exist yet; it "
                                     "must derive it from the sizes of its arguments")
            return self.op("Gather", self._shape_of(tensor), self.int64s(axis), axis=0), "int64"
        operands = [self._compute(part) for part in parts]
        if kind == "neg":
            return self.op("Neg", operands[0][0]), operands[0][1]
        if kind in ("floor", "ceil"):
            return self.op("Cast", self.op(kind.title(), operands[0][0]), to=np.dtype("int64")), "int64"
        whole = all(dtype == "int64" for _, dtype in operands)
        if whole and kind in ("add", "sub", "mul"):
            return self.op(kind.title(), operands[0][0], operands[1][0]), "int64"
        if whole and kind in ("floordiv", "mod") and all(_is_natural(part) for part in parts):
            return self.op("Div" if kind == "floordiv" else "Mod", operands[0][0], operands[1][0]), "int64"
        return self._compute_in_floats(kind, operands, whole)

    def _compute_in_floats(self, kind, operands, whole):
        a, b = (name if dtype == "float64" else self.op("Cast", name, to=np.dtype("float64"))
                for name, dtype in operands)
        if kind in ("add", "sub", "mul", "pow"):
            result = self.op(kind.title(), a, b)
        else:
            result = self.op("Div", a, b)
            if kind in ("floordiv", "mod"):
                result = self.op("Floor", result)
            if kind == "mod":
                result = self.op("Sub", a, self.op("Mul", result, b))
        if whole and kind != "truediv":
            return self.op("Cast", result, to=np.dtype("int64")), "int64"
        return result, "float64"

    def _shape_of(self, tensor):
        key = ("shape", tensor)
        if key not in self._sizes:
            self._sizes[key] = self.op("Shape", tensor)
        return self._sizes[key]

    def _parameter(self, var):
        if id(var) not in self._parameters:
            # Held, so that no other Var gets its id.
            self._parameters[id(var)] = (self._new_name("Constant"), var)
        name, _ = self._parameters[id(var)]
        if name not in self.initializers:
            self.initializers[name] = read(var)
            self.values[name] = (str(var.dtype), tuple(var.shape))
        return name

    def _new_name(self, kind):
        self._counter[kind] += 1
        return f"{self.scope}/{kind}_{self._counter[kind]}"


def read(var: jt.Var) -> np.ndarray:
    """The value of a real Var, computed alone: a plain `numpy()` would run every pending operation of the process,
    those of the traced model at its made-up sizes among them.
    """
    var.sync(False, False)
    return np.array(var.numpy())


def _is_natural(recipe) -> bool:
    """Whether a size recipe can only be 0 or more, where ONNX's integer division agrees with Python's."""
    if not isinstance(recipe, tuple):
        return recipe >= 0
    return recipe[0] == "size" or recipe[0] in ("add", "mul", "floordiv", "mod") and all(map(_is_natural, recipe[1:]))


def _plain(value):
    """An attribute as onnx.helper takes it."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, np.integer)):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    return value
