"""Pooling."""

from export.errors import refusal
from export.registry import lowers
from export.symbolic import Sym


def _triple(value, rank):
    return list(value) if isinstance(value, (list, tuple)) else [value] * rank


@lowers("nn.Pool", "nn.Pool3d")
def pool(g, out, module, x):
    """Jittor counts padding in a mean, unless ceil_mode and count_include_pad=False come together."""
    if module.return_indices:
        raise refusal("max pooling with return_indices", "Jittor's and ONNX's indices mean different things")
    rank = x.ndim - 2
    kernel, stride, padding = (_triple(value, rank) for value in (module.kernel_size, module.stride, module.padding))
    ends = [
        _end_padding(module, x.shape[axis + 2], out.shape[axis + 2], kernel[axis], stride[axis], padding[axis])
        for axis in range(rank)
    ]
    geometry = {"kernel_shape": kernel, "strides": stride, "pads": padding + ends}
    if module.op == "maximum":
        return g.op("MaxPool", x, **geometry)
    if module.op == "minimum":
        return g.op("Neg", g.op("MaxPool", g.op("Neg", x), **geometry))
    if module.op != "mean":
        raise refusal(f"pooling by {module.op!r}", "ONNX has no such pooling")
    counted = not module.ceil_mode or module.count_include_pad
    return g.op("AveragePool", x, count_include_pad=int(counted), **geometry)


def _end_padding(module, size, pooled, kernel, stride, padding):
    """What ceil_mode pads at the end of an axis, said in numbers: engines read their own flag for it in different
    ways."""
    if not module.ceil_mode:
        return padding
    if type(size) is Sym:
        raise refusal("pooling with ceil_mode on a dynamic axis", "how far it pads depends on the size",
                      "make the axis static (--dynamic), or pool without ceil_mode")
    end = (pooled - 1) * stride + kernel - size - padding
    if end >= kernel:
        raise refusal("pooling with ceil_mode", f"its last window lies outside of an axis of size {size}")
    return max(end, 0)


@lowers("nn.AdaptiveAvgPool2d", "nn.AdaptiveAvgPool3d")
def adaptive_mean(g, out, module, x):
    return _adaptive(g, out, x, "GlobalAveragePool", "AveragePool")


@lowers("nn.AdaptiveMaxPool2d", "nn.AdaptiveMaxPool3d")
def adaptive_max(g, out, module, x):
    if getattr(module, "return_indices", False):
        raise refusal("max pooling with return_indices", "Jittor's and ONNX's indices mean different things")
    return _adaptive(g, out, x, "GlobalMaxPool", "MaxPool")


def _adaptive(g, out, x, to_one, kind):
    """Jittor's windows: a step of floor(size / pooled), and wide enough for the last one to end at the edge."""
    pairs = list(zip(x.shape[2:], out.shape[2:]))
    if all(type(pooled) is not Sym and pooled == 1 for _, pooled in pairs):
        return g.op(to_one, x)
    if any(type(size) is Sym for size, _ in pairs):
        raise refusal("adaptive pooling of a dynamic axis", "its windows depend on the size",
                      "make the axis static (--dynamic), or pool to 1")
    strides = [size // pooled for size, pooled in pairs]
    kernel = [size - (pooled - 1) * stride for (size, pooled), stride in zip(pairs, strides)]
    return g.op(kind, x, kernel_shape=kernel, strides=strides)
