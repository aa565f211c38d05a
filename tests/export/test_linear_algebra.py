import jittor as jt
import numpy as np
from jittor import attention, nn


def test_products(agrees, kinds):
    modules = {"linear": nn.Linear(4, 3), "no_bias": nn.Linear(4, 2, bias=False)}

    def run(self, x):
        matrix = x[:, 0]
        return {
            "matrix": self.linear(matrix), "tensor": self.linear(x), "no_bias": self.no_bias(x),
            "at": x @ x.transpose(-2, -1),
            "matmul": jt.matmul(x, jt.array(np.eye(4, 5, dtype=np.float32))), "bmm": nn.bmm(x, x.transpose(0, 2, 1)),
            "bmm_transpose": nn.bmm_transpose(x, x), "vector": jt.matmul(x, jt.array(np.arange(4, dtype=np.float32))),
            "einsum": jt.linalg.einsum("bij,bkj->bik", x, x),
            "constant_first": self.no_bias.weight @ x.transpose(0, 2, 1),
            "baddbmm": nn.baddbmm(x[:, :, :3], x, x.transpose(0, 2, 1), alpha=0.5),
        }

    exported = agrees(run, (1, 3, 4), modules=modules, tolerance=5e-6)
    assert kinds(exported).count("Gemm") == 1  # the one on a matrix
    assert {"linear.weight", "linear.bias", "no_bias.weight"} <= {tensor.name for tensor in exported.graph.initializer}


class Attention(nn.Module):
    """Multi-head self-attention as vision transformers write it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)
        self.position = jt.randn(1, 5, width) * 0.1

    def execute(self, x):
        batch, count, width = x.shape
        x = x + self.position
        qkv = self.qkv(self.norm(x)).reshape(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = nn.softmax(q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5, dim=-1)
        x += self.drop(self.proj((weights @ v).transpose(1, 2).reshape(batch, count, width)))
        q = x.reshape(batch, count, self.heads, -1).transpose(1, 2)
        causal = attention.scaled_dot_product_attention(q, q, q, is_causal=True)
        return x, causal


def test_attention(agrees):
    exported = agrees(Attention(8, 2), (1, 5, 8), tolerance=5e-6)
    assert "position" in {tensor.name for tensor in exported.graph.initializer}
