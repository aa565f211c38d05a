"""Layer normalisation that a model writes out in arithmetic, as one operator (opset 17)."""

import numpy as np

from export.graph import Graph, Node
from export.passes.pattern import Matcher


def fuse_layer_norm(graph: Graph):
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) over the last axes, and the scale and shift after it where they are
    parameters of these axes' shape, become LayerNormalization.
    """
    if graph.opset < 17:
        return
    matcher = Matcher(graph)
    for node in list(graph.nodes):
        found = _normalised(matcher, node)
        if found is not None:
            _replace(graph, matcher, node, *found)
            matcher = Matcher(graph)


def _normalised(m: Matcher, node):
    """(x, number of axes, eps) where the node's result is x normalised, else None."""
    centred, root = _quotient(m, node)
    added = root and m.maker(root.inputs[0], "Add")
    variance, eps = m.with_number(added) if added else (None, None)
    mean_of_squares = m.maker(variance, "ReduceMean") if variance else None
    difference = m.maker(centred, "Sub") if centred else None
    if mean_of_squares is None or difference is None or eps is None or not _is_square(m, mean_of_squares.inputs[0], centred):
        return None
    x, mean = difference.inputs
    mean = m.maker(mean, "ReduceMean")
    if mean is None or mean.inputs[0] != x or m.rank(x) is None:
        return None
    axes = _last_axes(m, mean, m.rank(x))
    if axes is None or axes != _last_axes(m, mean_of_squares, m.rank(x)):
        return None
    return x, axes, eps


def _quotient(m, node):
    """(a, the Sqrt node) of a / sqrt(...) or a * (1 / sqrt(...)), else (None, None)."""
    if node.kind == "Div":
        return node.inputs[0], m.maker(node.inputs[1], "Sqrt")
    if node.kind == "Mul":
        for a, b in (node.inputs, node.inputs[::-1]):
            inverse = m.maker(b, "Div")
            if inverse is not None and m.number(inverse.inputs[0]) == 1:
                return a, m.maker(inverse.inputs[1], "Sqrt")
    return None, None


def _is_square(m, name, of):
    product = m.maker(name, "Mul")
    power = m.maker(name, "Pow")
    return (product is not None and product.inputs == [of, of]
            or power is not None and power.inputs[0] == of and m.number(power.inputs[1]) == 2)


def _last_axes(m, node, rank):
    """How many of the last axes a ReduceMean with keepdims takes, or None for any others."""
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1:
        axes = m.array(node.inputs[1])
    if axes is None or not node.attributes.get("keepdims", 1):
        return None
    axes = sorted(int(axis) % rank for axis in axes)
    return len(axes) if axes == list(range(rank - len(axes), rank)) else None


def _replace(graph, m, node, x, axes, eps):
    sizes = graph.values[x][1][-axes:]
    dtype = graph.values[x][0]
    if not all(isinstance(size, int) for size in sizes):
        return
    last, scale, shift = node, None, None
    following = m.only_reader(last.outputs[0], "Mul")
    if following is not None:
        scale = _parameter(m, following, last, sizes)
        last = following if scale else last
    following = m.only_reader(last.outputs[0], "Add")
    if following is not None:
        shift = _parameter(m, following, last, sizes)
        last = following if shift else last
    scale = scale or graph.constant(np.ones(sizes, dtype))
    norm = Node("LayerNormalization", [x, scale, *([shift] if shift else [])], last.outputs,
                {"axis": -axes, "epsilon": float(eps)})
    graph.nodes[graph.nodes.index(last)] = norm


def _parameter(m, node, before, sizes):
    """The other operand of a Mul or Add, where it has the shape of the normalised axes (or 1s before them)."""
    other = node.inputs[1] if node.inputs[0] == before.outputs[0] else node.inputs[0]
    array = m.array(other)
    return other if array is not None and array.shape == tuple(sizes) else None
