"""Layers of MedSegDiff's U-Net, under the names of lucidrains/med-seg-diff-pytorch."""

import math

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.medsegdiff.config import GROUPS


class LayerNorm(nn.Module):
    """Layer normalisation over the channels of (N, C, H, W), in two passes. bias: whether there is a shift."""

    def __init__(self, dim: int, bias: bool = False):
        super().__init__()
        self.g = jt.ones([1, dim, 1, 1])
        if bias:
            self.b = jt.zeros([1, dim, 1, 1])

    def execute(self, x):
        x = x - x.mean(dim=1, keepdims=True)
        variance = (x * x).mean(dim=1, keepdims=True)
        x = x / jt.sqrt(variance + 1e-5) * self.g
        return x + self.b if hasattr(self, "b") else x


class Residual(nn.Module):
    """x + fn(x)"""

    def __init__(self, fn: nn.Module):
        super().__init__()
        self.fn = fn

    def execute(self, x):
        return x + self.fn(x)


class SinusoidalPosEmb(nn.Module):
    """Time steps (N,) -> sines, then cosines, (N, dim); Vaswani et al. 2017 (arXiv 1706.03762), section 3.5."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def execute(self, time):
        half = self.dim // 2
        frequencies = np.exp(np.arange(half) * (-math.log(10000) / (half - 1))).astype(np.float32)
        phases = time.float32().unsqueeze(1) * jt.array(frequencies).unsqueeze(0)
        return jt.concat([jt.sin(phases), jt.cos(phases)], dim=1)


class Block(nn.Module):
    """3x3 convolution, group norm, then x * (scale + 1) + shift, SiLU."""

    def __init__(self, dim: int, dim_out: int):
        super().__init__()
        self.proj = nn.Conv2d(dim, dim_out, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, dim_out)

    def execute(self, x, scale=None, shift=None):
        x = self.norm(self.proj(x))
        return nn.silu(x if scale is None else x * (scale + 1) + shift)


class ResnetBlock(nn.Module):
    """Two Blocks and a shortcut. time_dim: channels of the time's embedding, which scales and shifts the first; or None.

    (N, dim, H, W), time (N, time_dim) -> (N, dim_out, H, W)
    """

    def __init__(self, dim: int, dim_out: int, time_dim: int | None = None):
        super().__init__()
        if time_dim:
            self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_dim, 2 * dim_out))
        self.block1 = Block(dim, dim_out)
        self.block2 = Block(dim_out, dim_out)
        self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

    def execute(self, x, time=None):
        scale = shift = None
        if time is not None:
            scale, shift = jt.chunk(self.mlp(time).unsqueeze(-1).unsqueeze(-1), 2, dim=1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


class Patches(nn.Module):
    """(N, C, H, W) -> (N, C * size^2, H / size, W / size); channels run C first, then rows, then columns of a patch."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def execute(self, x):
        batch, channels, height, width = x.shape
        rows, columns = height // self.size, width // self.size
        x = x.reshape([batch, channels, rows, self.size, columns, self.size]).permute(0, 1, 3, 5, 2, 4)
        return x.reshape([batch, channels * self.size**2, rows, columns])


class Nearest(nn.Module):
    """Twice the side, every pixel four times."""

    def execute(self, x):
        batch, channels, height, width = x.shape
        x = x.reshape([batch, channels, height, 1, width, 1]).broadcast([batch, channels, height, 2, width, 2])
        return x.reshape([batch, channels, 2 * height, 2 * width])


def downsample(dim: int, dim_out: int) -> nn.Module:
    """Half the side: each 2 x 2 pixels as channels, then a 1x1 convolution."""
    return nn.Sequential(Patches(2), nn.Conv2d(4 * dim, dim_out, 1))


def upsample(dim: int, dim_out: int) -> nn.Module:
    """Twice the side, then a 3x3 convolution."""
    return nn.Sequential(Nearest(), nn.Conv2d(dim, dim_out, 3, padding=1))
