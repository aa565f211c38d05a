"""Convolutions and transposed convolutions of rank 1 to 3."""

from export.registry import lowers


def _per_axis(value, rank):
    return [int(item) for item in value] if isinstance(value, (list, tuple)) else [int(value)] * rank


def _attributes(weight, stride, padding, dilation, groups):
    rank = weight.ndim - 2
    return {
        "kernel_shape": [int(size) for size in weight.shape[2:]], "strides": _per_axis(stride, rank),
        "pads": _per_axis(padding, rank) * 2, "dilations": _per_axis(dilation, rank), "group": int(groups),
    }


@lowers("nn.conv2d", "nn.conv3d")
def convolve(g, out, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """x (N, I, *spatial), weight (O, I / groups, *kernel), bias (O,)."""
    return g.op("Conv", x, weight, bias, **_attributes(weight, stride, padding, dilation, groups))


@lowers("nn.Conv2d", "nn.Conv3d")
def convolution_module(g, out, module, x):
    return convolve(g, out, x, module.weight, module.bias, module.stride, module.padding, module.dilation,
                    module.groups)


@lowers("nn.Conv1d")
def convolution_module_1d(g, out, module, x):
    """Jittor computes it in 2-D, with a second axis of size 1: of its geometry only the first numbers count."""
    stride, padding, dilation = module.stride[0], module.padding[0], module.dilation[0]
    return convolve(g, out, x, module.weight, module.bias, stride, padding, dilation, module.groups)


@lowers("nn.conv_transpose", "nn.conv_transpose3d")
def convolve_transposed(g, out, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """input (N, I, *spatial), weight (I, O / groups, *kernel), bias (O,)."""
    return g.op("ConvTranspose", input, weight, bias if hasattr(bias, "shape") else None,
                output_padding=_per_axis(output_padding, weight.ndim - 2),
                **_attributes(weight, stride, padding, dilation, groups))


@lowers("nn.ConvTranspose2d", "nn.ConvTranspose3d")
def transposed_convolution_module(g, out, module, x):
    groups = getattr(module, "groups", 1)  # the 3-D one has none
    return convolve_transposed(g, out, x, module.weight, module.bias, module.stride, module.padding,
                               module.output_padding, groups, module.dilation)
