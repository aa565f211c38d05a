"""Elements by index along one axis."""

import jittor as jt

from export.errors import refusal
from export.ops.operands import axis_of, operand
from export.registry import lowers, rewrites

_REDUCTIONS = {"void": None, "add": "add", "multiply": "mul"}


@lowers("gather")
def gather(g, out, x, dim, index):
    """out[i][j] = x[index[i][j]][j] for dim 0."""
    return g.op("GatherElements", x, index, axis=axis_of(dim, x.ndim))


@lowers("scatter")
def scatter(g, out, x, dim, index, src, reduce="void"):
    """A copy of x with out[index[i][j]][j] = src[i][j] for dim 0, or added or multiplied to what is there."""
    if reduce not in _REDUCTIONS or (_REDUCTIONS[reduce] and g.opset < 16):
        raise refusal(f"scatter(reduce={reduce!r})", f"ONNX has none at opset {g.opset}")
    if list(src.shape) != list(index.shape):
        raise refusal("scatter", f"src must have the shape of index {list(index.shape)}; got {list(src.shape)}")
    return g.op("ScatterElements", x, index, operand(g, src, out.dtype), axis=axis_of(dim, x.ndim),
                reduction=_REDUCTIONS[reduce])


@rewrites("nn.one_hot")
def one_hot(x, num_classes=-1):
    if num_classes == -1:
        raise refusal("one_hot without num_classes", "the shape of its result depends on the values",
                      "give num_classes")
    return (x.unsqueeze(-1) == jt.arange(num_classes)).cast(x.dtype)
