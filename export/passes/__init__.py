"""Clean-up of a finished graph, one pass a file. Each takes the Graph and changes it in place."""

from export.graph import Graph
from export.passes.dead_nodes import remove_dead_nodes
from export.passes.fold_batch_norm import fold_batch_norm
from export.passes.fold_constants import fold_constants
from export.passes.fold_identity import fold_identity
from export.passes.fold_no_ops import fold_no_ops
from export.passes.fuse_gelu import fuse_gelu
from export.passes.fuse_layer_norm import fuse_layer_norm
from export.passes.merge_equals import merge_equals
from export.passes.merge_transposes import merge_transposes


def clean_up(graph: Graph, fold_norms: bool = True):
    """All passes. fold_norms: whether BatchNorm goes into the convolution before it, which changes the convolution's
    weights from those of the checkpoint."""
    merge_transposes(graph)
    fold_no_ops(graph)
    fold_identity(graph)
    merge_equals(graph)
    remove_dead_nodes(graph)
    fold_constants(graph)
    fuse_layer_norm(graph)
    fuse_gelu(graph)
    remove_dead_nodes(graph)
    if fold_norms:
        fold_batch_norm(graph)
    remove_dead_nodes(graph)
