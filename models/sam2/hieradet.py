"""Hiera (Ryali et al. 2023, arXiv 2306.00989) as SAM 2 uses it: windowed and global attention, no relative positions.
Tokens are channel-last (N, H, W, C)."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam import mask_decoder
from models.sam.common import LayerNorm
from models.sam.image_encoder import window_partition, window_unpartition
from models.sam.resampling import resize_image
from models.sam2.config import HieraConfig


class Hiera(nn.Module):
    """Images float32 (N, 3, height, width), pre-processed, sides divisible by 8 times the stride of the patches -> the
    output of each stage, float32 (N, C, H, W), the finest first."""

    def __init__(self, config: HieraConfig):
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch_stride, config.embed_dim)
        self.pos_embed = jt.zeros([1, config.embed_dim, config.pos_grid, config.pos_grid])
        self.pos_embed_window = jt.zeros([1, config.embed_dim, config.window_sizes[0], config.window_sizes[0]])
        self.blocks = nn.ModuleList(_blocks(config))
        self.stage_ends = [sum(config.stages[:i + 1]) - 1 for i in range(len(config.stages))]

    def execute(self, x):
        x = self.patch_embed(x)
        x = x + self._positions(int(x.shape[1]), int(x.shape[2]))
        outputs = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                outputs.append(x.permute(0, 3, 1, 2))
        return outputs

    def _positions(self, height, width):
        """(1, height, width, C): one map over the image, and one that every window of the first stage repeats."""
        window = self.pos_embed_window.shape[2]
        tiled = self.pos_embed_window.repeat(1, 1, height // window, width // window)
        return (resize_image(self.pos_embed, height, width, "cubic") + tiled).permute(0, 2, 3, 1)


def _blocks(config):
    """The first block of a stage but the first halves the sides and doubles the channels, within the old windows."""
    blocks = []
    for stage, (depth, dim) in enumerate(zip(config.stages, config.dims)):
        for i in range(depth):
            first = stage > 0 and i == 0
            window = 0 if len(blocks) in config.global_blocks else config.window_sizes[stage - first]
            blocks.append(MultiScaleBlock(dim // 2 if first else dim, dim, config.num_heads * 2**stage, config.mlp_ratio,
                                          window, pool=first))
    return blocks


class PatchEmbed(nn.Module):
    """(N, 3, height, width) -> (N, height / stride, width / stride, embed_dim)."""

    def __init__(self, stride: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, 7, stride=stride, padding=3)

    def execute(self, x):
        return self.proj(x).permute(0, 2, 3, 1)


class MultiScaleBlock(nn.Module):
    """Attention within windows of window_size tokens a side (0: over the whole image) and an MLP, each added to its input.

    (N, H, W, dim) -> (N, H, W, dim_out), or with pool (N, H / 2, W / 2, dim_out).
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, mlp_ratio: int, window_size: int, pool: bool):
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = MultiScaleAttention(dim, dim_out, num_heads, pool)
        self.norm2 = LayerNorm(dim_out, eps=1e-6)
        self.mlp = MLP(dim_out, dim_out * mlp_ratio, dim_out, 2)
        if pool:
            self.proj = nn.Linear(dim, dim_out)
        self.window_size = window_size
        self.pool = pool

    def execute(self, x):
        normed = self.norm1(x)
        if self.pool:
            x = max_pool(self.proj(normed))
        x = x + self._attend(normed, *x.shape[1:3])
        return x + self.mlp(self.norm2(x))

    def _attend(self, x, height, width):
        """height, width: of the result."""
        if not self.window_size:
            return self.attn(x)
        windows = self.attn(window_partition(x, self.window_size))
        return window_unpartition(windows, self.window_size // (2 if self.pool else 1), height, width)


class MultiScaleAttention(nn.Module):
    """Multi-head self-attention; pool: only the largest of each 2 x 2 queries asks.

    (N, H, W, dim) -> (N, H, W, dim_out), or with pool (N, H / 2, W / 2, dim_out).
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, pool: bool):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)
        self.pool = pool

    def execute(self, x):
        batch, height, width, _ = x.shape
        q, k, v = jt.chunk(self.qkv(x), 3, dim=-1)
        if self.pool:
            q, height, width = max_pool(q), height // 2, width // 2
        q, k, v = (self._heads(x) for x in (q, k, v))
        attn = nn.matmul(q * q.shape[-1]**-0.5, k.transpose(-2, -1))
        x = nn.matmul(nn.softmax(attn, dim=-1), v).transpose(1, 2)
        return self.proj(x.reshape([batch, height, width, x.shape[2] * x.shape[3]]))

    def _heads(self, x):
        """(N, H, W, C) -> (N, heads, H * W, C / heads)"""
        batch, height, width, dim = x.shape
        return x.reshape([batch, height * width, self.num_heads, dim // self.num_heads]).transpose(1, 2)


class MLP(mask_decoder.MLP):
    """Two linear layers with GELU between them."""

    def execute(self, x):
        return self.layers[1](nn.gelu(self.layers[0](x)))


def max_pool(x):
    """(N, H, W, C), H and W even -> (N, H / 2, W / 2, C): the largest of 2 x 2."""
    batch, height, width, channels = x.shape
    # One axis after the other: OpenVINO has no fast maximum over two axes of six.
    rows = x.reshape([-1, 2, width, channels]).max(dim=1)
    return rows.reshape([-1, 2, channels]).max(dim=1).reshape([batch, height // 2, width // 2, channels])
