"""LiteMedSAM's image encoder: a TinyViT (Wu et al. 2022, arXiv 2207.10666) that starts at the image's full resolution.

Convolutions see (N, C, H, W), attention (N, H, W, C).
"""

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm, Neck
from models.sam.config import TinyViTConfig
from models.sam.image_encoder import window_partition, window_unpartition


class TinyViT(nn.Module):
    """Images float32 (N, 3, side, side) in 0..1 -> embeddings float32 (N, out_chans, side / 4, side / 4)."""

    def __init__(self, config: TinyViTConfig, out_chans: int):
        super().__init__()
        dims = config.embed_dims
        self.patch_embed = PatchEmbed(dims[0])
        self.layers = nn.ModuleList()
        for i, (dim, depth) in enumerate(zip(dims, config.depths)):
            if i == 0:
                blocks = [MBConv(dim, config.mbconv_expand) for _ in range(depth)]
            else:
                blocks = [TinyViTBlock(dim, config.num_heads[i], config.window_sizes[i], config.mlp_ratio)
                          for _ in range(depth)]
            downsample = PatchMerging(dim, dims[i + 1], config.strides[i]) if i + 1 < len(dims) else None
            self.layers.append(Layer(blocks, downsample))
        self.neck = Neck(dims[-1], out_chans)

    def execute(self, x):
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)


class Conv2d_BN(nn.Module):
    """Convolution without bias, then BatchNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm(outputs)

    def execute(self, x):
        return self.bn(self.c(x))


class PatchEmbed(nn.Module):
    """(N, 3, H, W) -> (N, dim, H, W): where others of its kind take patches of 4 x 4, this one keeps every pixel."""

    def __init__(self, dim: int):
        super().__init__()
        self.seq = nn.Sequential(Conv2d_BN(3, dim // 2), nn.GELU(), Conv2d_BN(dim // 2, dim))

    def execute(self, x):
        return self.seq(x)


class MBConv(nn.Module):
    """Inverted bottleneck with its shortcut before the last activation; (N, dim, H, W) -> the same shape."""

    def __init__(self, dim: int, expand: int):
        super().__init__()
        hidden = dim * expand
        self.conv1 = Conv2d_BN(dim, hidden)
        self.conv2 = Conv2d_BN(hidden, hidden, 3, groups=hidden)
        self.conv3 = Conv2d_BN(hidden, dim)

    def execute(self, x):
        return nn.gelu(x + self.conv3(nn.gelu(self.conv2(nn.gelu(self.conv1(x))))))


class PatchMerging(nn.Module):
    """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = Conv2d_BN(inputs, outputs)
        self.conv2 = Conv2d_BN(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = Conv2d_BN(outputs, outputs)

    def execute(self, x):
        return self.conv3(nn.gelu(self.conv2(nn.gelu(self.conv1(x)))))


class Layer(nn.Module):
    """A stage: its blocks, then its down-sampling, if any."""

    def __init__(self, blocks, downsample):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def execute(self, x):
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViTBlock(nn.Module):
    """Attention within windows, a depthwise convolution, an MLP; (N, dim, H, W) -> the same shape.

    The convolution has no shortcut, the other two have one.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, mlp_ratio: int):
        super().__init__()
        self.attn = Attention(dim, num_heads, window_size)
        self.local_conv = Conv2d_BN(dim, dim, 3, groups=dim)
        self.mlp = Mlp(dim, dim * mlp_ratio)
        self.window_size = window_size

    def execute(self, x):
        x = x.permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        windows = self.attn(window_partition(x, self.window_size))
        x = x + window_unpartition(windows, self.window_size, height, width)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Multi-head self-attention over windows (N, size, size, dim), with one learned bias per head and distance.

    The norm comes after the padding of windows: padded tokens enter as its bias.
    """

    def __init__(self, dim: int, num_heads: int, size: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm = LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = jt.zeros([num_heads, size * size])

    def execute(self, x):
        count, size, _, dim = x.shape
        head_dim = dim // self.num_heads
        qkv = self.qkv(self.norm(x)).reshape([count, size * size, self.num_heads, 3 * head_dim]).permute(0, 2, 1, 3)
        q, k, v = jt.split(qkv, head_dim, dim=-1)
        attn = nn.matmul(q * head_dim**-0.5, k.transpose(-2, -1))
        attn = attn + self.attention_biases[:, jt.array(bias_indices(int(size)))]
        x = nn.matmul(nn.softmax(attn, dim=-1), v)
        return self.proj(x.permute(0, 2, 1, 3).reshape([count, size, size, dim]))


def bias_indices(size: int) -> np.ndarray:
    """int (size^2, size^2): for two tokens of a window, |dy| * size + |dx|."""
    y, x = np.divmod(np.arange(size * size), size)
    return np.abs(y[:, None] - y) * size + np.abs(x[:, None] - x)


class Mlp(nn.Module):
    """fc2(gelu(fc1(norm(x)))) on the last axis."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def execute(self, x):
        return self.fc2(nn.gelu(self.fc1(self.norm(x))))
