"""Other orders of axes and elements."""

import numpy as np

from export.graph import UNTIL_THE_END
from export.ops.operands import axis_of
from export.registry import lowers


@lowers("ops.transpose", "fuse_transpose")
def transpose(g, out, x, axes=()):
    axes = [axis_of(axis, x.ndim) for axis in axes] or list(reversed(range(x.ndim)))
    return g.op("Transpose", x, perm=axes)


@lowers("flip")
def flip(g, out, x, dim=0):
    axes = [dim] if isinstance(dim, int) else list(dim)
    count = len(axes)
    return g.op("Slice", x, g.int64s(*[-1] * count), g.int64s(*[np.iinfo(np.int64).min] * count),
                g.int64s(*(axis_of(axis, x.ndim) for axis in axes)), g.int64s(*[-1] * count))


@lowers("roll")
def roll(g, out, x, shifts, dims=None):
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    axes = range(len(shifts)) if dims is None else [dims] if isinstance(dims, int) else dims
    tensor = g.operand(x)
    for shift, axis in zip(shifts, axes):
        size = x.shape[axis]
        # Where the size is dynamic this assumes (and says so) that the shift is smaller.
        shift = shift if abs(shift) < size else shift % size
        if shift != 0:
            cut, along = g.sizes([-shift]), g.int64s(axis_of(axis, x.ndim))
            tensor = g.op("Concat", g.op("Slice", tensor, cut, g.int64s(UNTIL_THE_END), along),
                          g.op("Slice", tensor, g.int64s(0), cut, along), axis=axis_of(axis, x.ndim))
    return tensor
