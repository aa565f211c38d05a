"""Batched matrix products through oneDNN on the CPU.

Jittor sends only 2-D products to oneDNN. The batched ones of an attention become a plain loop, whose gradients take 10 to
40 times as long.
"""

import math

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)
from models.cpu.convolution import _FLAGS

_HEADER = "#include <dnnl.h>\n#include <omp.h>\n"


def _sgemm(a, b, transpose_a, transpose_b):
    """One product a matrix of the batch; where there are fewer of them than threads, oneDNN splits each instead."""
    n, m = (a.shape[-1], a.shape[-2]) if transpose_a else (a.shape[-2], a.shape[-1])
    k = b.shape[-2] if transpose_b else b.shape[-1]
    sizes = {"batch": math.prod(a.shape[:-2]), "n": n, "m": m, "k": k}
    signs = ["T" if transposed else "N" for transposed in (transpose_a, transpose_b)]
    with jt.flag_scope(compile_options=_FLAGS):
        return jt.code([*a.shape[:-2], n, k], "float32", [a, b], cpu_header=_HEADER, data=sizes, cpu_src=f"""
            int64_t batch = data["batch"], n = data["n"], m = data["m"], k = data["k"];
            int64_t lda = {"n" if transpose_a else "m"}, ldb = {"m" if transpose_b else "k"};
            #pragma omp parallel for if (batch >= omp_get_max_threads())
            for (int64_t i = 0; i < batch; i++)
                dnnl_sgemm('{signs[0]}', '{signs[1]}', n, k, m, 1.f, in0_p + i * n * m, lda, in1_p + i * m * k, ldb,
                           0.f, out0_p + i * n * k, k);""")


class _Matmul(jt.Function):
    def execute(self, a, b):
        self.a, self.b = a, b
        return _sgemm(a, b, False, False)

    def grad(self, grad_c):
        return _sgemm(grad_c, self.b, False, True), _sgemm(self.a, grad_c, True, False)


def matmul(a, b):
    """NumPy's `a @ b` for float32 (..., n, m) and (..., m, k), each of at least 3 axes, their leading axes broadcast."""
    leading = np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return _Matmul.apply(_spread(a, leading), _spread(b, leading))


def _spread(x, leading):
    shape = [*leading, *x.shape[-2:]]
    return x if list(x.shape) == shape else x.broadcast(shape)
