"""Layers that several parts of the family share, under the names of the official checkpoints."""

import math

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis, in two passes.

    Jittor's own takes E[x^2] - E[x]^2, which loses digits where the mean is large beside the deviation.
    """

    def execute(self, x):
        x = x - x.mean(dim=-1, keepdims=True)
        variance = (x * x).mean(dim=-1, keepdims=True)
        return x / jt.sqrt(variance + self.eps) * self.weight + self.bias


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (N, C, H, W), in two passes."""

    def __init__(self, num_channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = jt.ones([num_channels])
        self.bias = jt.zeros([num_channels])
        self.eps = eps

    def execute(self, x):
        x = x - x.mean(dim=1, keepdims=True)
        variance = (x * x).mean(dim=1, keepdims=True)
        return x / jt.sqrt(variance + self.eps) * self.weight.reshape([1, -1, 1, 1]) + self.bias.reshape([1, -1, 1, 1])


class MLPBlock(nn.Module):
    """lin2(act(lin1(x))) on the last axis. act: the name of a function of jittor.nn."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: str = "gelu"):
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act

    def execute(self, x):
        return self.lin2(getattr(nn, self.act)(self.lin1(x)))


def gelu_tanh(x):
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), Hendrycks & Gimpel 2016 (arXiv 1606.08415), section 2.

    Jittor has only the exact GELU. The order of the factors is the one that OpenVINO recognises, and runs with the
    convolution before it.
    """
    return x * 0.5 * (1 + jt.tanh(x * math.sqrt(2 / math.pi) * (1 + x * 0.044715 * x)))


class Neck(nn.Sequential):
    """What SAM's encoders end in: 1x1 and 3x3 convolution without bias, each with a LayerNorm2d."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
