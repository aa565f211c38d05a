"""Repetition along axes."""

from export.errors import refusal
from export.ops.operands import axis_of
from export.ops.reshape import reshaped
from export.registry import lowers
from export.symbolic import Sym


@lowers("broadcast", "broadcast_var", "expand_as")
def broadcast(g, out, x, shape, dims=()):
    """To `shape` (or a Var's shape). dims: axes of the result that `x` lacks; other missing ones are in front."""
    target = list(getattr(shape, "shape", shape))
    tensor, sizes = g.operand(x), list(x.shape)
    if dims:
        axes = sorted(axis_of(axis, len(target)) for axis in dims)
        tensor = g.op("Unsqueeze", tensor, g.int64s(*axes))
        for axis in axes:
            sizes.insert(axis, 1)
    offset = len(target) - len(sizes)
    # 1 leaves an axis as it is.
    wanted = [1 if axis >= offset and not _is_one(sizes[axis - offset]) else size for axis, size in enumerate(target)]
    if offset == 0 and all(_is_one(size) for size in wanted):
        return tensor
    return g.op("Expand", tensor, g.sizes(wanted))


def _is_one(size):
    return type(size) is not Sym and size == 1


@lowers("repeat")
def repeat(g, out, x, *shape):
    """Whole copies, as NumPy's tile."""
    counts = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else list(shape)
    counts = [1] * (x.ndim - len(counts)) + counts
    tensor = g.operand(x)
    if len(counts) > x.ndim:
        tensor = g.op("Unsqueeze", x, g.int64s(*range(len(counts) - x.ndim)))
    return g.op("Tile", tensor, g.sizes(counts))


@lowers("repeat_interleave")
def repeat_interleave(g, out, x, repeats, dim=None):
    """Each element `repeats` times in a row."""
    if dim is None and x.ndim > 1:
        raise refusal("repeat_interleave without dim", "it is not supported", "flatten first and give dim=0")
    axis = axis_of(dim or 0, x.ndim)
    copies = [1] * (axis + 1) + [repeats] + [1] * (x.ndim - axis - 1)
    tiled = g.op("Tile", g.op("Unsqueeze", x, g.int64s(axis + 1)), g.int64s(*copies))
    return reshaped(g, tiled, [*x.shape[:axis], x.shape[axis] * repeats, *x.shape[axis + 1:]])


@lowers("ops.index", "index_var")
def index(g, out, x, dim=None, dtype="int32"):
    """jt.index(shape or Var, dim): for every element its index along an axis; without dim the list for all axes."""
    target = list(getattr(x, "shape", x))
    axes = range(len(target)) if dim is None else [axis_of(dim, len(target))]
    results = [_index_along(g, target, axis, dtype) for axis in axes]
    return results if dim is None else results[0]


def _index_along(g, target, axis, dtype):
    count = g.op("Squeeze", g.sizes([target[axis]]), g.int64s(0))
    numbers = g.op("Range", g.scalar(0, "int64"), count, g.scalar(1, "int64"))
    column = g.op("Reshape", g.cast(numbers, str(dtype)), g.int64s(-1, *[1] * (len(target) - axis - 1)))
    return g.op("Expand", column, g.sizes(target))
