"""A finished Graph as an ONNX model."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.errors import ExportError
from export.graph import Graph, Node

_PRODUCER = "medseg-laptop export"

LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights above which they go into a file beside the ONNX file, which can hold no more than 2 GiB."""


def to_model(graph: Graph, name: str, facts: dict[str, str]) -> onnx.ModelProto:
    """The ONNX model, checked. name: of the graph. facts: written to metadata_props.

    What Jittor said of every tensor is written beside the nodes, so that ONNX's own shape and type inference is checked
    against Jittor's. Raises ExportError where they disagree or the model breaks a rule of ONNX.
    """
    inputs, outputs = ([_value_info(graph, tensor) for tensor in names] for names in (graph.inputs, graph.outputs))
    inner = [_value_info(graph, tensor) for tensor in graph.values
             if tensor not in {*graph.inputs, *graph.outputs, *graph.initializers}]
    made = helper.make_graph(
        [node_proto(node, i) for i, node in enumerate(graph.nodes)], name, inputs, outputs,
        [numpy_helper.from_array(array, tensor) for tensor, array in graph.initializers.items()], value_info=inner)
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(made, opset_imports=[opset], producer_name=_PRODUCER,
                              ir_version=helper.find_min_ir_version_for([opset]))
    helper.set_model_props(model, facts)
    if not is_large(model):
        _check(model)
    return model


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the weights need a file of their own. Such a model is checked when it is written."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST_FILE


def write_onnx(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Write the model, and where it is large its weights into `path`.data beside it. Returns the files."""
    if not is_large(model):
        onnx.save(model, path)
        return [path]
    weights = path.with_name(path.name + ".data")
    onnx.save(model, path, save_as_external_data=True, location=weights.name, size_threshold=1024)
    _check(str(path))
    return [path, weights]


def _check(model_or_path):
    try:
        onnx.checker.check_model(model_or_path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("the model", f"ONNX's checker refuses the graph: {error}",
                          "this is a fault in a rule of export/ops: the message names the node") from error


def node_proto(node: Node, number: int = 0) -> onnx.NodeProto:
    """A node as ONNX writes it. number: makes its name unlike others."""
    attributes = {key: helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
                  for key, value in node.attributes.items()}
    scope = node.outputs[0].rpartition("/")[0]
    return helper.make_node(node.kind, node.inputs, node.outputs, name=f"{scope}/{node.kind}_{number}", **attributes)


def _value_info(graph, tensor):
    dtype, dims = graph.values[tensor]
    return helper.make_tensor_value_info(tensor, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)
