"""One Var into several."""

from export.ops.operands import axis_of
from export.registry import lowers
from export.symbolic import Sym


@lowers("split")
def split(g, out, d, split_size, dim=0):
    axis = axis_of(dim, d.ndim)
    sizes = [part.shape[axis] for part in out]
    if not any(type(size) is Sym for size in sizes):
        return _split(g, d, axis, sizes)
    parts, start = [], 0
    for size in split_size:  # not an int: then the number of parts would have differed between the traces
        parts.append(g.op("Slice", d, g.sizes([start]), g.sizes([start + size]), g.int64s(axis)))
        start = start + size
    return parts


@lowers("chunk")
def chunk(g, out, x, chunks, dim=0):
    axis = axis_of(dim, x.ndim)
    sizes = [part.shape[axis] for part in out]
    if type(x.shape[axis]) is Sym or sum(sizes) != x.shape[axis]:
        return NotImplemented
    return _split(g, x, axis, sizes)


def _split(g, x, axis, sizes):
    if len(sizes) == 1:
        return [g.operand(x)]
    return g.op("Split", x, g.int64s(*sizes), outputs=len(sizes), axis=axis)
