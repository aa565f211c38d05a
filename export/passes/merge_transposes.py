"""Two transpositions in a row are one."""

from export.graph import Graph


def merge_transposes(graph: Graph):
    """A Transpose of a Transpose takes its order from both, and reads what the first one read."""
    makers = {output: node for node in graph.nodes for output in node.outputs}
    for node in graph.nodes:
        first = makers.get(node.inputs[0]) if node.kind == "Transpose" else None
        if first is not None and first.kind == "Transpose":
            before, after = first.attributes["perm"], node.attributes["perm"]
            node.inputs, node.attributes = list(first.inputs), {"perm": [before[axis] for axis in after]}
