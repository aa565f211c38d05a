"""Label files that cannot be used, each with one line that says why."""

import numpy as np
import pytest

from evaluation.labels import LabelError, read_segs, read_truth


def saved(tmp_path, **arrays):
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


@pytest.mark.parametrize("array", [np.eye(3, dtype=bool), np.eye(3), np.eye(3, dtype=np.float16)])
def test_whole_numbers_of_any_type_are_labels(tmp_path, array):
    segs = read_segs(saved(tmp_path, segs=array))
    assert segs.dtype.kind == "u" and np.array_equal(segs, np.eye(3))


@pytest.mark.parametrize("array, text", [
    (np.full((3, 3), 0.5), "segs must be whole numbers; got float64"),
    (np.full((3, 3), np.nan), "segs must be whole numbers"),
    (np.full((3, 3), "a"), "segs must be whole numbers; got <U1"),
    (np.zeros(3, np.uint8), r"segs must be \(H, W\) or \(D, H, W\); got \(3,\)"),
    (np.array([[None, 1]], object), "cannot be read as npz"),
])
def test_bad_segs(tmp_path, array, text):
    with pytest.raises(LabelError, match=f"^a.npz: {text}"):
        read_segs(saved(tmp_path, segs=array))


def test_broken_files(tmp_path):
    path = saved(tmp_path, segs=np.arange(10000).reshape(100, 100))
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not a zip at all", whole[:200] + b"xxxx" + whole[204:]):
        path.write_bytes(broken)
        with pytest.raises(LabelError, match="^a.npz: [^\n]+$"):
            read_segs(path)
    with pytest.raises(LabelError, match="^b.npz: there is no such file in "):
        read_segs(tmp_path / "b.npz")
    np.save(tmp_path / "c.npz.npy", np.zeros((3, 3)))
    (tmp_path / "c.npz.npy").rename(tmp_path / "c.npz")
    with pytest.raises(LabelError, match="^c.npz: must be an npz"):
        read_segs(tmp_path / "c.npz")
    with pytest.raises(LabelError, match="^a.npz: must hold an array segs; got masks"):
        read_segs(saved(tmp_path, masks=np.zeros((3, 3), np.uint8)))


@pytest.mark.parametrize("spacing, text", [
    (None, "spacing is missing"),
    ([1.0, 1.0], "spacing must be 3 positive numbers"),
    ([1.0, 0.0, 2.0], "spacing must be 3 positive numbers"),
    ([1.0, np.nan, 2.0], "spacing must be 3 positive numbers"),
])
def test_a_volume_needs_its_spacing(tmp_path, spacing, text):
    extra = {} if spacing is None else {"spacing": np.array(spacing)}
    with pytest.raises(LabelError, match=f"^a.npz: {text}"):
        read_truth(saved(tmp_path, gts=np.zeros((2, 3, 4), np.uint8), **extra))


def test_truths(tmp_path):
    assert read_truth(saved(tmp_path, gts=np.zeros((3, 4), np.uint8)))[1] is None
    _, spacing = read_truth(saved(tmp_path, gts=np.zeros((2, 3, 4), np.uint8), spacing=np.array([1, 2, 3])))
    assert spacing == (1.0, 2.0, 3.0)
