"""The cases of `test_input/`: what they show, that their truth fits, that the script makes them again."""

import importlib.util

import numpy as np
import pytest

from inference.case import read_case

NAMES = ["2DBox_Dermoscopy_phantom_0001", "2DBox_Fundus_retina_0001", "2DBox_Microscopy_cell_0001",
         "2DBox_Microscopy_phantom_0001", "2DBox_US_phantom_0001", "2DBox_XRay_phantom_0001", "3DBox_CT_phantom_0001",
         "3DBox_PET_phantom_0001"]
REAL = {"2DBox_Fundus_retina_0001", "2DBox_Microscopy_cell_0001"}


@pytest.fixture
def folder(repo):
    return repo / "test_input"


def test_the_folder_holds_these_and_is_small(folder):
    for place in (folder, folder / "truth"):
        assert sorted(path.stem for path in place.glob("*.npz")) == NAMES
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_input_and_truth_fit(folder, name):
    case = read_case(folder / f"{name}.npz")
    given, truth = np.load(folder / f"{name}.npz"), np.load(folder / "truth" / f"{name}.npz")
    assert sorted(given.files) == ["boxes", "imgs"] + ["spacing"] * (case.ndim == 3)
    assert sorted(truth.files) == ["gts"] + ["spacing"] * (case.ndim == 3)
    labels = truth["gts"]
    assert labels.dtype == np.uint8 and labels.shape == case.image.shape[:case.ndim]
    assert np.unique(labels).tolist() == list(range(len(case.boxes) + 1))
    for label, box in enumerate(case.boxes, 1):
        places = np.argwhere(labels == label)[:, ::-1]  # x first, as boxes are
        assert (box[:case.ndim] <= places.min(axis=0)).all() and (places.max(axis=0) <= box[case.ndim:]).all()
        slack = np.concatenate([places.min(axis=0) - box[:case.ndim], box[case.ndim:] - places.max(axis=0)])
        assert slack.max() <= 11  # 4 px and, for one lung, the 11 px that are not on the film


def test_together_they_show_what_input_can_be(folder):
    cases = [read_case(folder / f"{name}.npz") for name in NAMES]
    given = [np.load(folder / f"{name}.npz") for name in NAMES]
    assert any(arrays["imgs"].ndim == 2 for arrays in given)
    assert any(arrays["imgs"].shape == (512, 512, 3) and len(arrays["boxes"]) == 1 for arrays in given)
    assert any(len(arrays["boxes"]) > 60 and arrays["boxes"].dtype == np.uint16 for arrays in given)
    assert any(case.spacing_xyz_mm == (0.8, 0.8, 5.0) and len(case.boxes) == 3 for case in cases)
    assert any((case.boxes[:, :2] == case.boxes[:, 2:]).all(axis=1).any() for case in cases if case.ndim == 2)
    assert any((case.boxes[:, :2] < 0).any() for case in cases if case.ndim == 2)


# Jittor, where another test has imported it, flushes subnormals to zero, which numpy remarks upon.
@pytest.mark.filterwarnings("ignore:The value of the smallest subnormal")
@pytest.mark.parametrize("name", NAMES)
def test_the_script_makes_them_again(folder, name):
    if name in REAL and importlib.util.find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed: its wheel has this image")
    spec = importlib.util.spec_from_file_location("make_test_input", folder / "make.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made, given = script.CASES[name](), np.load(folder / f"{name}.npz")
    # Another libm may round a sum the other way.
    assert np.abs(made.image.astype(int) - given["imgs"]).max() <= 1
    assert np.array_equal(made.boxes, given["boxes"]) and made.boxes.dtype == given["boxes"].dtype
    assert (made.labels != np.load(folder / "truth" / f"{name}.npz")["gts"]).sum() <= 2
    if made.spacing_xyz_mm:
        assert given["spacing"].tolist() == list(made.spacing_xyz_mm)
