"""Pooling over windows of a fixed size."""

import numpy as np

from export.errors import refusal
from export.ops.pad import padded
from export.registry import lowers
from export.symbolic import Sym


def _per_axis(value, rank):
    return list(value) if isinstance(value, (list, tuple)) else [value] * rank


@lowers("nn.Pool", "nn.Pool3d")
def pool(g, out, module, x):
    """Jittor counts padding in a mean, unless ceil_mode and count_include_pad=False come together."""
    rank = x.ndim - 2
    kernel, stride, padding = (_per_axis(item, rank) for item in (module.kernel_size, module.stride, module.padding))
    ends = [
        _end_padding(module, x.shape[axis + 2], kernel[axis], stride[axis], padding[axis])
        for axis in range(rank)
    ]
    counted = not module.ceil_mode or module.count_include_pad
    if any(type(end) is Sym for end in ends):
        x, padding, ends = _padded_first(g, module, x, padding, ends, counted), [0] * rank, [0] * rank
    geometry = {"kernel_shape": kernel, "strides": stride, "pads": padding + ends}
    if module.return_indices:
        return _with_indices(g, out, x, geometry)
    if module.op == "maximum":
        return g.op("MaxPool", x, **geometry)
    if module.op == "minimum":
        return g.op("Neg", g.op("MaxPool", g.op("Neg", x), **geometry))
    if module.op != "mean":
        raise refusal(f"pooling by {module.op!r}", "ONNX has no such pooling")
    return g.op("AveragePool", x, count_include_pad=int(counted), **geometry)


def _end_padding(module, size, kernel, stride, padding):
    """What ceil_mode pads at the end of an axis, said in numbers: engines read their own flag for it in different
    ways. A Sym where the axis is dynamic."""
    if not module.ceil_mode or stride == 1:
        return padding
    steps = (size + 2 * padding - kernel + stride - 1) // stride
    end = steps * stride + kernel - size - padding
    outside = stride + padding > kernel if type(size) is Sym else end >= kernel
    if outside:
        raise refusal("pooling with ceil_mode", f"its last window may lie outside of an axis of size {size!r}",
                      "pool without ceil_mode")
    return end if type(end) is Sym else max(end, 0)


def _padded_first(g, module, x, padding, ends, counted):
    """x with the padding that depends on its size; ONNX's pools have only that of fixed size."""
    fills = {"maximum": -np.inf, "minimum": np.inf, "mean": 0}
    if module.op not in fills or module.return_indices or (module.op == "mean" and not counted):
        raise refusal("pooling with ceil_mode on a dynamic axis",
                      "how far it pads depends on the size, and this pool must know what was padded",
                      "make the axis static (--dynamic), or pool without ceil_mode")
    return padded(g, x, [0, 0, *padding], [0, 0, *ends], fills[module.op], x.dtype)


def _with_indices(g, out, x, geometry):
    """Jittor's index counts within a plane, ONNX's over the whole Var."""
    value, index = out
    if x.ndim != 4:
        raise refusal("max pooling of volumes with return_indices", "Jittor's and ONNX's indices mean different things")
    pooled, indices = g.op("MaxPool", x, outputs=2, **geometry)
    return [pooled, g.cast(g.op("Mod", indices, g.size(x.shape[2] * x.shape[3])), index.dtype)]
