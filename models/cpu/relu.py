"""Rectifier for the CPU: Jittor's compiles to a select against a broadcast zero, which g++ does not vectorise."""

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)


class _Relu(jt.Function):
    def execute(self, x):
        self.y = jt.code(x.shape, "float32", [x], cpu_src="""
            #pragma omp parallel for simd
            for (int64_t i = 0; i < in0->num; i++) out0_p[i] = in0_p[i] > 0 ? in0_p[i] : 0;""")
        return self.y

    def grad(self, grad_y):
        return jt.code(grad_y.shape, "float32", [self.y, grad_y], cpu_src="""
            #pragma omp parallel for simd
            for (int64_t i = 0; i < in0->num; i++) out0_p[i] = in0_p[i] > 0 ? in1_p[i] : 0;""")


def relu(x):
    """max(x, 0) of a float32 Var of any shape; the gradient at 0 is 0."""
    return _Relu.apply(x)
