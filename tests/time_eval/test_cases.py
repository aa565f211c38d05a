"""The made cases are what their names say."""

import re
import subprocess
import sys

import numpy as np
import pytest

from inference.case import read_case
from time_eval.cases import CASES, LIMITS, make_case


@pytest.mark.parametrize("name", ["2DBox_US_a", "3DBox_MR_f"])
def test_a_made_case_is_valid_and_its_boxes_hold_the_bright_objects(name, tmp_path):
    shape, objects, half = CASES[name]
    arrays = make_case(shape, objects, half, seed=3)
    np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    case = read_case(tmp_path / f"{name}.npz")
    assert case.image.shape == shape and len(case.boxes) == objects
    bright = (case.image.reshape(*shape[: case.ndim], -1)[..., 0] >= 110).astype(bool)
    inside = np.zeros_like(bright)
    for box in case.boxes:
        low, high = box[: case.ndim][::-1], box[case.ndim :][::-1]
        inside[tuple(slice(a, b + 1) for a, b in zip(low, high))] = True
        assert (high - low == 2 * np.array(half)).all()
    assert bright.any() and not (bright & ~inside).any()
    assert all((arrays[key] == make_case(shape, objects, half, seed=3)[key]).all() for key in arrays)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_the_largest_cases_leave_most_of_8_gb_free(name, tmp_path, repo):
    shape, objects, half = LIMITS[name]
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / f"{name}.npz", **make_case(shape, objects, half, seed=3))
    run = subprocess.run([sys.executable, "-m", "inference", "-i", tmp_path / "in", "-o", tmp_path / "out", "-v"], cwd=repo,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    peak_mb, = re.findall(r"peak (\d+) MB", run.stdout)
    assert int(peak_mb) < 2000
    with np.load(tmp_path / "out" / f"{name}.npz") as stored:
        segs = stored["segs"]
    # Objects are put at random: a few of 2,000 lie wholly under others.
    assert segs.shape == shape[: len(half)] and len(np.unique(segs)) > 0.9 * objects
