"""How Python numbers, sizes and Vars of mixed types become operands of one type."""

import jittor as jt
import numpy as np

from export.graph import Graph
from export.symbolic import Sym


def operand(g: Graph, value, dtype) -> str:
    """`value` - a Var, an array, a number, a dynamic size - as an operand of NumPy dtype `dtype` (or its name)."""
    dtype = str(dtype)
    if type(value) is Sym:
        return g.size(value, dtype)
    if isinstance(value, jt.Var):
        return g.cast(value, dtype)
    if isinstance(value, (bool, int, float, np.generic)):
        return g.scalar(value, dtype)
    return g.constant(np.asarray(value).astype(dtype))


def common_dtype(*values) -> str:
    """The type in which C++ compares them: a float if one of them is, else the widest integer, bool if all are bool.

    Python numbers adapt to the Vars, but for a float among integers.
    """
    dtypes = [np.dtype(str(value.dtype)) for value in values if isinstance(value, (jt.Var, np.ndarray, np.generic))]
    numbers = [value for value in values if not isinstance(value, (jt.Var, np.ndarray, np.generic))]
    result = dtypes[0]
    for dtype in dtypes[1:]:
        floats = [kind for kind in (result, dtype) if kind.kind == "f"]
        result = max(floats or [result, dtype], key=lambda kind: kind.itemsize)
    if result.kind != "f" and any(isinstance(number, float) for number in numbers):
        return "float32"
    if result.kind == "b" and any(not isinstance(number, bool) for number in numbers):
        return "int32"
    return result.name


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as 0 .. rank - 1."""
    return int(axis) % rank
