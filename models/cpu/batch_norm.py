"""Batch normalisation for training on the CPU: two passes over memory forward, two backward.

Jittor's own decomposes into scalar reductions and broadcasts, which take longer than the convolutions around them, and
subtracts squares in float32; here the sums are vectorised and gathered in float64.
"""

import pathlib

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)

_CPP = pathlib.Path(__file__).with_suffix(".cc").read_text()


class _BatchNorm(jt.Function):
    def execute(self, x, weight, bias, eps):
        channels = [x.shape[1]]
        self.x, self.weight, self.eps = x, weight, eps
        y, self.mean, self.variance = jt.code(
            [x.shape, channels, channels], ["float32"] * 3, [x, weight, bias], cpu_header=_CPP, data={"eps": eps},
            cpu_src="""cpu_batch_norm::forward(in0_p, in0->shape, in1_p, in2_p, data["eps"], out0_p, out1_p, out2_p);""")
        return y, self.mean, self.variance

    def grad(self, grad_y, grad_mean, grad_variance):
        channels = [self.x.shape[1]]
        grad_x, grad_weight, grad_bias = jt.code(
            [self.x.shape, channels, channels], ["float32"] * 3,
            [self.x, self.weight, self.mean, self.variance, grad_y], cpu_header=_CPP, data={"eps": self.eps},
            cpu_src="""cpu_batch_norm::backward(in0_p, in0->shape, in1_p, in2_p, in3_p, data["eps"], in4_p,
                                                out0_p, out1_p, out2_p);""")
        return grad_x, grad_weight, grad_bias, None


class _ChannelAffine(jt.Function):
    def execute(self, x, scale, shift):
        self.x, self.scale = x, scale
        return jt.code(x.shape, "float32", [x, scale, shift], cpu_header=_CPP, cpu_src="""
            cpu_batch_norm::affine_forward(in0_p, in0->shape, in1_p, in2_p, out0_p);""")

    def grad(self, grad_y):
        channels = [self.x.shape[1]]
        return jt.code(
            [self.x.shape, channels, channels], ["float32"] * 3, [self.x, self.scale, grad_y], cpu_header=_CPP,
            cpu_src="""cpu_batch_norm::affine_backward(in0_p, in0->shape, in1_p, in2_p, out0_p, out1_p, out2_p);""")


def channel_affine(x, scale, shift):
    """x * scale + shift with one scale and shift a channel: a batch norm whose statistics are given.

    x: float32 (N, C, *sizes); scale, shift: (C,)."""
    return _ChannelAffine.apply(x, scale, shift)


def batch_norm(x, weight, bias, eps=1e-5):
    """Ioffe & Szegedy 2015 (arXiv 1502.03167), algorithm 1, with the statistics of this batch.

    x: float32 (N, C, *sizes); weight, bias: (C,). Returns (y like x, mean (C,), biased variance (C,)); gradients flow
    through y alone.
    """
    return _BatchNorm.apply(x, weight, bias, eps)
