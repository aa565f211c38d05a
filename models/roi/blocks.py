"""Blocks of the roi networks, the same in two and three dimensions."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)

CONV = {2: nn.Conv2d, 3: nn.Conv3d}


class ConvNorm(nn.Module):
    """Convolution without bias, then BatchNorm (which the exporter folds into the convolution)."""

    def __init__(self, rank, inputs, outputs, kernel=3, stride=1, padding=1):
        super().__init__()
        self.conv = CONV[rank](inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.norm = nn.BatchNorm(outputs)

    def execute(self, x):
        return self.norm(self.conv(x))


class Residual(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))), He et al. 2016 (arXiv 1512.03385), section 3."""

    def __init__(self, rank, width):
        super().__init__()
        self.first = ConvNorm(rank, width, width)
        self.second = ConvNorm(rank, width, width)

    def execute(self, x):
        return nn.relu(x + self.second(nn.relu(self.first(x))))


def pixel_shuffle(x, factors):
    """(N, C * prod(factors), *sizes) -> (N, C, *(size * factor)); channels run C first, then the factors in axis order.

    Shi et al. 2016 (arXiv 1609.05158), section 3.2, for any number of spatial axes.
    """
    batch, channels, *sizes = x.shape
    rank = len(sizes)
    for factor in factors:
        channels //= factor
    x = x.reshape([batch, channels, *factors, *sizes])
    x = x.permute([0, 1] + [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)])
    return x.reshape([batch, channels] + [size * factor for size, factor in zip(sizes, factors)])


class Upsample(nn.Module):
    """1x1 convolution and pixel shuffle: learned up-sampling by `factors`, all its arithmetic at the low resolution."""

    def __init__(self, inputs, outputs, factors):
        super().__init__()
        count = 1
        for factor in factors:
            count *= factor
        self.factors = factors
        self.expand = ConvNorm(len(factors), inputs, outputs * count, kernel=1, padding=0)

    def execute(self, x):
        return pixel_shuffle(self.expand(x), self.factors)


class SizeEmbedding(nn.Module):
    """Tells the network how large the box was before it was resampled: a small box is loose by a larger share of itself.

    box_px (N, rank) in px or voxel -> (N, outputs).
    """

    def __init__(self, rank, outputs):
        super().__init__()
        self.hidden = nn.Linear(2 * rank, 32)
        self.out = nn.Linear(32, outputs)

    def execute(self, box_px):
        box_px = jt.maximum(box_px, 1.0)
        features = jt.concat([jt.log(box_px) * 0.4 - 1.6, 5.0 / box_px], dim=1)
        return self.out(nn.relu(self.hidden(features)))


def standardise(pixels):
    """(N, C, *sizes) to zero mean and unit standard deviation over each sample's channels and pixels; a flat crop to 0.

    The mean is taken off before the squares are summed, and means are taken of rows first: a float32 sum over a whole
    crop of grey values would lose digits, each engine its own.
    """
    rows = pixels.reshape([pixels.shape[0], -1, pixels.shape[-1]])
    rows = rows - rows.mean(dim=2, keepdims=True).mean(dim=1, keepdims=True)
    deviation = jt.sqrt((rows * rows).mean(dim=2, keepdims=True).mean(dim=1, keepdims=True))
    return (rows / (deviation + 1.0)).reshape(pixels.shape)
