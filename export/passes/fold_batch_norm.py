"""BatchNorm after a convolution is a convolution with other weights."""

from collections import Counter

import numpy as np

from export.graph import Graph, Node

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def fold_batch_norm(graph: Graph):
    """y = scale * conv(x) + shift, with scale = gamma / sqrt(variance + eps) and shift = beta - scale * mean per output
    channel, becomes one convolution, where nobody else reads the convolution's result, weight or bias.

    The weight keeps its name (its key in the state dict), not its values. A bias that was not there is named after it.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    makers = {output: node for node in graph.nodes for output in node.outputs}
    for norm in [node for node in graph.nodes if node.kind == "BatchNormalization"]:
        conv = makers.get(norm.inputs[0])
        if conv is not None and _can_fold(graph, conv, norm, readers):
            _fold(graph, conv, norm)
            graph.nodes.remove(norm)


def _can_fold(graph, conv, norm, readers):
    return (
        conv.kind in _CONVOLUTIONS
        and readers[conv.outputs[0]] == 1
        and all(name in graph.initializers for name in conv.inputs[1:] + norm.inputs[1:])
        and all(readers[name] == 1 for name in conv.inputs[1:])
    )


def _fold(graph: Graph, conv: Node, norm: Node):
    gamma, beta, mean, variance = (graph.initializers[name].astype(np.float64) for name in norm.inputs[1:])
    scale = gamma / np.sqrt(variance + norm.attributes.get("epsilon", 1e-5))
    weight_name = conv.inputs[1]
    weight = graph.initializers[weight_name]
    graph.initializers[weight_name] = (weight * _along_outputs(conv, weight, scale)).astype(weight.dtype)
    bias = graph.initializers[conv.inputs[2]] if len(conv.inputs) > 2 else np.zeros_like(mean)
    if len(conv.inputs) < 3:
        conv.inputs.append(_bias_name(graph, weight_name))
    graph.initializers[conv.inputs[2]] = (scale * (bias - mean) + beta).astype(weight.dtype)
    graph.values[conv.inputs[2]] = (weight.dtype.name, mean.shape)
    conv.outputs = norm.outputs


def _along_outputs(conv, weight, scale):
    """`scale` (O,) in a shape that multiplies a weight (O, I / groups, ...), or (I, O / groups, ...) of a
    ConvTranspose."""
    kernel = (1,) * (weight.ndim - 2)
    if conv.kind == "Conv":
        return scale.reshape(-1, 1, *kernel)
    groups = conv.attributes.get("group", 1)
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return np.repeat(scale.reshape(groups, outputs), inputs, axis=0).reshape(groups * inputs, outputs, *kernel)


def _bias_name(graph, weight_name):
    name = weight_name.removesuffix("weight") + "bias"
    while name in graph.initializers or name in graph.values:
        name += "_folded"
    return name
