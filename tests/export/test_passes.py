import numpy as np
import onnxruntime
import pytest
from jittor import nn

from export import Input, to_onnx
from export.graph import Graph, Node
from export.passes.dead_nodes import remove_dead_nodes
from export.passes.fold_batch_norm import fold_batch_norm
from export.passes.fold_identity import fold_identity
from export.serialise import to_model


def graph(nodes, outputs, initializers=()):
    """nodes: "Kind(input, input) -> output" with attributes, or the text alone."""
    made = Graph(17)
    for node in nodes:
        text, attributes = (node, {}) if isinstance(node, str) else node
        kind, inputs, results = text.replace("(", ") -> ").split(") -> ")
        made.nodes.append(Node(kind, inputs.split(", "), results.split(", "), dict(attributes)))
    made.inputs, made.outputs = ["x"], outputs
    made.initializers = dict(initializers)
    return made


def texts(made):
    return [f"{node.kind}({', '.join(node.inputs)}) -> {', '.join(node.outputs)}" for node in made.nodes]


def test_dead_nodes_and_constants_go():
    constants = {"w": np.ones(1), "v": np.ones(1)}
    made = graph(["Relu(x) -> a", "Exp(a) -> b", "Add(x, w) -> c", "Neg(a) -> y"], ["y"], constants)
    remove_dead_nodes(made)
    assert texts(made) == ["Relu(x) -> a", "Neg(a) -> y"]
    assert made.initializers == {}


def test_identities_go():
    nodes = ["Relu(x) -> a", "Identity(a) -> b", "Exp(a) -> c", "Identity(b) -> y", "Neg(b) -> d", "Identity(d) -> z"]
    made = graph(nodes, ["y", "z"])
    fold_identity(made)
    assert texts(made) == ["Relu(x) -> y", "Exp(y) -> c", "Neg(y) -> z"]


def test_an_identity_that_copies_an_input_or_an_output_stays():
    made = graph(["Identity(x) -> y", "Relu(x) -> a", "Identity(a) -> z", "Identity(a) -> w"], ["y", "z", "w"])
    fold_identity(made)
    assert texts(made) == ["Identity(x) -> y", "Relu(x) -> z", "Identity(z) -> w"]


def run(model, x):
    """ONNX Runtime with its own folding switched off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def folded_and_not(kind, weight, attributes, bias):
    """The same convolution and norm, before and after the pass."""
    rng = np.random.default_rng(0)
    outputs = 6
    constants = {"conv.weight": weight, **{
        name: rng.uniform(0.5, 2, outputs).astype(np.float32) for name in ("gamma", "beta", "mean", "variance")}}
    if bias:
        constants["conv.bias"] = rng.standard_normal(outputs).astype(np.float32)
    inputs = "x, conv.weight, conv.bias" if bias else "x, conv.weight"
    models = []
    for fold in (False, True):
        made = graph([(f"{kind}({inputs}) -> a", attributes),
                      ("BatchNormalization(a, gamma, beta, mean, variance) -> y", {"epsilon": 1e-3})], ["y"], constants)
        made.values = {"x": ("float32", (None, 4, 5, 5)), "y": ("float32", (None, outputs, None, None))}
        if fold:
            fold_batch_norm(made)
            remove_dead_nodes(made)
        models.append(to_model(made, "test", {}))
    return models


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind, shape, groups", [
    ("Conv", (6, 4, 3, 3), 1), ("Conv", (6, 2, 1, 1), 2), ("ConvTranspose", (4, 6, 2, 2), 1),
    ("ConvTranspose", (4, 3, 3, 3), 2)])
def test_batch_norm_goes_into_the_convolution(kind, shape, groups, bias):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal(shape).astype(np.float32)
    before, after = folded_and_not(kind, weight, {"kernel_shape": list(shape[2:]), "group": groups}, bias)
    assert [node.op_type for node in before.graph.node] == [kind, "BatchNormalization"]
    assert [node.op_type for node in after.graph.node] == [kind]
    assert {tensor.name for tensor in after.graph.initializer} == {"conv.weight", "conv.bias"}
    x = rng.standard_normal((2, 4, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(run(after, x), run(before, x), atol=2e-5)


class Reused(nn.Module):
    """One convolution, two norms."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(2, 3, 1), nn.BatchNorm(3), nn.BatchNorm(3)

    def execute(self, x):
        return self.first(self.conv(x)) + self.second(self.conv(x * 2))


class Read(Reused):
    """The convolution's own result is used too."""

    def execute(self, x):
        y = self.conv(x)
        return self.first(y) + y


@pytest.mark.parametrize("model, norms", [(Reused(), 2), (Read(), 1)])
def test_a_convolution_that_others_use_keeps_its_weights(model, norms, kinds):
    exported, _ = to_onnx(model, [Input("x", (1, 2, 4, 4))])
    assert kinds(exported).count("BatchNormalization") == norms


def test_folding_can_be_left_out(kinds):
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm(3))
    assert kinds(to_onnx(model, [Input("x", (1, 2, 4, 4))])[0]) == ["Conv"]
    assert kinds(to_onnx(model, [Input("x", (1, 2, 4, 4))], fold_norms=False)[0]) == ["Conv", "BatchNormalization"]
