"""Products of matrices."""

from export.errors import refusal
from export.registry import lowers


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


@lowers("linalg.einsum")
def einsum(g, out, equation, *operands):
    return g.op("Einsum", *operands, equation=equation.replace(" ", ""))
