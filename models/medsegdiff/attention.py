"""Attention over the pixels of (N, C, H, W), full and linear, and what is built of it."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.medsegdiff.blocks import LayerNorm, Patches, Residual
from models.roi.blocks import pixel_shuffle

MAX_SCORES = 1 << 26
"""How many scores a head holds at once in full attention: 256 MB."""


class Attention(nn.Module):
    """Every pixel attends to every pixel (Vaswani et al. 2017, arXiv 1706.03762, section 3.2).

    (N, dim, H, W) -> the same shape. A map of more than MAX_SCORES^0.5 pixels is taken in parts.
    """

    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.prenorm = LayerNorm(dim)
        self.to_qkv = nn.Conv2d(dim, 3 * heads * dim_head, 1, bias=False)
        self.to_out = nn.Conv2d(heads * dim_head, dim, 1)

    def execute(self, x):
        q, k, v = split_heads(self.to_qkv(self.prenorm(x)), self.heads)
        q, v = q.transpose(2, 3) * self.scale, v.transpose(2, 3)
        pixels = int(q.shape[2])
        part = max(1, MAX_SCORES // pixels)
        parts = [nn.matmul(nn.softmax(nn.matmul(q[:, :, i:i + part], k), dim=-1), v) for i in range(0, pixels, part)]
        return self.to_out(join_heads(parts[0] if len(parts) == 1 else jt.concat(parts, dim=2), x))


class LinearAttention(nn.Module):
    """The softmaxes of queries, over channels, and of keys, over pixels, are multiplied the cheap way round (Shen et al.
    2018, arXiv 1812.01243, section 3.2): a product of dim_head x dim_head a head, whatever the number of pixels.

    (N, dim, H, W) -> the same shape.
    """

    def __init__(self, dim: int, heads: int, dim_head: int):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.prenorm = LayerNorm(dim)
        self.to_qkv = nn.Conv2d(dim, 3 * heads * dim_head, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * dim_head, dim, 1), LayerNorm(dim))

    def execute(self, x):
        q, k, v = split_heads(self.to_qkv(self.prenorm(x)), self.heads)
        q = nn.softmax(q.transpose(2, 3), dim=-1) * self.scale
        context = nn.matmul(nn.softmax(k, dim=-1), v.transpose(2, 3))
        return self.to_out(join_heads(nn.matmul(q, context), x))


def split_heads(qkv, heads: int):
    """(N, 3 * heads * dim_head, H, W) -> q, k, v, each (N, heads, dim_head, H * W)."""
    batch, channels, height, width = qkv.shape
    qkv = qkv.reshape([batch, 3, heads, channels // (3 * heads), height * width])
    return qkv[:, 0], qkv[:, 1], qkv[:, 2]


def join_heads(x, like):
    """(N, heads, H * W, dim_head) -> (N, heads * dim_head, H, W), H and W those of `like`."""
    batch, heads, _, dim_head = x.shape
    return x.transpose(2, 3).reshape([batch, heads * dim_head, *like.shape[2:]])


def feed_forward(dim: int) -> nn.Module:
    """Layer norm, then two 1x1 convolutions with four times the channels between them."""
    return nn.Sequential(LayerNorm(dim), nn.Conv2d(dim, 4 * dim, 1), nn.GELU(), nn.Conv2d(4 * dim, dim, 1))


class Transformer(nn.Module):
    """depth times full attention and a feed-forward, each added to its input; (N, dim, H, W) -> the same shape."""

    def __init__(self, dim: int, heads: int, dim_head: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList([
            nn.ModuleList([Residual(Attention(dim, heads, dim_head)), Residual(feed_forward(dim))]) for _ in range(depth)
        ])

    def execute(self, x):
        for attend, forward in self.layers:
            x = forward(attend(x))
        return x


class ViT(nn.Module):
    """A transformer over patches of patch_size px; (N, dim_in, size, size) -> (N, dim, size, size), zero at first."""

    def __init__(self, dim_in: int, dim: int, size: int, patch_size: int, heads: int, dim_head: int, depth: int):
        super().__init__()
        self.patch_size = patch_size
        self.to_tokens = nn.Sequential(Patches(patch_size), nn.Conv2d(dim_in * patch_size**2, dim, 1), LayerNorm(dim))
        self.pos_emb = jt.zeros([dim, size // patch_size, size // patch_size])
        self.transformer = Transformer(dim, heads, dim_head, depth)
        self.to_patches = nn.Sequential(LayerNorm(dim), nn.Conv2d(dim, dim * patch_size**2, 1))
        jt.init.zero_(self.to_patches[1].weight)
        jt.init.zero_(self.to_patches[1].bias)

    def execute(self, x):
        x = self.to_tokens(x) + self.pos_emb
        return pixel_shuffle(self.to_patches(self.transformer(x)), (self.patch_size, self.patch_size))
