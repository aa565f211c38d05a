import numpy as np
import onnxruntime
import pytest
from jittor import nn

from export import Input, to_onnx
from export.graph import Graph, Node
from export.passes.dead_nodes import remove_dead_nodes
from export.passes.fold_batch_norm import fold_batch_norm
from export.passes.fold_constants import fold_constants
from export.passes.fold_identity import fold_identity
from export.passes.fold_no_ops import fold_no_ops
from export.passes.fuse_gelu import fuse_gelu
from export.passes.fuse_layer_norm import fuse_layer_norm
from export.passes.merge_equals import merge_equals
from export.passes.merge_transposes import merge_transposes
from export.serialise import to_model


def graph(nodes, outputs, initializers=(), opset=17):
    """nodes: "Kind(input, input) -> output" with attributes, or the text alone."""
    made = Graph(opset)
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


def test_operators_that_change_nothing():
    constants = {"one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32), "two": np.full(1, 2, np.float32),
                 "shape": np.array([0, 6])}
    made = graph([("Transpose(x) -> a", {"perm": [0, 1]}), "Mul(a, one) -> b", "Sub(b, zero) -> c", "Reshape(c, shape) -> d",
                  ("Transpose(d) -> e", {"perm": [1, 0]}), "Mul(e, two) -> f", "Reshape(f, shape) -> y"], ["y"], constants)
    known = ("float32", ("batch", 6))
    made.values = dict.fromkeys("xabcd", known) | dict.fromkeys("efy", ("float32", (6, "batch")))
    made.values["y"] = known
    fold_no_ops(made)
    assert [node.kind for node in made.nodes] == ["Identity"] * 4 + ["Transpose", "Mul", "Reshape"]


def test_a_sum_that_broadcasts_is_no_identity():
    made = graph(["Add(x, zeros) -> y"], ["y"], {"zeros": np.zeros((3, 1), np.float32)})
    made.values = {"x": ("float32", (1, 4)), "y": ("float32", (3, 4))}
    fold_no_ops(made)
    assert texts(made) == ["Add(x, zeros) -> y"]


def test_transposes_in_a_row_are_one():
    made = graph([("Transpose(x) -> a", {"perm": [1, 2, 0]}), ("Transpose(a) -> b", {"perm": [2, 1, 0]}),
                  ("Transpose(b) -> y", {"perm": [0, 2, 1]})], ["y"])
    merge_transposes(made)
    assert made.nodes[-1].inputs == ["x"]
    assert made.nodes[-1].attributes["perm"] == [0, 1, 2]


def test_what_is_computed_twice_is_computed_once():
    made = graph([("ReduceMean(x) -> a", {"axes": [1]}), ("ReduceMean(x) -> b", {"axes": [1]}),
                  ("ReduceMean(x) -> c", {"axes": [2]}), "Sub(x, a) -> d", "Sub(x, b) -> e", "Mul(d, e) -> f", "Neg(f) -> y",
                  "Neg(f) -> z"], ["y", "z"])
    merge_equals(made)
    assert texts(made) == ["ReduceMean(x) -> a", "ReduceMean(x) -> c", "Sub(x, a) -> d", "Mul(d, d) -> f", "Neg(f) -> y",
                           "Neg(f) -> z"]


def test_constants_are_computed():
    constants = {"a": np.array([1, 2]), "b": np.array([3]), "one": np.array(1.0, np.float32), "wide": np.array([2000])}
    made = graph([("Concat(a, b) -> c", {"axis": 0}), "Neg(c) -> d", "Expand(one, wide) -> e", "Expand(x, d) -> f",
                  "Add(f, e) -> y"], ["y"], constants)
    fold_constants(made)
    np.testing.assert_array_equal(made.initializers["d"], [-1, -2, -3])
    assert texts(made) == ["Expand(one, wide) -> e", "Expand(x, d) -> f", "Add(f, e) -> y"]  # 8 kB from 12 bytes is not


def test_parameters_keep_their_names(kinds):
    exported, _ = to_onnx(nn.Linear(4, 3, bias=False), [Input("x", (1, 2, 4))])
    assert kinds(exported) == ["Transpose", "MatMul"]
    assert [tensor.name for tensor in exported.graph.initializer] == ["weight"]


