"""Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685) of linear layers: y = W x + B A x, with A of `rank` rows; B is zero
at first, and alpha / r is 1. Attribute names are those of the SAMed repository.
"""

import math

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)


class LoRA(nn.Module):
    """A linear layer, an attribute called `adapted`, with something added to its weight that can be merged into it."""

    adapted: str

    def __init__(self, linear: nn.Linear):
        super().__init__()
        setattr(self, self.adapted, linear)
        self.unmerged = None  # the weight as a float32 array while the LoRA is merged into it

    def delta(self):
        """What is added to the weight, float32 of its shape."""
        raise NotImplementedError

    @property
    def linear(self) -> nn.Linear:
        return getattr(self, self.adapted)

    def merge(self):
        """Adds the LoRA to the weight, until `unmerge`. Merging twice is merging once."""
        if self.unmerged is None:
            self.unmerged = self.linear.weight.numpy().copy()
            self.linear.weight.assign(self.linear.weight + self.delta())

    def unmerge(self):
        """Gives the weight back, to the last bit."""
        if self.unmerged is not None:
            self.linear.weight.assign(jt.array(self.unmerged))
            self.unmerged = None


class LoRAQkv(LoRA):
    """On q and v of a fused projection to (q, k, v), which stays frozen; (..., dim) -> (..., 3 dim)."""

    adapted = "qkv"

    def __init__(self, qkv: nn.Linear, rank: int):
        super().__init__(qkv)
        dim = qkv.in_features
        self.linear_a_q, self.linear_b_q = lora_pair(dim, dim, rank)
        self.linear_a_v, self.linear_b_v = lora_pair(dim, dim, rank)

    def execute(self, x):
        qkv = self.qkv(x)
        if self.unmerged is not None:
            return qkv
        q, v = self.linear_b_q(self.linear_a_q(x)), self.linear_b_v(self.linear_a_v(x))
        return qkv + jt.concat([q, jt.zeros_like(q), v], dim=-1)

    def delta(self):
        q, v = product(self.linear_a_q, self.linear_b_q), product(self.linear_a_v, self.linear_b_v)
        return jt.concat([q, jt.zeros_like(q), v], dim=0)


class LoRAProjection(LoRA):
    """On one projection, which stays frozen; (..., in) -> (..., out)."""

    adapted = "proj"

    def __init__(self, proj: nn.Linear, rank: int):
        super().__init__(proj)
        self.w_a, self.w_b = lora_pair(proj.in_features, proj.out_features, rank)

    def execute(self, x):
        y = self.proj(x)
        return y if self.unmerged is not None else y + self.w_b(self.w_a(x))

    def delta(self):
        return product(self.w_a, self.w_b)


def lora_pair(inputs: int, outputs: int, rank: int) -> tuple[nn.Linear, nn.Linear]:
    """A, Kaiming-uniform as PyTorch's linear layers, and B, zero."""
    a, b = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
    jt.init.kaiming_uniform_(a.weight, a=math.sqrt(5))
    jt.init.zero_(b.weight)
    return a, b


def product(a: nn.Linear, b: nn.Linear):
    """B A, float32 (outputs, inputs)."""
    return nn.matmul(b.weight, a.weight)
