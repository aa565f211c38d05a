"""Cases on disk for the tests of the runtime."""

import contextlib
import json
import shutil
import subprocess

import numpy as np
import pytest

import inference.segment


@pytest.fixture
def write_case(tmp_path):
    """A function that writes keyword arrays as an npz with numpy itself and returns its path."""

    def write(name="2DBox_test.npz", folder=tmp_path, **arrays):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / name, "wb") as file:
            np.savez_compressed(file, **arrays)
        return folder / name

    return write


@pytest.fixture
def image():
    """uint8 (20, 30): value 10 * row + column, which fits."""
    return (10 * np.arange(20)[:, None] + np.arange(30)).astype(np.uint8)


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a file system of 16 kB, where this user may mount one; skips elsewhere."""
    if shutil.which("mount") is None:
        pytest.skip("no small file system: there is no mount command")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no small file system: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def read_only():
    """read_only(folder): a context in which nobody can write to the folder, root neither; skips where that takes rights."""

    @contextlib.contextmanager
    def mounted(folder):
        for options in (["--bind", folder], ["-o", "remount,ro,bind"]):
            done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no read-only mount: {done.stderr.strip()}")
        yield
        subprocess.run(["umount", folder], check=True)

    return mounted


@pytest.fixture
def box_filler(monkeypatch):
    """Put a segmenter in place of the networks that fills each box with its label; returns what it was opened with."""
    opened = []

    def open_segmenter(*arguments):
        opened.append(arguments)
        return fill_boxes

    monkeypatch.setattr(inference.segment, "open_segmenter", open_segmenter, raising=False)
    return opened


def fill_boxes(case):
    """uint16 masks: box i filled with i + 1, later boxes over earlier ones."""
    segs = np.zeros(case.image.shape[:case.ndim], np.uint16)
    for label, box in enumerate(case.boxes, 1):
        low, high = np.maximum(box[:case.ndim], 0)[::-1], box[case.ndim:][::-1]
        segs[tuple(map(slice, low, high + 1))] = label
    return segs


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A weights folder with the model `tiny`, as ONNX and as OpenVINO IR, with facts.

    crop (n, 4) and box_px (n, 2) to probability (n, 4): crop * (1, 2, 3, 4) + the mean of box_px.
    """
    import onnx
    import openvino
    from onnx import TensorProto, helper
    from openvino.tools.ovc import convert_model

    folder = tmp_path_factory.mktemp("weights")
    nodes = [helper.make_node("Mul", ["crop", "weight"], ["scaled"]),
             helper.make_node("ReduceMean", ["box_px"], ["mean"], axes=[1], keepdims=1),
             helper.make_node("Add", ["scaled", "mean"], ["probability"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
              for name, width in (("crop", 4), ("box_px", 2), ("probability", 4))]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [4], [1, 2, 3, 4])
    model = helper.make_model(helper.make_graph(nodes, "tiny", values[:2], values[2:], [weight]),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, FACTS)
    onnx.save(model, folder / "tiny.onnx")
    converted = convert_model(folder / "tiny.onnx")
    for key, value in FACTS.items():
        converted.set_rt_info(value, ["medseg", key])
    openvino.save_model(converted, folder / "tiny.xml", compress_to_fp16=False)
    files = {"openvino": "tiny.xml", "openvino_bin": "tiny.bin", "onnxruntime": "tiny.onnx"}
    entry = {"name": "tiny", "family": "roi2d", "files": files,
             "bytes": {path: (folder / path).stat().st_size for path in files.values()}}
    (folder / "manifest.json").write_text(json.dumps({"models": [entry]}))
    return folder


FACTS = {"family": "roi2d", "looks": "192,192@", "look_for_many": "192,192@", "boxes_for_all_looks": "16",
         "margin": "0.2", "threshold": "0.5", "least_reach": "0.85", "loose_px": "10"}
