"""A finished Graph as an ONNX model."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.errors import ExportError
from export.graph import Graph

_PRODUCER = "medseg-laptop export"


def to_model(graph: Graph, name: str, facts: dict[str, str]) -> onnx.ModelProto:
    """The ONNX model, checked. name: of the graph. facts: written to metadata_props.

    What Jittor said of every tensor is written beside the nodes, so that ONNX's own shape and type inference is checked
    against Jittor's. Raises ExportError where they disagree or the model breaks a rule of ONNX.
    """
    inputs, outputs = ([_value_info(graph, tensor) for tensor in names] for names in (graph.inputs, graph.outputs))
    inner = [_value_info(graph, tensor) for tensor in graph.values
             if tensor not in {*graph.inputs, *graph.outputs, *graph.initializers}]
    made = helper.make_graph(
        [_node(node, i) for i, node in enumerate(graph.nodes)], name, inputs, outputs,
        [numpy_helper.from_array(array, tensor) for tensor, array in graph.initializers.items()], value_info=inner)
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(made, opset_imports=[opset], producer_name=_PRODUCER,
                              ir_version=helper.find_min_ir_version_for([opset]))
    helper.set_model_props(model, facts)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("the model", f"ONNX's checker refuses the graph: {error}",
                          "this is a fault in a rule of export/ops: the message names the node") from error
    return model


def _node(node, number):
    attributes = {key: helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
                  for key, value in node.attributes.items()}
    scope = node.outputs[0].rpartition("/")[0]
    return helper.make_node(node.kind, node.inputs, node.outputs, name=f"{scope}/{node.kind}_{number}", **attributes)


def _value_info(graph, tensor):
    dtype, dims = graph.values[tensor]
    return helper.make_tensor_value_info(tensor, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)
