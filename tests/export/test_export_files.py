"""What is written, and what is not: files, facts, the manifest, the command line."""

import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import jittor as jt
import numpy as np
import onnx
import openvino
import pytest
from jittor import nn
from safetensors.numpy import load_file, save_file

import export.publish
import export.serialise
from export import ExportError, Input, lowers
from export import export as export_model
from export.__main__ import main
from export.inputs import parse_dynamic, parse_input, symbol_values
from export.ir import read_facts
from export.registry import RULES
from models import catalogue
from models.catalogue import Graph

FACTS = {"family": "tiny", "crop_shapes": "4,4", "threshold": "0.5"}


class Tiny(nn.Module):
    """Two inputs, and what a model of the project must have."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.size = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm(3), nn.Linear(2, 3)
        self.eval()

    def execute(self, crop, box_px):
        planes = self.size(box_px).reshape([box_px.shape[0], 3, 1, 1])
        return jt.sigmoid(nn.relu(self.norm(self.conv(crop))) + planes)

    def facts(self):
        return FACTS

    def graphs(self):
        rng = np.random.default_rng(0)
        cases = [{"crop": rng.standard_normal((batch, 2, 4, 4)).astype(np.float32),
                  "box_px": rng.uniform(0, 1, (batch, 2)).astype(np.float32)} for batch in (1, 2, 7)]
        return [Graph("", self, self.facts(), cases, {"crop": {0: "batch"}, "box_px": {0: "batch"}})]


INPUTS = [Input("crop", (1, 2, 4, 4)), Input("box_px", (1, 2))]


@pytest.fixture(scope="module")
def model():
    return Tiny()


def test_onnx_and_ir_carry_the_facts(model, tmp_path):
    done = export_model(model, INPUTS, tmp_path / "m.onnx", facts=FACTS, ir=True)
    assert [file.name for file in done.files] == ["m.onnx", "m.xml", "m.bin"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.bin", "m.onnx", "m.xml"]  # nothing left lying about
    assert {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props} == FACTS
    assert read_facts(tmp_path / "m.xml") == FACTS
    assert [one.batch for one in done.agreements] == [1, 2, 7]
    assert all(0 <= one.max_abs_error_onnxruntime < 1e-5 for one in done.agreements)
    assert all(0 <= one.max_abs_error_openvino < 1e-5 for one in done.agreements)
    names = [node.get_any_name() for node in openvino.Core().read_model(tmp_path / "m.xml").inputs]
    assert names == ["crop", "box_px"]


def test_the_ir_of_a_bias_computes_no_shapes(tmp_path):
    """OpenVINO's ONNX reader makes six operators of the rank of an image of any size for every bias."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 1))
    export_model(net, [Input("x", (1, 2, 8, 8), dynamic={0: "n", 2: "h", 3: "w"})], tmp_path / "m.onnx", ir=True)
    kinds = [node.get_type_name() for node in openvino.Core().read_model(tmp_path / "m.xml").get_ops()]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "Add": 2, "Constant": 4, "Convolution": 2, "Parameter": 1, "Relu": 1, "Result": 1}


def test_half_precision_weights_are_half_the_bytes(model, tmp_path):
    full = export_model(model, INPUTS, tmp_path / "m.onnx", ir=True).files[2].stat().st_size
    done = export_model(model, INPUTS, tmp_path / "m.onnx", f16=True)
    assert done.files[2].stat().st_size < 0.6 * full
    assert all(one.max_abs_error_openvino < 1e-2 for one in done.agreements)


class Wrong(nn.Module):
    def execute(self, x):
        return x * 2


@pytest.fixture
def wrong_rule():
    @lowers(Wrong)
    def wrong(g, out, module, x):
        return g.op("Mul", x, g.scalar(2.001, "float32"))
    yield
    del RULES[Wrong]


