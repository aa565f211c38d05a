"""Common subexpressions: what is computed twice from the same tensors is computed once."""

from export.graph import Graph


def merge_equals(graph: Graph):
    """Of nodes with equal kind, inputs and attributes only the first stays, but where one makes an output of the
    model."""
    first, renamed, kept = {}, {}, []
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        key = (node.kind, tuple(node.inputs), repr(sorted(node.attributes.items())))
        earlier = first.setdefault(key, node)
        if earlier is node or set(node.outputs) & set(graph.outputs):
            kept.append(node)
        else:
            renamed.update(zip(node.outputs, earlier.outputs))
    graph.nodes[:] = kept
