"""SAM's image encoder: a ViTDet (Li et al. 2022, arXiv 2203.16527) with windowed and global attention. Tokens are
channel-last (N, H, W, C)."""

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm, MLPBlock, Neck
from models.sam.config import ViTConfig
from models.sam.resampling import resize_image, resize_last


class ImageEncoderViT(nn.Module):
    """Images float32 (N, 3, height, width), pre-processed, sides divisible by the patch size -> embeddings float32
    (N, out_chans, height / patch, width / patch). Sides other than the configuration's: positions are interpolated.
    """

    def __init__(self, config: ViTConfig, out_chans: int):
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.pos_embed = jt.init.gauss([1, config.grid, config.grid, config.embed_dim], "float32", std=0.02)
        self.blocks = nn.ModuleList([
            Block(config.embed_dim, config.num_heads, config.mlp_ratio,
                  window_size=0 if i in config.global_blocks else config.window_size, grid=config.grid)
            for i in range(config.depth)
        ])
        self.neck = Neck(config.embed_dim, out_chans)

    def execute(self, x):
        x = self.patch_embed(x)
        x = x + resized_positions(self.pos_embed, int(x.shape[1]), int(x.shape[2]))
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class PatchEmbed(nn.Module):
    """(N, 3, height, width) -> (N, height / patch, width / patch, embed_dim)."""

    def __init__(self, patch_size: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def execute(self, x):
        return self.proj(x).permute(0, 2, 3, 1)


class Block(nn.Module):
    """Attention within windows of window_size tokens a side (0: over the whole grid) and an MLP, each added to its input.

    (N, H, W, dim) -> the same shape.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: int, window_size: int, grid: int):
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, window_size or grid)
        self.norm2 = LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, dim * mlp_ratio)
        self.window_size = window_size

    def execute(self, x):
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x):
        if not self.window_size:
            return self.attn(x)
        height, width = x.shape[1:3]
        windows = window_partition(x, self.window_size)
        return window_unpartition(self.attn(windows), self.window_size, height, width)


class Attention(nn.Module):
    """Multi-head self-attention over an image of tokens, with decomposed relative positions (Li et al. 2021, arXiv
    2112.01526, section 4.1): one table along each axis, shared by all heads.

    (N, H, W, dim) -> the same shape. size: the side that the tables are made for.
    """

    def __init__(self, dim: int, num_heads: int, size: int):
        super().__init__()
        self.num_heads = num_heads
        self.rel_pos_h = jt.zeros([2 * size - 1, dim // num_heads])
        self.rel_pos_w = jt.zeros([2 * size - 1, dim // num_heads])
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def execute(self, x):
        batch, height, width, dim = x.shape
        heads, tokens, head_dim = self.num_heads, height * width, dim // self.num_heads
        qkv = self.qkv(x).reshape([batch, tokens, 3, heads, head_dim]).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # (N, heads, tokens, head_dim)
        attn = nn.matmul(q * head_dim**-0.5, k.transpose(-2, -1))
        attn = self._with_relative_positions(attn, q, int(height), int(width))
        x = nn.matmul(nn.softmax(attn, dim=-1), v)
        return self.proj(x.permute(0, 2, 1, 3).reshape([batch, height, width, dim]))

    def _with_relative_positions(self, attn, q, height, width):
        """attn (N, heads, tokens, tokens); the positions are weighed by the unscaled q."""
        batch, heads, tokens, head_dim = q.shape
        q = q.reshape([batch, heads, height, width, head_dim])
        rel_h = relative_positions(self.rel_pos_h, height).transpose(-2, -1)  # (query row, head_dim, key row)
        rel_w = relative_positions(self.rel_pos_w, width).transpose(-2, -1)
        by_row = nn.matmul(q, rel_h)
        by_column = nn.matmul(q.transpose(2, 3), rel_w).transpose(2, 3)
        attn = attn.reshape([batch, heads, height, width, height, width])
        attn = attn + by_row.unsqueeze(-1) + by_column.unsqueeze(-2)
        return attn.reshape([batch, heads, tokens, tokens])


def relative_positions(table, size: int):
    """table (2 S - 1, head_dim), resampled if it was made for another size -> (query, key, head_dim), both of `size`:
    the row of their distance."""
    if table.shape[0] != 2 * size - 1:
        table = resize_last(table.transpose(0, 1), 2 * size - 1, "linear").transpose(0, 1)
    positions = np.arange(size)
    return table[jt.array(positions[:, None] - positions[None, :] + size - 1)]


def resized_positions(pos_embed, height: int, width: int):
    """pos_embed (1, grid, grid, dim) -> (1, height, width, dim), by cubic interpolation."""
    if list(pos_embed.shape[1:3]) == [height, width]:
        return pos_embed
    return resize_image(pos_embed.permute(0, 3, 1, 2), height, width, "cubic").permute(0, 2, 3, 1)


def window_partition(x, size: int):
    """(N, H, W, C) -> (N * windows, size, size, C), row by row; zeros are added at the bottom and right to fill windows."""
    batch, height, width, channels = x.shape
    pad_h, pad_w = -height % size, -width % size
    if pad_h or pad_w:
        x = nn.pad(x, [0, 0, 0, pad_w, 0, pad_h])
    rows, columns = (height + pad_h) // size, (width + pad_w) // size
    x = x.reshape([batch, rows, size, columns, size, channels]).permute(0, 1, 3, 2, 4, 5)
    return x.reshape([-1, size, size, channels])


def window_unpartition(windows, size: int, height: int, width: int):
    """The inverse of `window_partition`: -> (N, height, width, C), without what had been added."""
    rows, columns = -(-height // size), -(-width // size)
    x = windows.reshape([-1, rows, columns, size, size, windows.shape[-1]]).permute(0, 1, 3, 2, 4, 5)
    x = x.reshape([-1, rows * size, columns * size, windows.shape[-1]])
    return x[:, :height, :width] if (rows * size, columns * size) != (height, width) else x
