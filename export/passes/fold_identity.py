"""Identity nodes: whoever reads their output may as well read their input."""

from export.graph import Graph


def fold_identity(graph: Graph):
    """Remove every Identity, but those that copy an input, a constant or another output to an output of the model."""
    makers = {output: node for node in graph.nodes for output in node.outputs}
    renamed = {}
    kept = []
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        source, target = node.inputs[0] if node.inputs else "", node.outputs[0]
        if node.kind != "Identity":
            kept.append(node)
        elif target not in graph.outputs:
            renamed[target] = source
        elif source in makers and source not in graph.outputs:
            # The tensor takes the output's name, in the node that makes it and in those that have read it so far.
            makers[source].outputs = [target if name == source else name for name in makers[source].outputs]
            for earlier in kept:
                earlier.inputs = [target if name == source else name for name in earlier.inputs]
            renamed = {name: target if to == source else to for name, to in renamed.items()}
            renamed[source] = target
            makers[target] = makers[source]
        else:
            kept.append(node)
    graph.nodes[:] = kept
