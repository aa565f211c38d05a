"""evaluation.boxes: other boxes for the same cases."""

import numpy as np

from evaluation.boxes import main, redrawn
from inference.case import Case, read_case


def test_tight_boxes_are_the_objects_and_loose_ones_hold_them():
    gts = np.zeros((40, 60), np.uint8)
    gts[10:20, 5:25] = 1
    gts[39, 59] = 3
    case = Case("two", np.zeros((40, 60), np.uint8), np.array([[0, 0, 9, 9], [1, 2, 3, 4], [0, 0, 9, 9]], np.int32))
    rng = np.random.default_rng(0)
    assert redrawn(case, gts, 0, rng).tolist() == [[5, 10, 24, 19], [1, 2, 3, 4], [59, 39, 59, 39]]
    loose = np.array([redrawn(case, gts, 0.2, rng)[0] for _ in range(200)])
    assert loose.min(axis=0).tolist() == [1, 8, 24, 19] and loose.max(axis=0).tolist() == [5, 10, 28, 21]
    far = np.array([redrawn(case, gts, 1.0, rng) for _ in range(50)])
    assert far[:, 0].min() == 0 and far[:, 2, 2].max() == 59 and far[:, 2, 3].max() == 39


def test_a_volume_keeps_its_slices():
    gts = np.zeros((9, 30, 30), np.uint8)
    gts[2:6, 10:20, 10:20] = 1
    case = Case("one", np.zeros((9, 30, 30), np.uint8), np.array([[0, 0, 0, 29, 29, 8]], np.int32))
    assert redrawn(case, gts, 0, np.random.default_rng(0)).tolist() == [[10, 10, 2, 19, 19, 5]]
    boxes = np.array([redrawn(case, gts, 0.9, np.random.default_rng(seed))[0] for seed in range(100)])
    assert (boxes[:, [2, 5]] == [2, 5]).all()
    assert boxes.min(axis=0)[:2].tolist() == [1, 1] and boxes.max(axis=0)[3:5].tolist() == [28, 28]


def test_command_line(tmp_path, capsys):
    for folder in ("imgs", "gts"):
        (tmp_path / folder).mkdir()
    volume = np.random.default_rng(0).integers(0, 255, (5, 20, 22), np.uint8)
    gts = (volume > 250).astype(np.uint8)
    gts[1:4, 5:9, 6:12] = 2
    boxes = np.array([[0, 0, 0, 21, 19, 4]] * 2)
    np.savez(tmp_path / "imgs" / "3DBox_CT_x_0.npz", imgs=volume, boxes=boxes, spacing=[1, 1, 2.5])
    np.savez(tmp_path / "gts" / "3DBox_CT_x_0.npz", gts=gts, spacing=[1, 1, 2.5])
    (tmp_path / "imgs" / "3DBox_CT_x_1.npz").write_bytes(b"no zip")
    command = [str(tmp_path / "imgs"), str(tmp_path / "gts"), "-o", str(tmp_path / "out"), "--loose"]
    assert main([*command, "0"]) == 1
    output = capsys.readouterr()
    assert "1 of 2 cases written" in output.out and "3DBox_CT_x_1.npz" in output.err and "not written" in output.err
    case = read_case(tmp_path / "out" / "3DBox_CT_x_0.npz")
    np.testing.assert_array_equal(case.image, volume)
    assert case.boxes[1].tolist() == [6, 5, 1, 11, 8, 3] and case.spacing_xyz_mm == (1, 1, 2.5)
    assert main([*command, "1.5"]) == 2 and "--loose must be a share, 0..1; got 1.5" in capsys.readouterr().err
    assert main([*command[:3], command[0], "--loose", "0"]) == 2 and "must be another folder" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), str(tmp_path), "-o", str(tmp_path / "out"), "--loose", "0"]) == 2
