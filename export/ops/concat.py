"""Several Vars into one."""

import jittor as jt

from export.ops.operands import axis_of, operand
from export.registry import lowers, rewrites


@lowers("concat")
def concat(g, out, arr, dim=0):
    parts = [operand(g, part, out.dtype) for part in arr if not _is_empty(part)]
    return g.op("Concat", *parts, axis=axis_of(dim, out.ndim))


def _is_empty(part):
    return any(type(size) is int and size == 0 for size in part.shape)


@rewrites("stack")
def stack(x, dim=0):
    return jt.concat([jt.array(part).unsqueeze(dim) for part in x], dim=dim)
