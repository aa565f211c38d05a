"""Softmax over the last axis on the CPU: one pass over memory, where Jittor's own makes four."""

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)

# Loops of one kind of work each: only those does g++ turn into vector instructions.
_FORWARD = """
    int64_t length = in0->shape[in0->shape.size() - 1], rows = in0->num / length;
    #pragma omp parallel for
    for (int64_t row = 0; row < rows; row++) {
        const float* x = in0_p + row * length;
        float* y = out0_p + row * length;
        float highest = x[0], total = 0;
        #pragma omp simd reduction(max : highest)
        for (int64_t i = 0; i < length; i++) highest = x[i] > highest ? x[i] : highest;
        #pragma omp simd
        for (int64_t i = 0; i < length; i++) y[i] = std::exp(x[i] - highest);
        #pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < length; i++) total += y[i];
        float scale = 1 / total;
        #pragma omp simd
        for (int64_t i = 0; i < length; i++) y[i] *= scale;
    }"""

_BACKWARD = """
    int64_t length = in0->shape[in0->shape.size() - 1], rows = in0->num / length;
    #pragma omp parallel for
    for (int64_t row = 0; row < rows; row++) {
        const float *y = in0_p + row * length, *g = in1_p + row * length;
        float* o = out0_p + row * length;
        float along = 0;
        #pragma omp simd reduction(+ : along)
        for (int64_t i = 0; i < length; i++) along += y[i] * g[i];
        #pragma omp simd
        for (int64_t i = 0; i < length; i++) o[i] = y[i] * (g[i] - along);
    }"""


class _Softmax(jt.Function):
    def execute(self, x):
        self.y = jt.code(x.shape, "float32", [x], cpu_header="#include <cmath>", cpu_src=_FORWARD)
        return self.y

    def grad(self, grad_y):
        return jt.code(grad_y.shape, "float32", [self.y, grad_y], cpu_src=_BACKWARD)


def softmax(x):
    """exp(x) / sum(exp(x)) along the last axis of a float32 Var; the highest value of a row is taken off first."""
    return _Softmax.apply(x)
