"""Nodes and constants that no output needs."""

from export.graph import Graph


def remove_dead_nodes(graph: Graph):
    """Leave only what the outputs are computed from. Inputs stay, used or not."""
    needed = set(graph.outputs)
    alive = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            alive.append(node)
            needed.update(node.inputs)
    graph.nodes[:] = reversed(alive)
    for name in [name for name in graph.initializers if name not in needed]:
        del graph.initializers[name]
    made = needed.union(graph.inputs, *(node.outputs for node in graph.nodes))
    for name in [name for name in graph.values if name not in made]:
        del graph.values[name]
