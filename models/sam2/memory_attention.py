"""SAM 2's memory attention: a frame looks at itself and at what is remembered (Ravi et al. 2024, arXiv 2408.00714,
section 4). Tokens are (N, tokens, C)."""

import math

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm
from models.sam2.position_encoding import rotate, rotation


class MemoryAttention(nn.Module):
    """dim, memory_dim: channels of the frame and of memories. dropout: while training."""

    def __init__(self, num_layers: int, dim: int, memory_dim: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList([
            MemoryAttentionLayer(dim, memory_dim, mlp_dim, dropout) for _ in range(num_layers)])
        self.norm = LayerNorm(dim)

    def execute(self, curr, memory, curr_pos, memory_pos, num_obj_ptr_tokens: int | None = None):
        """curr (N or 1, H * W, dim) of a square frame, curr_pos (1, H * W, dim); memory (N, maps * H * W +
        num_obj_ptr_tokens, memory_dim), memory_pos (1, the same tokens, memory_dim). Returns (N, H * W, dim)."""
        x = curr + 0.1 * curr_pos
        places = rotation(int(x.shape[2]), math.isqrt(int(x.shape[1])))
        keys = memory + memory_pos
        for layer in self.layers:
            x = layer(x, keys, memory, places, num_obj_ptr_tokens)
        return self.norm(x)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to the memory, MLP; each after a norm and added to its input."""

    def __init__(self, dim: int, memory_dim: int, mlp_dim: int, dropout: float):
        super().__init__()
        self.self_attn = RoPEAttention(dim, dim, dropout)
        self.cross_attn_image = RoPEAttention(dim, memory_dim, dropout)
        self.linear1 = nn.Linear(dim, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, dim)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def execute(self, x, memory_keys, memory, places, num_obj_ptr_tokens):
        normed = self.norm1(x)
        x = x + self.dropout(self.self_attn(normed, normed, normed, places))
        x = x + self.dropout(self.cross_attn_image(self.norm2(x), memory_keys, memory, places, num_obj_ptr_tokens))
        return x + self.dropout(self.linear2(self.dropout(nn.relu(self.linear1(self.norm3(x))))))


class RoPEAttention(nn.Module):
    """Attention of one head, whose queries and keys are rotated by their places in the image.

    q (N or 1, H * W, dim); k, v (N, maps * H * W + num_k_exclude_rope, kv_dim), of which the last num_k_exclude_rope have no
    place; places: the `rotation` of the H * W -> (N, H * W, dim).
    """

    def __init__(self, dim: int, kv_dim: int, dropout: float):
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(kv_dim, dim)
        self.v_proj = nn.Linear(kv_dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def execute(self, q, k, v, places, num_k_exclude_rope: int | None = None):
        q, k, v = rotate(self.q_proj(q), places), rotate_maps(self.k_proj(k), places, num_k_exclude_rope), self.v_proj(v)
        q = (q * q.shape[-1]**-0.5).broadcast([k.shape[0], *q.shape[1:]])
        attn = self.dropout(nn.softmax(nn.matmul(q, k.transpose(-2, -1)), dim=-1))
        return self.out_proj(nn.matmul(attn, v))


def rotate_maps(k, places, num_k_exclude_rope: int | None = None):
    """k (N, maps * H * W + num_k_exclude_rope, C) -> the same shape, each map rotated."""
    if num_k_exclude_rope is not None:
        placed = k.shape[1] - num_k_exclude_rope
        return jt.concat([rotate_maps(k[:, :placed], places), k[:, placed:]], dim=1)
    batch, _, channels = k.shape
    return rotate(k.reshape([batch, -1, places[0].shape[0], channels]), places).reshape(k.shape)
