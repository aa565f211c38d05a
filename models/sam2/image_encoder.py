"""SAM 2's image encoder: Hiera and a feature pyramid."""

from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam2.config import HieraConfig
from models.sam2.hieradet import Hiera


class ImageEncoder(nn.Module):
    """Images float32 (N, 3, side, side), pre-processed -> three maps float32 (N, d_model, H, W), the finest first; H is
    the side by 1, 2 and 4 times the stride of the patches."""

    def __init__(self, config: HieraConfig, d_model: int):
        super().__init__()
        self.trunk = Hiera(config)
        self.neck = FpnNeck(config.dims, d_model)

    def execute(self, x):
        return self.neck(self.trunk(x))


class FpnNeck(nn.Module):
    """The trunk's maps, the finest first, all with d_model channels and without the coarsest, which has been added to the
    one before it; the finer ones stay by themselves."""

    def __init__(self, dims, d_model: int):
        super().__init__()
        self.convs = nn.ModuleList([Lateral(dim, d_model) for dim in reversed(dims)])

    def execute(self, features):
        *fine, third, coarsest = [conv(x) for conv, x in zip(reversed(list(self.convs)), features)]
        return [*fine, third + nn.interpolate(coarsest, size=third.shape[2:], mode="nearest")]


class Lateral(nn.Module):
    """A 1x1 convolution, under the checkpoints' name for it."""

    def __init__(self, dim: int, d_model: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, d_model, 1)

    def execute(self, x):
        return self.conv(x)
