"""int8: what is recorded, what cases it is calibrated on, and a shipped model whose masks hardly change."""

import itertools
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from export import quantise as module
from export.errors import ExportError
from export.quantise import Recorder, calibration_cases, main, quantise
from inference.case import read_case
from inference.segment import open_segmenter

REPO = Path(__file__).resolve().parents[2]
IMAGES = [REPO / "test_input" / f"{name}.npz" for name in (
    "2DBox_Dermoscopy_phantom_0001", "2DBox_Microscopy_cell_0001", "2DBox_US_phantom_0001", "2DBox_XRay_phantom_0001")]


class Doubler:
    facts, concurrent = {"margin": "0.2"}, True

    def run(self, **inputs):
        return {"twice": 2 * inputs["x"]}


def test_an_even_sample_of_all_runs_is_kept():
    kept = []
    for _ in range(200):
        recorder = Recorder(Doubler(), most=4)
        recorder._rng = np.random.default_rng(len(kept))
        for value in range(20):
            x = np.float32([value])
            assert recorder(x=x) == 2 * value
            x[:] = -1  # a caller may use its array again
        kept += [float(inputs["x"][0]) for inputs in recorder.inputs]
    counts = np.bincount(np.int64(kept), minlength=20)
    # Each of 20 runs is kept with chance 1/5, in 200 trials 40 times: standard deviation 5.7.
    assert len(kept) == 800 and len(counts) == 20 and (np.abs(counts - 40) < 24).all()


@pytest.fixture
def data_folder(tmp_path):
    rng = np.random.default_rng(0)
    for modality, name, shape in (("US", "2Da", (40, 50)), ("CT", "3Db", (5, 30, 30))):
        gts = np.zeros(shape, np.uint8)
        gts[..., 3:20, 8:30], gts[..., 25:, 28:] = 1, 2
        folder = tmp_path / "train_npz" / modality / "set"
        folder.mkdir(parents=True)
        for index in range(12):  # the loader holds some of them out
            np.savez(folder / f"{name}{index}.npz", imgs=rng.integers(0, 256, shape, dtype=np.uint8), gts=gts)
    return tmp_path


@pytest.mark.parametrize("rank", [2, 3])
def test_calibration_cases_have_loose_boxes_around_every_object(data_folder, rank):
    cases = list(itertools.islice(calibration_cases(data_folder, rank), 20))
    assert {case.ndim for case in cases} == ({2, 3} if rank == 2 else {3})
    for case in cases:
        height, width = case.image.shape[-2:]
        low, high = case.boxes[:, :2], case.boxes[:, case.ndim : case.ndim + 2]
        tight_low, tight_high = np.array([[8, 3], [28, 25]]), np.array([[29, 19], [width - 1, height - 1]])
        assert (low <= tight_low).all() and (low >= tight_low - 5).all() and (low >= 0).all()
        assert (high >= tight_high).all() and (high <= tight_high + 5).all() and (high < (width, height)).all()
        if case.ndim == 3:
            assert (case.boxes[:, [2, 5]] == [0, 4]).all()


@pytest.mark.slow
def test_a_shipped_model_in_int8_draws_nearly_the_same_masks(tmp_path, monkeypatch):
    shutil.copytree(REPO / "weights" / "roi2d", tmp_path / "roi2d")
    shutil.copy(REPO / "weights" / "manifest.json", tmp_path)
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    cases = [read_case(path) for path in IMAGES]
    written = quantise("roi2d", cases, tmp_path)
    assert [path.name for path in written] == ["roi2d-int8.xml", "roi2d-int8.bin"]
    assert written[1].stat().st_size < 0.4 * (tmp_path / "roi2d" / "roi2d.bin").stat().st_size
    network = ElementTree.parse(written[0]).getroot()
    kinds = {layer.get("id"): layer.get("type") for layer in network.iter("layer")}
    fed = [kinds[edge.get("to-layer")] for edge in network.iter("edge") if kinds[edge.get("from-layer")] == "FakeQuantize"]
    assert len(fed) > 20 and "Convolution" in fed
    assert not {"ReduceMean", "Sqrt", "Divide", "MatMul"} & set(fed)  # an image's contrast and a box's size
    entry, = (entry for entry in json.loads((tmp_path / "manifest.json").read_text())["models"]
              if entry["name"] == "roi2d-int8")
    assert entry["family"] == "roi2d" and set(entry["files"]) == {"openvino", "openvino_bin"}
    exact, coarse = open_segmenter("roi2d"), open_segmenter("roi2d-int8")
    for case in cases:
        truth, found = exact(case), coarse(case)
        for label in range(1, len(case.boxes) + 1):
            both = ((truth == label) & (found == label)).sum()
            assert 2 * both / ((truth == label).sum() + (found == label).sum()) > 0.97


def test_what_cannot_be_quantised_is_said(tmp_path, monkeypatch, capsys):
    assert main(["no-such-model", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: model must be one of ")
    with pytest.raises(ExportError, match="--keep must be among its graphs, decoder, encoder; got memory"):
        quantise("medsam-nano", [], tmp_path, keep=("memory",))
    monkeypatch.setattr(module, "find_model", lambda name: type("Files", (), {"graphs": {"memory_attention"}}))
    with pytest.raises(ExportError, match="models with a memory are not quantised"):
        quantise("sam2-nano", [], tmp_path)
    with pytest.raises(SystemExit) as status:
        main(["roi2d", "--data", str(tmp_path), "--cases", "0"])
    assert status.value.code == 2
