"""Normalisation. Modules without affine parameters hold the numbers 1.0 and 0.0 in their place."""

import jittor as jt
import numpy as np

from export.errors import refusal
from export.ops.reshape import reshaped
from export.registry import lowers


def _filled(g, value, shape):
    """A parameter, or an array of the number that stands in its place."""
    return g.operand(value) if isinstance(value, jt.Var) else g.constant(np.full(shape, value, np.float32))


def _along_channels(g, value, rank):
    """A parameter (C,) in a shape that multiplies (N, C, *spatial)."""
    return g.op("Unsqueeze", value, g.int64s(*range(1, rank - 1))) if rank > 2 else g.operand(value)


@lowers("nn.BatchNorm")
def batch_norm_module(g, out, module, x):
    if module.is_train:
        raise refusal("nn.BatchNorm in training mode", "it normalises by the statistics of the batch at hand, and this "
                      "one is out of the reach of model.eval()",
                      "hold it as an attribute of a module or in nn.ModuleList, not in a "
                      "Python list or dict")
    return batch_norm(g, out, x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps)


@lowers("nn.batch_norm")
def batch_norm(g, out, x, running_mean, running_var, weight=1, bias=0, training=False, momentum=0.1, eps=1e-5):
    channels = [int(x.shape[1])]
    return g.op("BatchNormalization", x, _filled(g, weight, channels), _filled(g, bias, channels), running_mean,
                running_var, epsilon=float(eps))


@lowers("nn.InstanceNorm")
def instance_norm_module(g, out, module, x):
    return instance_norm(g, out, x, weight=module.weight, bias=module.bias, eps=module.eps)


@lowers("nn.instance_norm")
def instance_norm(g, out, x, running_mean=None, running_var=None, weight=1, bias=0, momentum=0.1, eps=1e-5):
    channels = [int(x.shape[1])]
    return g.op("InstanceNormalization", x, _filled(g, weight, channels), _filled(g, bias, channels),
                epsilon=float(eps))


@lowers("nn.LayerNorm")
def layer_norm_module(g, out, module, x):
    return layer_norm(g, out, x, module.normalized_shape, module.weight, module.bias, module.eps)


@lowers("nn.layer_norm")
def layer_norm(g, out, x, normalized_shape, weight=1, bias=0, eps=1e-5, elementwise_affine=True):
    shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    scale, shift = _filled(g, weight, shape), _filled(g, bias, shape)
    if g.opset >= 17:
        return g.op("LayerNormalization", x, scale, shift, axis=-len(shape), epsilon=float(eps))
    axes = list(range(-len(shape), 0))
    centred = g.op("Sub", x, _mean(g, x, axes))
    variance = _mean(g, g.op("Mul", centred, centred), axes)
    deviation = g.op("Sqrt", g.op("Add", variance, g.scalar(eps, out.dtype)))
    return g.op("Add", g.op("Mul", g.op("Div", centred, deviation), scale), shift)


def _mean(g, x, axes):
    return g.op("ReduceMean", x, axes=axes, keepdims=1)


@lowers("nn.GroupNorm")
def group_norm_module(g, out, module, x):
    return group_norm(g, out, x, module.num_groups, module.weight, module.bias, module.eps)


@lowers("nn.group_norm")
def group_norm(g, out, x, num_groups, weight=1, bias=0, eps=1e-5):
    if out.ndim != x.ndim:
        raise refusal(f"nn.group_norm on {x.ndim} axes", "Jittor's function flattens its result there",
                      "use nn.GroupNorm")
    channels = [int(x.shape[1])]
    if g.opset >= 21:
        return g.op("GroupNormalization", x, _filled(g, weight, channels), _filled(g, bias, channels),
                    epsilon=float(eps), num_groups=int(num_groups))
    # Every group is one channel of an instance norm over all that is in it.
    ones, zeros = (g.constant(np.full(num_groups, number, np.float32)) for number in (1, 0))
    grouped = g.op("Reshape", x, g.int64s(0, num_groups, -1))
    y = g.op("InstanceNormalization", grouped, ones, zeros, epsilon=float(eps))
    y = reshaped(g, y, x.shape)
    if isinstance(weight, jt.Var):
        y = g.op("Mul", y, _along_channels(g, weight, x.ndim))
    return g.op("Add", y, _along_channels(g, bias, x.ndim)) if isinstance(bias, jt.Var) else y