def test_nothing_is_written_where_the_engines_disagree(tmp_path, wrong_rule):
    with pytest.raises(ExportError, match="verification: onnxruntime must agree with Jittor to 1e-04") as caught:
        export_model(Wrong(), [Input("x", (1, 50))], tmp_path / "m.onnx", ir=True)
    assert "batch 7" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disagreement_leaves_the_older_file_alone(tmp_path, wrong_rule):
    (tmp_path / "m.onnx").write_text("older")
    with pytest.raises(ExportError):
        export_model(Wrong(), [Input("x", (1, 50))], tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "older"


def test_values_that_are_not_finite(tmp_path):
    class Overflow(nn.Module):
        def execute(self, x):
            return jt.log(x * 0)

    with pytest.raises(ExportError, match="must be finite"):
        export_model(Overflow(), [Input("x", (1, 3))], tmp_path / "m.onnx")


@pytest.fixture
def project(monkeypatch):
    """A project with one model, `tiny`."""
    def load_weights(net, path):
        for key, array in load_file(path).items():
            net.state_dict()[key].assign(jt.array(array))

    def save_weights(net, path):
        save_file({key: var.numpy() for key, var in net.state_dict().items()}, path, net.facts())

    builder = types.ModuleType("tiny_builder")
    builder.CONFIGS, builder.build = {"tiny": None}, lambda name: Tiny()
    builder.load_weights, builder.save_weights = load_weights, save_weights
    monkeypatch.setitem(sys.modules, "tiny_builder", builder)
    monkeypatch.setattr(catalogue, "BUILDERS", ("tiny_builder",))
    return builder


def test_a_model_of_the_project_goes_into_weights_and_its_manifest(project, model, tmp_path, capsys):
    run, weights = tmp_path / "run", tmp_path / "weights"
    run.mkdir()
    weights.mkdir()
    project.save_weights(model, run / "best.safetensors")
    other = {"name": "other", "family": "f", "files": {}}
    older = {"name": "tiny", "family": "old", "files": {"openvino": "gone.xml"}}
    kept = {"scores": {"dsc": 0.9}, "licence": "Apache-2.0"}
    (weights / "manifest.json").write_text(json.dumps({"models": [other, older | kept]}))

    assert main(["tiny", "--weights", str(run), "-o", str(weights)]) == 0

    manifest = json.loads((weights / "manifest.json").read_text())
    assert manifest["models"][0] == other
    entry = manifest["models"][1]
    assert (entry["name"], entry["family"]) == ("tiny", "tiny")
    assert {key: entry[key] for key in kept} == kept
    assert entry["files"] == {
        "jittor": "tiny/tiny.safetensors", "onnxruntime": "tiny/tiny.onnx", "openvino": "tiny/tiny.xml",
        "openvino_bin": "tiny/tiny.bin",
    }
    for file in entry["files"].values():
        content = (weights / file).read_bytes()
        assert entry["bytes"][file] == len(content)
        assert entry["sha256"][file] == hashlib.sha256(content).hexdigest()
    assert [record["batch"] for record in entry["verification"]] == [1, 2, 7]
    assert all(record["max_abs_error_openvino"] < 1e-5 for record in entry["verification"])
    assert {f"tiny/{file.name}" for file in (weights / "tiny").iterdir()} == set(entry["files"].values())
    shipped = load_file(weights / "tiny/tiny.safetensors")
    np.testing.assert_array_equal(shipped["conv.weight"], model.conv.weight.numpy())
    assert "batch 7" in capsys.readouterr().out


@pytest.mark.parametrize("files, message", [
    ([], "it holds none"), (["a.safetensors", "b.safetensors"], "it holds a.safetensors, b.safetensors")])
def test_a_folder_without_the_one_checkpoint(project, tmp_path, capsys, files, message):
    for file in files:
        (tmp_path / file).touch()
    assert main(["tiny", "--weights", str(tmp_path), "-o", str(tmp_path / "weights")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "weights").exists()


def test_a_model_that_the_project_does_not_have(project, tmp_path, capsys):
    assert main(["huge", "--weights", str(tmp_path)]) == 1
    assert "model huge: model must be one of tiny; got huge" in capsys.readouterr().err


SOURCE = """
import jittor as jt
from jittor import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
    def execute(self, x):
        return nn.relu(self.layer(x))

def refused():
    class Refused(nn.Module):
        def execute(self, x):
            return x if x.sum() > 0 else -x
    return Refused()
"""


def test_the_command_line_on_a_module_of_ones_own(tmp_path):
    (tmp_path / "nets.py").write_text(SOURCE)
    arguments = "--module nets:Net --input x=1x5x3 --dynamic x:0,1 --output scores --opset 18 -o out/m.onnx --ir"
    root = str(Path(export.__file__).parents[1])
    done = subprocess.run([sys.executable, "-m", "export", *arguments.split()], cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "out/m.bin" in done.stdout and "batch 7" in done.stdout
    model = onnx.load(tmp_path / "out/m.onnx")
    assert model.opset_import[0].version == 18
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", "x_1", 2]
    assert {tensor.name for tensor in model.graph.initializer} == {"layer.weight", "layer.bias"}


def test_the_command_line_refuses_in_words(tmp_path, monkeypatch, capsys):
    (tmp_path / "refusing_nets.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["--module", "refusing_nets:refused", "--input", "x=1x3", "-o", "m.onnx"]) == 1
    error = capsys.readouterr().err
    assert "a branch on a Var's value" in error and "refusing_nets.py:15: return x if x.sum() > 0 else -x" in error
    assert main(["--module", "refusing_nets:nothing", "--input", "x=1x3", "-o", "m.onnx"]) == 1
    assert "has no attribute 'nothing'" in capsys.readouterr().err
    save_file({"layer.weight": np.zeros((2, 4), np.float32), "more": np.zeros(1)}, "w.safetensors")
    assert main("--module refusing_nets:Net --weights w.safetensors --input x=1x3 -o m.onnx".split()) == 1
    assert "missing layer.bias; unexpected more; layer.weight must be [2, 3]; got [2, 4]" in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("arguments, message", [
    ("", "give NAME or --module"),
    ("--module a:b", "--module needs --input and -o"),
    ("roi2d", "NAME needs --weights"),
    ("--module a:b --input x=3,4 -o m", "an input must read"),
    ("--module a:b --input x=3x4:complex64 -o m", "dtype must be one of"),
    ("--module a:b --input x=3x4 --dynamic y:0 -o m", "the inputs are x; got y"),
    ("--module a:b --input x=3x4 --dynamic x:2 -o m", "a dynamic axis must be one of 0..1; got 2"),
])
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_no_two_dynamic_axes_are_traced_at_the_same_sizes():
    inputs = [Input("image", (1, 3, 8, 8), dynamic={0: "batch", 2: "height", 3: "width"}),
              Input("points", (1, 2), dynamic={0: "count"}), Input("mask", (1, 8), dynamic={0: "batch", 1: "height"})]
    values = symbol_values(inputs)
    assert set(values) == {"batch", "height", "width", "count"}
    assert len(set(values.values())) == 4
    assert all(size % 8 == 0 for size in (*values["height"], *values["width"]))  # what divided still divides


def test_how_inputs_read():
    assert parse_input("x=1x3x224x224") == Input("x", (1, 3, 224, 224))
    assert parse_input("ids=1x16:int32:1000") == Input("ids", (1, 16), "int32", below=1000)
    assert parse_dynamic("x:0,2,3") == ("x", {0: "batch", 2: "x_2", 3: "x_3"})
    assert parse_dynamic("x:0,2=height") == ("x", {0: "batch", 2: "height"})
    assert parse_dynamic("x:") == ("x", {})
    with pytest.raises(ValueError, match="dynamic axes must read"):
        parse_dynamic("x")


def test_weights_that_are_too_large_for_the_onnx_file_lie_beside_it(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export.serialise, "LARGEST_FILE", 100)
    monkeypatch.chdir(tmp_path)
    done = export_model(nn.Linear(64, 16), [Input("x", (1, 64))], tmp_path / "m.onnx", ir=True)
    assert [file.name for file in done.files] == ["m.onnx", "m.onnx.data", "m.xml", "m.bin"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.bin", "m.onnx", "m.onnx.data", "m.xml"]
    assert (tmp_path / "m.onnx").stat().st_size < 1024 < 64 * 16 * 4 <= (tmp_path / "m.onnx.data").stat().st_size
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
