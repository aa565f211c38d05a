"""The made cases are what their names say."""

import numpy as np
import pytest

from inference.case import read_case
from time_eval.cases import CASES, make_case


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