def layer_norm_graph(variance="Mul(d, d) -> s", quotient=("Add(v, eps) -> e", "Sqrt(e) -> r", "Div(d, r) -> n"), axes=(2,),
                     tail=("Mul(n, scale) -> m", "Add(shift, m) -> y"), opset=17):
    constants = {"eps": np.float32(1e-3), "two": np.float32(2), "one": np.float32(1),
                 "scale": np.linspace(1, 2, 4, dtype=np.float32), "shift": np.linspace(-1, 1, 4, dtype=np.float32)}
    mean = {"axes": list(axes), "keepdims": 1}
    made = graph([("ReduceMean(x) -> mu", mean), "Sub(x, mu) -> d", variance, ("ReduceMean(s) -> v", mean), *quotient, *tail],
                 ["y"], constants, opset)
    made.values = {"x": ("float32", ("batch", 3, 4)), "y": ("float32", ("batch", 3, 4))}
    return made


def layer_norm(x, scale, shift, eps=1e-3):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + eps) * scale + shift


@pytest.mark.parametrize("parts", [
    {}, {"variance": "Pow(d, two) -> s"},
    {"quotient": ("Add(eps, v) -> e", "Sqrt(e) -> r", "Div(one, r) -> i", "Mul(d, i) -> n")},
])
def test_layer_norms_written_out_become_one_operator(parts):
    made = layer_norm_graph(**parts)
    fuse_layer_norm(made)
    remove_dead_nodes(made)
    assert texts(made) == ["LayerNormalization(x, scale, shift) -> y"]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    wanted = layer_norm(x, made.initializers["scale"], made.initializers["shift"])
    np.testing.assert_allclose(run(to_model(made, "test", {}), x), wanted, atol=1e-5)


def test_layer_norm_without_parameters():
    made = layer_norm_graph(tail=("Neg(n) -> y",))
    fuse_layer_norm(made)
    remove_dead_nodes(made)
    assert [node.kind for node in made.nodes] == ["LayerNormalization", "Neg"]


@pytest.mark.parametrize("parts", [{"axes": (1,)}, {"opset": 16}, {"variance": "Mul(d, x) -> s"}])
def test_what_is_no_layer_norm_stays(parts):
    made = layer_norm_graph(**parts)
    before = texts(made)
    fuse_layer_norm(made)
    assert texts(made) == before


@pytest.mark.parametrize("nodes", [
    ["Div(x, root) -> a", "Erf(a) -> b", "Add(b, one) -> c", "Mul(x, c) -> d", "Mul(d, half) -> y"],
    ["Mul(x, inverse) -> a", "Erf(a) -> b", "Add(one, b) -> c", "Mul(half, x) -> d", "Mul(d, c) -> y"],
    ["Div(x, root) -> a", "Erf(a) -> b", "Add(b, one) -> c", "Div(x, two) -> d", "Mul(c, d) -> y"],
])
def test_gelus_written_out_become_one_operator(nodes):
    constants = {"root": np.float32(2 ** 0.5), "inverse": np.float32(0.5 ** 0.5), "one": np.float32(1), "half": np.float32(0.5),
                 "two": np.float32(2)}
    made = graph(nodes, ["y"], constants, 20)
    fuse_gelu(made)
    remove_dead_nodes(made)
    assert texts(made) == ["Gelu(x) -> y"]
    older = graph(nodes, ["y"], constants, 17)
    fuse_gelu(older)
    assert texts(older) == texts(graph(nodes, ["y"], constants))


def test_what_is_no_gelu_stays():
    constants = {"root": np.float32(2 ** 0.5), "one": np.float32(1), "third": np.float32(1 / 3)}
    nodes = ["Div(x, root) -> a", "Erf(a) -> b", "Add(b, one) -> c", "Mul(x, c) -> d", "Mul(d, third) -> y"]
    made = graph(nodes, ["y"], constants, 20)
    fuse_gelu(made)
    assert texts(made) == texts(graph(nodes, ["y"], constants))


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
