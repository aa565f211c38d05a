"""x[...]: slices, integers, None, Ellipsis and index arrays, as Jittor reads them."""

import jittor as jt
import numpy as np

from export.errors import refusal
from export.graph import UNTIL_THE_END
from export.registry import lowers
from export.symbolic import Sym


@lowers("Var.__getitem__", "getitem")
def getitem(g, out, x, index):
    """Slice, then gather by arrays, then squeeze the axes that an integer takes, then unsqueeze for None.

    As Jittor has it: the axes of index arrays come where the first of the arrays stands, and what has no axes left has
    shape (1,).
    """
    items = every_axis(index if isinstance(index, tuple) else (index,), x.ndim)
    per_axis = [item for item in items if item is not None]
    tensor = _slice(g, x, per_axis)
    alone = len(items) and is_integer(items[0]) and not isinstance(index, tuple)
    arrays = {axis: item for axis, item in enumerate(per_axis) if is_array(item)}
    if arrays:
        tensor = _gather(g, x, tensor, arrays)
    taken = [_shifted(axis, arrays) for axis, item in enumerate(per_axis) if is_integer(item)]
    if taken and len(taken) == x.ndim:
        return g.op("Reshape", tensor, g.int64s(1))
    if taken:
        tensor = g.op("Squeeze", tensor, g.int64s(*taken))
    if alone:
        g.rows.add(tensor)
    inserted = _positions_of_none(items, arrays)
    return g.op("Unsqueeze", tensor, g.int64s(*inserted)) if inserted else tensor


def is_array(item):
    return isinstance(item, (list, tuple, np.ndarray, jt.Var))


def is_integer(item):
    return isinstance(item, (int, np.integer)) and not isinstance(item, bool)


def every_axis(items, rank):
    """The index with Ellipsis, what is left out at the end, and constant masks written out: None or one item an
    axis."""
    items = [part for item in items for part in _without_masks(item)]
    for item in items:
        if not (item is None or item is Ellipsis or isinstance(item, slice) or is_array(item) or is_integer(item)):
            raise refusal(f"x[{item!r}]", "Jittor has no such index")
    missing = rank - sum(item is not None and item is not Ellipsis for item in items)
    at = next((place for place, item in enumerate(items) if item is Ellipsis), len(items))
    return items[:at] + [slice(None)] * missing + items[at + 1:]


def _without_masks(item):
    """A mask as the index arrays of its true elements."""
    if isinstance(item, jt.Var) and str(item.dtype) == "bool":
        if type(item) is not jt.Var:
            raise refusal("x[mask]", "the shape of its result depends on the values",
                          "keep the shape: jt.where(mask, x, other), or multiply by the mask")
        return list(np.nonzero(item.numpy()))
    return [item]


def _slice(g, x, per_axis):
    """One Slice for all slices and integers."""
    starts, ends, axes, steps = [], [], [], []
    for axis, item in enumerate(per_axis):
        if isinstance(item, slice) and item != slice(None):
            step = 1 if item.step is None else item.step
            backward = step < 0
            starts.append((-1 if backward else 0) if item.start is None else item.start)
            ends.append((-UNTIL_THE_END if backward else UNTIL_THE_END) if item.stop is None else item.stop)
            steps.append(step)
        elif is_integer(item):
            starts.append(item)
            ends.append(UNTIL_THE_END if type(item) is not Sym and item == -1 else item + 1)
            steps.append(1)
        else:
            continue
        axes.append(axis)
    if not axes:
        return g.operand(x)
    return g.op("Slice", x, g.sizes(starts), g.sizes(ends), g.int64s(*axes), g.sizes(steps))


def _gather(g, x, tensor, arrays):
    """Index arrays along one axis, or along several: then those axes are merged, and so are the indices."""
    axes = list(arrays)
    first = axes[0]
    if len(axes) == 1:
        return g.op("Gather", tensor, _index_operand(g, arrays[first]), axis=first)
    sizes = [x.shape[axis] for axis in axes]
    if any(type(size) is Sym for size in sizes[1:]):
        raise refusal("several index arrays", "all but the first index a dynamic axis",
                      "index one axis after the other, or make the axes static (--dynamic)")
    order = [axis for axis in range(x.ndim) if axis < first] + axes + [
        axis for axis in range(x.ndim) if axis > first and axis not in arrays]
    if order != sorted(order):
        tensor = g.op("Transpose", tensor, perm=order)
    shape = [0] * first + [-1] + [_size_after_slicing(g, tensor, place) for place in range(first + len(axes), x.ndim)]
    merged = None
    for axis, size in zip(axes, sizes):
        index = _from_the_start(g, arrays[axis], size)
        merged = index if merged is None else g.op("Add", g.op("Mul", merged, g.int64s(size)), index)
    return g.op("Gather", g.op("Reshape", tensor, _concat(g, shape)), merged, axis=first)


def _size_after_slicing(g, tensor, axis):
    return g.op("Gather", g.op("Shape", tensor), g.int64s(axis), axis=0)


def _concat(g, parts):
    return g.op("Concat", *(part if isinstance(part, str) else g.int64s(part) for part in parts), axis=0)


def _index_operand(g, item):
    return g.cast(item, "int64") if isinstance(item, jt.Var) else g.constant(np.asarray(item, np.int64))


def _from_the_start(g, item, size):
    """An index whose negative elements count from the start too: along merged axes there is no end to count from."""
    if not isinstance(item, jt.Var) and np.min(item) >= 0:
        return _index_operand(g, item)
    index = _index_operand(g, item)
    return g.op("Where", g.op("Less", index, g.int64s(0)), g.op("Add", index, g.sizes([size])), index)


def _rank(arrays):
    """How many axes the index arrays have together."""
    return max((item.ndim if isinstance(item, jt.Var) else np.ndim(item) for item in arrays.values()), default=0)


def _shifted(axis, arrays):
    """Where an axis of x lies after the gather."""
    if not arrays or axis < min(arrays):
        return axis
    return axis + _rank(arrays) - sum(other < axis for other in arrays)


def _positions_of_none(items, arrays):
    """The axes of the result that None inserts."""
    positions, place, seen = [], 0, False
    for item in items:
        if item is None:
            positions.append(place)
            place += 1
        elif isinstance(item, slice):
            place += 1
        elif is_array(item) and not seen:
            place, seen = place + _rank(arrays), True
    return positions
