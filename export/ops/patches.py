"""nn.unfold and nn.fold: images into patches and back."""

import jittor as jt
import numpy as np
from jittor import nn

from export.ops.reshape import reshaped
from export.registry import lowers, rewrites


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


@rewrites("nn.unfold")
def unfold(X, kernel_size, dilation=1, padding=0, stride=1):
    """One slice for every place in the patch; (N, C, H, W) to (N, C * places, patches)."""
    kernel, dilation, padding, stride = map(_pair, (kernel_size, dilation, padding, stride))
    if padding != (0, 0):
        X = nn.pad(X, [padding[1], padding[1], padding[0], padding[0]])
    batch, channels = X.shape[:2]
    reach = [(size - dilated * (places - 1) - 1) // step * step + 1
             for size, dilated, places, step in zip(X.shape[2:], dilation, kernel, stride)]
    parts = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            top, left = row * dilation[0], column * dilation[1]
            parts.append(X[:, :, top:top + reach[0]:stride[0], left:left + reach[1]:stride[1]])
    return jt.stack(parts, 2).reshape(batch, channels * kernel[0] * kernel[1], -1)


@lowers("nn.fold")
def fold(g, out, X, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """A transposed convolution that writes each value to its place: its kernels have a single 1."""
    kernel, dilation, padding, stride = map(_pair, (kernel_size, dilation, padding, stride))
    places = kernel[0] * kernel[1]
    patches = [(size + 2 * pad - dilated * (width - 1) - 1) // step + 1 for size, pad, dilated, width, step in
               zip(output_size, padding, dilation, kernel, stride)]
    reached = [(count - 1) * step - 2 * pad + dilated * (width - 1) + 1 for count, step, pad, dilated, width in
               zip(patches, stride, padding, dilation, kernel)]
    single = np.eye(places, dtype=str(out.dtype)).reshape(places, 1, *kernel)
    planes = g.op("ConvTranspose", reshaped(g, X, [-1, places, *patches]), g.constant(single), kernel_shape=kernel,
                  strides=stride, pads=[*padding, *padding], dilations=dilation,
                  output_padding=[size - end for size, end in zip(output_size, reached)])
    return reshaped(g, planes, [X.shape[0], X.shape[1] // places, *output_size])
