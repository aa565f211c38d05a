"""SAM's two-way transformer: tokens attend to the image, and the image to the tokens (Kirillov et al. 2023, arXiv
2304.02643, figure 14)."""

import math

from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm, MLPBlock


class TwoWayTransformer(nn.Module):
    """depth layers of both directions, then tokens attend to the image once more. norm_eps: of all its norms."""

    def __init__(self, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int, norm_eps: float):
        super().__init__()
        self.layers = nn.ModuleList([
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, norm_eps, skip_first_layer_pe=i == 0)
            for i in range(depth)
        ])
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm_final_attn = LayerNorm(embedding_dim, eps=norm_eps)

    def execute(self, image_embedding, image_pe, point_embedding):
        """image_embedding: (N or 1, C, H, W); image_pe: (1, C, H, W); point_embedding: (N, tokens, C).

        Returns (tokens (N, tokens, C), image (N, H * W, C)). One image for all prompts stays one for as long as it is the
        same for all, until the first attention of the image to the tokens.
        """
        keys, key_pe = (x.flatten(2).transpose(1, 2) for x in (image_embedding, image_pe))
        queries = point_embedding
        for layer in self.layers:
            queries, keys = layer(queries, keys, point_embedding, key_pe)
        attended = self.final_attn_token_to_image(queries + point_embedding, keys + key_pe, keys)
        return self.norm_final_attn(queries + attended), keys


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens; each is followed by a norm.

    skip_first_layer_pe: the tokens are their own positions yet, so they are not added, and there is no shortcut.
    """

    def __init__(self, embedding_dim: int, num_heads: int, mlp_dim: int, norm_eps: float, skip_first_layer_pe: bool):
        super().__init__()
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = LayerNorm(embedding_dim, eps=norm_eps)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm2 = LayerNorm(embedding_dim, eps=norm_eps)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, "relu")
        self.norm3 = LayerNorm(embedding_dim, eps=norm_eps)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm4 = LayerNorm(embedding_dim, eps=norm_eps)
        self.skip_first_layer_pe = skip_first_layer_pe

    def execute(self, queries, keys, query_pe, key_pe):
        """queries, query_pe (N, tokens, C); keys (N or 1, pixels, C), key_pe (1, pixels, C) -> (queries, keys)."""
        if self.skip_first_layer_pe:
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + query_pe
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        queries = self.norm2(queries + self.cross_attn_token_to_image(queries + query_pe, keys + key_pe, keys))
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self.cross_attn_image_to_token(keys + key_pe, queries + query_pe, queries))
        return queries, keys


class Attention(nn.Module):
    """Multi-head attention; downsample_rate: by how much less than embedding_dim the heads have together.

    q (N or 1, a, embedding_dim), k and v (N or 1, b, embedding_dim) -> (N, a, embedding_dim).
    """

    def __init__(self, embedding_dim: int, num_heads: int, downsample_rate: int = 1):
        super().__init__()
        internal_dim = embedding_dim // downsample_rate
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, internal_dim)
        self.k_proj = nn.Linear(embedding_dim, internal_dim)
        self.v_proj = nn.Linear(embedding_dim, internal_dim)
        self.out_proj = nn.Linear(internal_dim, embedding_dim)

    def execute(self, q, k, v):
        q, k, v = (self._heads(x) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v)))
        attn = nn.matmul(q, k.transpose(-2, -1)) * (1 / math.sqrt(q.shape[-1]))
        x = nn.matmul(nn.softmax(attn, dim=-1), v).transpose(1, 2)
        return self.out_proj(x.reshape([x.shape[0], x.shape[1], x.shape[2] * x.shape[3]]))

    def _heads(self, x):
        batch, tokens, dim = x.shape
        return x.reshape([batch, tokens, self.num_heads, dim // self.num_heads]).transpose(1, 2)
