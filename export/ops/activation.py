"""Activations: one ONNX operator each where there is one, for engines have fast code for those."""

import math

from jittor import nn

from export.ops.reduction import reduce
from export.registry import lowers, rewrites


@lowers("nn.relu")
def relu(g, out, x):
    return g.op("Relu", x)


@lowers("nn.relu6")
def relu6(g, out, x):
    return g.op("Clip", x, g.scalar(0, out.dtype), g.scalar(6, out.dtype))


@lowers("nn.leaky_relu")
def leaky_relu(g, out, x, scale=0.01):
    return g.op("LeakyRelu", x, alpha=float(scale))


@lowers("nn.elu")
def elu(g, out, x, alpha=1.0):
    return g.op("Elu", x, alpha=float(alpha))


@lowers("nn.gelu")
def gelu(g, out, x):
    """x / 2 * (1 + erf(x / sqrt(2))): before opset 20 in the form that engines recognise and fuse."""
    if g.opset >= 20:
        return g.op("Gelu", x)
    erf = g.op("Erf", g.op("Div", x, g.scalar(math.sqrt(2), out.dtype)))
    return g.op("Mul", g.op("Mul", x, g.op("Add", erf, g.scalar(1, out.dtype))), g.scalar(0.5, out.dtype))


@lowers("nn.silu")
def silu(g, out, x):
    return g.op("Mul", x, g.op("Sigmoid", x))


@lowers("nn.softplus")
def softplus(g, out, x, beta=1.0, threshold=20.0):
    """log(1 + exp(beta x)) / beta; Jittor's straight line above the threshold differs by less than exp(-threshold)."""
    if beta == 1:
        return g.op("Softplus", x)
    beta = g.scalar(beta, out.dtype)
    return g.op("Div", g.op("Softplus", g.op("Mul", x, beta)), beta)


@lowers("nn.softmax")
def softmax(g, out, x, dim=None, log=False):
    if not isinstance(dim, int):
        return NotImplemented
    return g.op("LogSoftmax" if log else "Softmax", x, axis=dim)


@lowers("nn.logsumexp")
def logsumexp(g, out, x, dim, keepdims=False, keepdim=False):
    """log(sum(exp(x - max))) + max, where Jittor's own overflows. (OpenVINO 2026.4 reduces every axis of a
    ReduceLogSumExp.)"""
    highest = reduce(g, "ReduceMax", g.operand(x), x.ndim, dim, True)
    total = reduce(g, "ReduceSum", g.op("Exp", g.op("Sub", x, highest)), x.ndim, dim, True)
    return reduce(g, "ReduceSum", g.op("Add", g.op("Log", total), highest), x.ndim, dim, keepdims or keepdim)


@lowers("nn.PReLU")
def prelu(g, out, module, x):
    """The slopes lie along the channel axis."""
    if module.num_parameters == 1:
        return g.op("PRelu", x, module.weight)
    return g.op("PRelu", x, g.op("Unsqueeze", module.weight, g.int64s(*range(1, x.ndim - 1))))


@rewrites("nn.Mish")
def mish(module, x):
    """nn.Mish itself calls jt.softplus, which Jittor does not have."""
    return nn.mish(x)


def _calls(name):
    """nn.ReLU and its like hold the function that they were made from, out of a trace's reach."""
    def rewrite(module, x):
        return getattr(nn, name)(x, *module.args, **module.kw)
    return rewrite


_MADE_MODULES = {
    "ReLU": "relu", "LeakyReLU": "leaky_relu", "ReLU6": "relu6", "Softmax": "softmax", "GELU": "gelu", "SiLU": "silu",
}
for _module, _function in _MADE_MODULES.items():
    rewrites(f"nn.{_module}")(_calls(_function))
