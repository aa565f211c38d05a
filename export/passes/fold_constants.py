"""What can be computed now is computed now."""

import onnxruntime
from onnx import helper

from export.graph import Graph
from export.serialise import node_proto

_LAYOUT = ("Transpose", "Unsqueeze", "Reshape", "Cast", "Squeeze")
"""Of a parameter these stay: they cost an engine nothing, and the weight keeps its name and values."""

_SMALL = 4096


def fold_constants(graph: Graph):
    """Nodes whose inputs are all constants become constants, but for those whose result is larger than `_SMALL` bytes
    and than their inputs: a file should not hold what an engine can repeat.
    """
    kept = []
    for node in graph.nodes:
        results = _results(graph, node)
        if results is None:
            kept.append(node)
        else:
            graph.initializers.update(zip(node.outputs, results))
    graph.nodes[:] = kept


def _results(graph, node):
    """The arrays that a node makes, or None where it stays."""
    names = [name for name in node.inputs if name]
    if not names or not all(name in graph.initializers for name in names) or set(node.outputs) & set(graph.outputs):
        return None
    if node.kind in _LAYOUT and graph.is_parameter(names[0]):
        return None
    arrays = {name: graph.initializers[name] for name in names}
    results = _run(graph, node, arrays)
    size = sum(array.nbytes for array in results)
    return results if size <= max(_SMALL, sum(array.nbytes for array in arrays.values())) else None


def _run(graph, node, arrays):
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
    inputs = [helper.make_tensor_value_info(name, types[name], array.shape) for name, array in arrays.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs]
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(helper.make_graph([node_proto(node)], "constant", inputs, outputs), opset_imports=[opset],
                              ir_version=helper.find_min_ir_version_for([opset]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, arrays)
