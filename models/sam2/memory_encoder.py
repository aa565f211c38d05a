"""SAM 2's memory encoder: a mask and the frame that it was found in, as one small map."""

import math

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm2d


class MemoryEncoder(nn.Module):
    """dim, out_dim: channels of the frame and of the memory. total_stride: px of the mask a token, a power of 2."""

    def __init__(self, dim: int, out_dim: int, total_stride: int):
        super().__init__()
        self.mask_downsampler = MaskDownSampler(dim, total_stride)
        self.pix_feat_proj = nn.Conv2d(dim, dim, 1)
        self.fuser = Fuser(dim, num_layers=2)
        self.out_proj = nn.Conv2d(dim, out_dim, 1)

    def execute(self, pix_feat, masks):
        """pix_feat float32 (N or 1, dim, H, W); masks float32 (N, 1, total_stride H, total_stride W), scaled as they were
        when the weights were trained. Returns float32 (N, out_dim, H, W)."""
        masks = self.mask_downsampler(masks)
        return self.out_proj(self.fuser(repeated(self.pix_feat_proj(pix_feat), masks.shape[0]) + masks))


def repeated(x, count):
    """x (1 or count, ...) -> (count, ...), where broadcasting will not do: Jittor's products on a GPU refuse it, and OpenVINO
    2026.4 fails to add one image to what a convolution makes of a dynamic number."""
    return x.repeat(count // x.shape[0], *[1] * (x.ndim - 1))


class MaskDownSampler(nn.Module):
    """(N, 1, H, W) -> (N, embed_dim, H / total_stride, W / total_stride): each convolution halves the sides and has four
    times the channels."""

    def __init__(self, embed_dim: int, total_stride: int):
        super().__init__()
        layers, channels = [], 1
        for _ in range(int(math.log2(total_stride))):
            layers += [nn.Conv2d(channels, 4 * channels, 3, stride=2, padding=1), LayerNorm2d(4 * channels), nn.GELU()]
            channels *= 4
        self.encoder = nn.Sequential(*layers, nn.Conv2d(channels, embed_dim, 1))

    def execute(self, masks):
        return self.encoder(masks)


class Fuser(nn.Module):
    """Blocks one after the other, under the checkpoints' name for them."""

    def __init__(self, dim: int, num_layers: int):
        super().__init__()
        self.layers = nn.ModuleList([CXBlock(dim) for _ in range(num_layers)])

    def execute(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class CXBlock(nn.Module):
    """A ConvNeXt block (Liu et al. 2022, arXiv 2201.03545, figure 4); (N, dim, H, W) -> the same shape."""

    def __init__(self, dim: int):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = jt.ones([dim]) * 1e-6

    def execute(self, x):
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(nn.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)
