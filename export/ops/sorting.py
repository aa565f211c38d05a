"""Order. Of equals either may come first."""

from export.ops.operands import axis_of
from export.registry import lowers


@lowers("argsort")
def argsort(g, out, x, dim=-1, descending=False, dtype="int32"):
    """(index, value) along an axis."""
    index, _ = out
    values, found = _top(g, x, x.shape[dim], dim, descending)
    return [g.cast(found, index.dtype), values]


@lowers("topk")
def topk(g, out, input, k, dim=None, largest=True, sorted=True):
    """(value, index) of the k largest along an axis."""
    _, index = out
    values, found = _top(g, input, k, -1 if dim is None else dim, largest)
    return [values, g.cast(found, index.dtype)]


def _top(g, x, count, dim, largest):
    return g.op("TopK", x, g.sizes([count]), outputs=2, axis=axis_of(dim, x.ndim), largest=int(largest), sorted=1)
