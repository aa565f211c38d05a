"""A model of two graphs, from Jittor to masks: exported, entered in the manifest, run by three engines on image and volume."""

import numpy as np
import pytest

from inference.__main__ import main
from inference.case import read_case


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with medficientsam-nano, untrained."""
    import models  # noqa: F401, I001  (sets Jittor's environment first)
    import jittor as jt
    from export.publish import publish
    from models.sam.build import build, save_weights

    folder = tmp_path_factory.mktemp("weights")
    jt.set_global_seed(0)
    save_weights(build("medficientsam-nano"), folder / "fresh.safetensors")
    done = publish("medficientsam-nano", folder / "fresh.safetensors", folder)
    assert {file.name.removeprefix("medficientsam-nano") for file in done.files} == {
        ".safetensors", ".encoder.onnx", ".encoder.xml", ".encoder.bin", ".decoder.onnx", ".decoder.xml", ".decoder.bin"}
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A colour image with two boxes and a volume of seven slices with one."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 90, (70, 110, 3)).astype(np.uint8)
    image[20:50, 30:70] += 120
    np.savez(folder / "2DBox_a.npz", imgs=image, boxes=[[30, 20, 69, 49], [5, 5, 40, 60]])
    volume = rng.integers(0, 90, (7, 60, 60)).astype(np.uint8)
    volume[1:6, 20:40, 15:45] += 120
    np.savez(folder / "3DBox_b.npz", imgs=volume, boxes=[[15, 20, 1, 44, 39, 5]], spacing=[1, 1, 3])
    return folder


@pytest.mark.slow
def test_three_engines_draw_the_same_masks(weights, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHTS", str(weights))
    for engine in ("openvino", "onnxruntime", "jittor"):
        assert main(["-i", str(inputs), "-o", str(tmp_path / engine), "--model", "medficientsam-nano",
                     "--engine", engine]) == 0
    for name in ("2DBox_a.npz", "3DBox_b.npz"):
        found = [np.load(tmp_path / engine / name)["segs"] for engine in ("openvino", "onnxruntime", "jittor")]
        assert found[0].shape == read_case(inputs / name).image.shape[:found[0].ndim]
        assert 0 < (found[0] > 0).mean() < 1
        for other in found[1:]:
            assert (other == found[0]).mean() > 0.999
