"""Pooling to a fixed number of windows.

Jittor's windows: a step of floor(size / pooled), and all as wide as it takes for the last to end at the edge.
"""

from export.errors import refusal
from export.registry import lowers
from export.symbolic import Sym


@lowers("nn.AdaptiveAvgPool2d", "nn.AdaptiveAvgPool3d")
def adaptive_mean(g, out, module, x):
    if _is_dynamic(x, out):
        return _mean_by_matrices(g, out, x)
    return _adaptive(g, out, x, "GlobalAveragePool", "AveragePool")


@lowers("nn.AdaptiveMaxPool2d", "nn.AdaptiveMaxPool3d")
def adaptive_max(g, out, module, x):
    if getattr(module, "return_indices", False):
        return NotImplemented  # it is Jittor's MaxPool2d then
    if _is_dynamic(x, out):
        raise refusal("adaptive max pooling of a dynamic axis", "the width of its windows depends on the size",
                      "make the axis static (--dynamic), pool to 1, or use adaptive average pooling")
    return _adaptive(g, out, x, "GlobalMaxPool", "MaxPool")


def _is_dynamic(x, out):
    """Whether the windows depend on a dynamic size."""
    pairs = list(zip(x.shape[2:], out.shape[2:]))
    return any(type(size) is Sym for size, _ in pairs) and not all(_is_one(pooled) for _, pooled in pairs)


def _is_one(size):
    return type(size) is not Sym and size == 1


def _adaptive(g, out, x, to_one, kind):
    pairs = list(zip(x.shape[2:], out.shape[2:]))
    if all(_is_one(pooled) for _, pooled in pairs):
        return g.op(to_one, x)
    strides = [size // pooled for size, pooled in pairs]
    kernel = [size - (pooled - 1) * stride for (size, pooled), stride in zip(pairs, strides)]
    return g.op(kind, x, kernel_shape=kernel, strides=strides)


def _mean_by_matrices(g, out, x):
    """A mean over windows along an axis is a product with a matrix, which the graph makes from the size."""
    if x.ndim != 4:
        raise refusal("adaptive pooling of volumes with a dynamic axis", "the width of its windows depends on the size",
                      "make the axis static (--dynamic), or pool to 1")
    (height, width), (rows, columns) = x.shape[2:], out.shape[2:]
    # A size of `out` that is dynamic is that of x: None among Jittor's output_size.
    rows, columns = (size if type(pooled) is Sym else pooled for size, pooled in ((height, rows), (width, columns)))
    tensor = g.op("MatMul", _windows(g, height, rows, out.dtype), x)
    return g.op("MatMul", tensor, g.op("Transpose", _windows(g, width, columns, out.dtype), perm=[1, 0]))


def _windows(g, size, count, dtype):
    """(count, size): 1 / width where an element lies in a window, else 0."""
    stride = size // count
    width = size - (count - 1) * stride
    first = g.op("Unsqueeze", g.op("Mul", _numbers(g, count), g.size(stride)), g.int64s(1))
    place = g.op("Sub", _numbers(g, size), first)
    inside = g.op("And", g.op("GreaterOrEqual", place, g.int64s(0)), g.op("Less", place, g.size(width)))
    return g.op("Div", g.cast(inside, dtype), g.size(width, str(dtype)))


def _numbers(g, count):
    """0 .. count - 1"""
    return g.op("Range", g.scalar(0, "int64"), g.op("Squeeze", g.size(count), g.int64s(0)), g.scalar(1, "int64"))
