"""Operators that change nothing: they become Identity, which `fold_identity` removes."""

import numpy as np

from export.graph import Graph

_NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}


def fold_no_ops(graph: Graph):
    """A Transpose that keeps the order, a Cast to the type, a Reshape or Expand to the shape, times 1, plus 0."""
    for node in graph.nodes:
        if _changes_nothing(graph, node):
            node.kind, node.inputs, node.attributes = "Identity", [node.inputs[0]], {}


def _changes_nothing(graph, node):
    before, after = (graph.values.get(names[0]) if names else None for names in (node.inputs, node.outputs))
    if node.kind == "Transpose":
        return list(node.attributes.get("perm", [])) == list(range(len(node.attributes.get("perm", [])))) != []
    if before is None or after is None:
        return False
    if node.kind == "Cast":
        return before[0] == after[0]
    if before != after or None in before[1]:
        return False
    if node.kind in ("Reshape", "Expand"):
        return True
    neutral = graph.initializers.get(node.inputs[1]) if node.kind in _NEUTRAL else None
    return neutral is not None and bool(np.all(neutral == _NEUTRAL[node.kind]))
