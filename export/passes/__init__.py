"""Clean-up of a finished graph, one pass a file. Each takes the Graph and changes it in place."""

from export.graph import Graph
from export.passes.dead_nodes import remove_dead_nodes
from export.passes.fold_batch_norm import fold_batch_norm
from export.passes.fold_identity import fold_identity


def clean_up(graph: Graph, fold_norms: bool = True):
    """All passes. fold_norms: whether BatchNorm goes into the convolution before it, which changes the convolution's
    weights from those of the checkpoint."""
    fold_identity(graph)
    if fold_norms:
        fold_batch_norm(graph)
    remove_dead_nodes(graph)
