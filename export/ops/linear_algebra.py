"""Products of matrices."""

import jittor as jt

from export.errors import refusal
from export.registry import lowers, rewrites


@lowers("nn.Linear")
def linear_module(g, out, module, x):
    return linear(g, out, x, module.weight, module.bias)


@lowers("nn.linear")
def linear(g, out, x, weight, bias=None):
    """x (..., I), weight (O, I) as in the state dict: engines fold the transposition."""
    if x.ndim == 2:
        return g.op("Gemm", x, weight, bias, transB=1)
    product = g.op("MatMul", x, g.op("Transpose", weight, perm=[1, 0]))
    return product if bias is None else g.op("Add", product, bias)


@lowers("nn.matmul_transpose")
def matmul_transpose(g, out, a, b):
    """a (..., M) times the transpose of b (K, M)."""
    return linear(g, out, a, b)


@lowers("nn.matmul", "nn.bmm")
def matmul(g, out, a, b):
    """NumPy's rules for ranks and broadcasting."""
    if a.ndim == 1 and b.ndim > 2 or a.ndim == b.ndim == 1:
        raise refusal(f"matmul of shapes {list(a.shape)} and {list(b.shape)}", "Jittor's meaning of it is not ONNX's",
                      "multiply and sum: (a * b).sum(dim)")
    return g.op("MatMul", g.cast(a, out.dtype), g.cast(b, out.dtype))


@lowers("nn.bmm_transpose")
def bmm_transpose(g, out, a, b):
    """a (..., N, M) times the transpose of b (..., K, M)."""
    axes = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
    return g.op("MatMul", a, g.op("Transpose", b, perm=axes))


@rewrites("nn.bilinear")
def bilinear(in1, in2, weight, bias):
    """in1 (N, I), in2 (N, K), weight (O, I, K). As products of matrices: of Jittor's products and sums OpenVINO 2026.4
    makes something else, at a batch above 1."""
    outputs, first, second = weight.shape
    products = jt.matmul(in1, weight.transpose(1, 0, 2).reshape(first, -1)).reshape(in1.shape[0], outputs, second)
    result = jt.matmul(products, in2.unsqueeze(-1)).squeeze(-1)
    return result if bias is None else result + bias


@lowers("linalg.einsum")
def einsum(g, out, equation, *operands):
    return g.op("Einsum", *operands, equation=equation.replace(" ", ""))
