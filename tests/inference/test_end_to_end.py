"""`python -m inference` with the shipped weights on `test_input/`."""

import os
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def segmented(repo, tmp_path_factory):
    """A function: the masks of an engine by case name, from one run of the command that may load nothing but it."""
    if not (repo / "weights" / "manifest.json").exists():
        pytest.skip("weights/manifest.json does not exist yet: no weights are shipped")
    runs = {}

    def run(engine, again=False):
        if (engine, again) not in runs:
            folder = tmp_path_factory.mktemp(engine)
            command = [sys.executable, "-m", "inference", "-i", "test_input", "-o", folder, "--engine", engine]
            done = subprocess.run(command, cwd=repo, capture_output=True, text=True, env={**os.environ, "WEIGHTS": ""})
            assert (done.returncode, done.stderr) == (0, "")
            runs[engine, again] = {path.name: np.load(path) for path in sorted(folder.iterdir())}
        return runs[engine, again]

    return run


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_contract(segmented, repo, engine):
    results = segmented(engine)
    assert sorted(results) == sorted(path.name for path in (repo / "test_input").glob("*.npz"))
    for name, result in results.items():
        given = np.load(repo / "test_input" / name)
        axes = given["boxes"].shape[1] // 2
        assert result.files == ["segs"] and result["segs"].dtype in (np.uint8, np.uint16)
        assert result["segs"].shape == given["imgs"].shape[:axes]
        assert result["segs"].max() <= len(given["boxes"])


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ellipse(box, shape):
    """The ellipse or ellipsoid that touches the box's sides from within."""
    low, high = np.split(box.astype(float), 2)
    grid = np.ogrid[tuple(map(slice, shape))]
    axes = zip(grid, low[::-1], high[::-1], strict=True)
    return sum(((place - (a + b) / 2) / ((b - a + 1) / 2)) ** 2 for place, a, b in axes) <= 1


def test_masks_are_better_than_what_the_boxes_alone_say(segmented, repo):
    """Mean Dice over the objects of each case, then over the cases, against the ellipses inside the boxes."""
    ours, guessed = [], []
    for name, result in segmented("openvino").items():
        truth = np.load(repo / "test_input" / "truth" / name)["gts"]
        boxes = np.load(repo / "test_input" / name)["boxes"]
        objects = [truth == label for label in range(1, len(boxes) + 1)]
        ours.append(np.mean([dice(result["segs"] == i, mask) for i, mask in enumerate(objects, 1)]))
        guessed.append(np.mean([dice(ellipse(b, truth.shape), m) for b, m in zip(boxes, objects, strict=True)]))
    assert np.mean(ours) > np.mean(guessed) > 0.7


def test_twice_the_same(segmented):
    first, second = segmented("openvino"), segmented("openvino", again=True)
    assert all(np.array_equal(first[name]["segs"], second[name]["segs"]) for name in first)


def test_engines_agree(segmented):
    for name, result in segmented("openvino").items():
        a, b = result["segs"], segmented("onnxruntime")[name]["segs"]
        assert 2 * ((a == b) & (a > 0)).sum() / ((a > 0).sum() + (b > 0).sum()) >= 0.999
