"""GELU that a model writes out in arithmetic, as one operator (opset 20)."""

import math

from export.graph import Graph, Node
from export.passes.pattern import Matcher


def fuse_gelu(graph: Graph):
    """x * 0.5 * (1 + erf(x / sqrt(2))), in any order of the factors, becomes Gelu. Before opset 20, where ONNX has none,
    it stays: engines know it in this form."""
    if graph.opset < 20:
        return
    matcher = Matcher(graph)
    for erf in [node for node in graph.nodes if node.kind == "Erf"]:
        x = _argument(matcher, erf.inputs[0])
        add = matcher.only_reader(erf.outputs[0], "Add")
        if x is None or add is None or matcher.with_number(add)[1] != 1:
            continue
        root = _product(matcher, add, x)
        if root is not None:
            graph.nodes[graph.nodes.index(root)] = Node("Gelu", [x], root.outputs)
            matcher = Matcher(graph)


def _argument(m, name):
    """x of x / sqrt(2) or x * sqrt(0.5), else None."""
    for kind, number in (("Div", math.sqrt(2)), ("Mul", math.sqrt(0.5))):
        node = m.maker(name, kind)
        if node is not None:
            other, found = m.with_number(node)
            if found is not None and math.isclose(found, number, rel_tol=1e-5):
                return other
    return None


def _product(m, add, x):
    """The node that makes the whole product of `add`'s result, x and 0.5, or None."""
    node = add
    while (node := m.only_reader(node.outputs[0], "Mul")) is not None:
        numbers, tensors = _factors(m, node.outputs[0])
        if math.isclose(math.prod(numbers), 0.5, rel_tol=1e-6) and sorted(tensors) == sorted([x, add.outputs[0]]):
            return node
    return None


def _factors(m, name):
    """(numbers, names of tensors) whose product a tensor is."""
    if m.number(name) is not None:
        return [m.number(name)], []
    node = m.maker(name, "Mul")
    if node is None:
        halved = m.maker(name, "Div")
        number = m.number(halved.inputs[1]) if halved is not None else None
        if not number:
            return [], [name]
        numbers, tensors = _factors(m, halved.inputs[0])
        return [*numbers, 1 / number], tensors
    parts = [_factors(m, operand) for operand in node.inputs]
    return [number for numbers, _ in parts for number in numbers], [name for _, names in parts for name in names]
