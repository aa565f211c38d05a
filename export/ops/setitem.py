"""x[...] = value: a new tensor, which takes the place of the old one for whoever refers to x."""

import jittor as jt
import numpy as np

from export.errors import refusal
from export.graph import UNTIL_THE_END
from export.ops.getitem import every_axis, is_array, is_integer
from export.ops.operands import operand
from export.ops.reshape import reshaped
from export.registry import lowers
from export.symbolic import Sym

_INSTEAD = "build the result with jt.concat, jt.stack, jt.scatter or jt.where(condition, new, old)"


@lowers("setitem")
def setitem(g, out, x, index, value, op="void"):
    if str(op) != "void":
        raise refusal(f"setitem with {op!r}", "only plain assignment is exported", _INSTEAD)
    if type(x) is not jt.Var and x.tensor in g.rows:
        raise refusal("setitem", "x[i][j] = value writes into x too, in Jittor", "write x[i, j] = value")
    items = [item for item in every_axis(index if isinstance(index, tuple) else (index,), x.ndim) if item is not None]
    if any(isinstance(item, jt.Var) and type(item) is not jt.Var for item in items):
        raise refusal("setitem", "the index is a traced Var", _INSTEAD)
    touched = [axis for axis, item in enumerate(items) if not (isinstance(item, slice) and item == slice(None))]
    if not touched:
        return g.op("Expand", operand(g, value, out.dtype), g.sizes(x.shape))
    if len(touched) == 1 and not is_array(items[touched[0]]):
        return _between(g, out, x, touched[0], items[touched[0]], value)
    return _picked(g, out, x, items, touched[0], value)


def _between(g, out, x, axis, item, value):
    """What is before, the value, what is after, along the one axis."""
    step = item.step if isinstance(item, slice) and item.step is not None else 1
    if step != 1:
        return _picked(g, out, x, [slice(None)] * axis + [item] + [slice(None)] * (x.ndim - axis - 1), axis, value)
    if is_integer(item):
        start, stop = item, UNTIL_THE_END if type(item) is not Sym and item == -1 else item + 1
    else:
        start, stop = 0 if item.start is None else item.start, UNTIL_THE_END if item.stop is None else item.stop
    along, zero, end = g.int64s(axis), g.int64s(0), g.int64s(UNTIL_THE_END)
    first, last = g.sizes([start]), g.sizes([stop])
    target = g.op("Shape", g.op("Slice", x, first, last, along))
    new = operand(g, value, out.dtype)
    if is_integer(item) and getattr(value, "ndim", 0) > x.ndim - axis - 1:
        new = g.op("Unsqueeze", new, g.int64s(axis - x.ndim))
    parts = [g.op("Expand", new, target)]
    if type(start) is Sym or start != 0:
        parts.insert(0, g.op("Slice", x, zero, first, along))
    if type(stop) is Sym or stop != UNTIL_THE_END:
        parts.append(g.op("Slice", x, last, end, along))
    return g.op("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]


def _picked(g, out, x, items, first, value):
    """Every element of the result is picked from x or from the value, both laid out flat, but for the axes before
    `first`."""
    sizes = x.shape[first:]
    if any(type(size) is Sym for size in sizes):
        raise refusal("setitem", "it writes to several axes, or by steps or index arrays, of which one is dynamic", _INSTEAD)
    numbers = np.arange(np.prod(sizes, dtype=np.int64)).reshape(sizes)
    written = numbers[tuple(item.numpy() if isinstance(item, jt.Var) else item for item in items[first:])]
    numbers.reshape(-1)[written.reshape(-1)] = numbers.size + np.arange(written.size)
    kept = [0] * first
    lead = g.op("Slice", g.op("Shape", x), g.int64s(0), g.int64s(first)) if first else g.int64s()
    region = g.op("Concat", lead, g.int64s(*written.shape), axis=0) if first else g.int64s(*written.shape)
    new = g.op("Expand", operand(g, value, out.dtype), region)
    both = g.op("Concat", reshaped(g, x, [*kept, -1]), reshaped(g, new, [*kept, -1]), axis=first)
    picked = g.op("Gather", both, g.constant(numbers.reshape(-1)), axis=first)
    return reshaped(g, picked, [*kept, *sizes])
