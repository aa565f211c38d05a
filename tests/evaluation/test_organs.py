"""The volume test: distances and conventions by hand, files of every kind, the command with a segmenter of known masks."""

import csv
import gzip
import json
import math

import h5py
import nibabel as nib
import numpy as np
import pytest

from evaluation.organs import __main__ as command
from evaluation.organs import measures, table
from evaluation.organs.classes import check_labels, labels_of_case, to_classes
from evaluation.organs.volumes import Grey, Source, find_volumes, read_volume


def test_distances_by_hand():
    truth, prediction = np.zeros((1, 1, 20), bool), np.zeros((1, 1, 20), bool)
    truth[..., 0:3], prediction[..., 0:6] = True, True
    # In a line all voxels are border, for every one has an empty neighbour beside the line. Of the truth all three lie on the
    # prediction; of the prediction three lie on the truth and three at 1, 2, 3.
    assert measures.hd95_of_voxels(truth, prediction) == pytest.approx(np.percentile([0, 0, 0, 0, 0, 0, 1, 2, 3], 95))
    assert measures.published(truth, prediction) == (pytest.approx(2 * 3 / 9), pytest.approx(2.6))


def test_only_the_border_counts():
    truth = np.zeros((9, 9), bool)
    truth[1:8, 1:8] = True
    prediction = truth.copy()
    prediction[4, 4] = False  # a hole: its four neighbours become border, 2 px from the truth's
    border_of_truth, hole = 24, 4
    distances = [0] * border_of_truth * 2 + [2] * hole
    assert measures.hd95_of_voxels(truth, prediction) == pytest.approx(np.percentile(distances, 95))


def test_two_boxes_apart_in_voxels_and_in_millimetres():
    truth, prediction = np.zeros((8, 30, 30), bool), np.zeros((8, 30, 30), bool)
    truth[2:5, 5:12, 5:12] = True
    prediction[2:5, 5:12, 9:16] = True
    dsc, hd95 = measures.published(truth, prediction)
    assert dsc == pytest.approx(2 * 3 / 14) and hd95 == 4
    dsc, hd95_mm = measures.strict(truth, prediction, (5.0, 1.0, 0.5))
    assert dsc == pytest.approx(2 * 3 / 14) and hd95_mm == pytest.approx(2.0)


def test_empty_masks_by_either_convention():
    some, none = np.zeros((3, 4, 12), bool), np.zeros((3, 4, 12), bool)
    some[1, 2, 5:8] = True
    assert measures.published(none, some) == (1, 0)  # of a mask where the truth has none
    assert measures.published(some, none) == (0, 0)
    assert measures.published(none, none) == (0, 0)
    for masks in ((none, some), (some, none)):
        assert measures.strict(*masks, (2.0, 1.0, 1.0)) == (0, pytest.approx(math.sqrt(6**2 + 4**2 + 12**2)))
    assert all(map(math.isnan, measures.strict(none, none, (1.0, 1.0, 1.0))))


def test_means_are_over_volumes_then_over_organs():
    nan = math.nan
    rows = [table.Row("a", "liver", 1.0, 2.0, 1.0, 3.0, "mm", 5, 5), table.Row("b", "liver", 0.5, 4.0, 0.5, 5.0, "mm", 5, 5),
            table.Row("a", "aorta", 0.0, 0.0, nan, nan, "mm", 0, 0), table.Row("b", "aorta", 0.8, 1.0, 0.8, 2.0, "mm", 5, 5)]
    liver, aorta, mean = table.means(rows, ("liver", "aorta"))
    assert (liver.dsc, liver.hd95_voxel, liver.dsc_strict, liver.hd95_strict) == (0.75, 3, 0.75, 4)
    assert (aorta.dsc, aorta.hd95_voxel, aorta.dsc_strict, aorta.hd95_strict, aorta.counted) == (0.4, 0.5, 0.8, 2, 1)
    assert mean.dsc == pytest.approx(0.575) and mean.dsc_strict == pytest.approx(0.775)
    assert mean.hd95_voxel == pytest.approx(1.75) and mean.hd95_strict == pytest.approx(3)
    text = table.to_markdown([liver, aorta, mean], "mm").splitlines()
    assert [cell.strip() for cell in text[2].split("|")[1:-1]] == ["liver", "2", "75.00", "3.00", "2", "75.00", "4.00"]


def test_labels_to_classes():
    assert labels_of_case([1, 5, 6], (1, 6)) == (1, 6)
    assert to_classes(np.array([[0, 1, 5, 6]]), (1, 6)).tolist() == [[0, 1, 0, 2]]
    # Renumbered without gaps: in a case of two labels, these were 2 and 3.
    gapless = [[2, 3], [1, 2, 3]]
    assert labels_of_case([1, 2], (1, 2, 3), gapless) == (-1, 1, 2)
    assert labels_of_case([1, 2, 3], (3, 1), gapless) == (3, 1)
    assert labels_of_case([1], (1, 2, 3), gapless) is None
    with pytest.raises(ValueError, match=r"labels must be 2 different numbers from 1, those of a, b; got \[1, 1\]"):
        check_labels([1, 1], [], ("a", "b"))
    with pytest.raises(ValueError, match="gapless must be lists of ascending labels, one for each number"):
        check_labels([1, 2], [[2, 1]], ("a", "b"))


def phantom():
    """(grey values 0..255, labels): two organs of 8 slices of 24 x 30; nothing is symmetric."""
    labels = np.zeros((8, 24, 30), np.uint8)
    labels[1:6, 3:12, 4:16] = 1
    labels[3:8, 14:20, 18:27] = 2
    return (np.array([10, 130, 250], np.uint8)[labels] + np.arange(8, dtype=np.uint8)[:, None, None] // 4), labels


def test_every_kind_of_file_gives_the_same_volume(tmp_path):
    grey, labels = phantom()
    with h5py.File(tmp_path / "case0001.npy.h5", "w") as file:
        file["image"], file["label"] = grey / np.float32(255), labels.astype(np.float32)
        file.attrs["spacing_xyz_mm"] = (0.5, 0.75, 3.0)
    np.savez(tmp_path / "case0002.npz", imgs=grey, gts=labels, spacing=(0.5, 0.75, 3.0))
    affine = np.diag([-0.5, 0.75, 3.0, 1]) + np.outer([7, 8, 9, 0], [0, 0, 0, 1])
    hounsfield = grey.astype(np.int16) * 2 - 125
    for name, array in (("img0003", hounsfield), ("label0003", labels)):
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), tmp_path / f"{name}.nii.gz")
    sources, problems = find_volumes(tmp_path)
    assert [source.name for source in sources] == ["0003", "case0001", "case0002"]
    assert not problems
    for source in sources:
        volume = read_volume(source, Grey(window=(-125, 385)))
        image = volume.image / (255 if volume.image.dtype == np.uint8 else 1)
        assert np.abs(image - grey / 255).max() < 1e-6 and (volume.truth == labels).all()
        assert volume.spacing == pytest.approx((3, 0.75, 0.5)) and volume.unit == "mm"
    assert (read_volume(sources[0], Grey()).affine == affine).all()
    assert read_volume(sources[0], Grey(None)).image.dtype == np.uint8


def test_without_a_spacing_the_unit_is_the_voxel(tmp_path):
    grey, labels = phantom()
    np.savez(tmp_path / "a.npz", imgs=grey, gts=labels)
    np.savez(tmp_path / "b.npz", imgs=grey[3], gts=labels[3])
    for name, spacing, unit in (("a", (1, 1, 1), "voxel"), ("b", (1, 1), "px")):
        path = tmp_path / f"{name}.npz"
        volume = read_volume(Source(name, path, path), Grey())
        assert (volume.spacing, volume.unit, volume.affine) == (spacing, unit, None)


class Segmenter:
    """Grey values to classes, as the phantom has them, but for a corner of the first organ."""

    classes = ("liver", "aorta")

    def segment(self, slices):
        values = np.asarray(slices, float) / (255 if slices.dtype == np.uint8 else 1)
        labels = np.digitize(values, [0.3, 0.7]).astype(np.uint8)
        labels[:, 3:6, 4:8] = 0
        return labels


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs the command on tmp_path/in with the segmenter above."""
    monkeypatch.setattr(command, "_open", lambda args: (Segmenter(), "digest"))
    (tmp_path / "in").mkdir()
    return lambda *options: command.main(["--model", "m", "--volumes", str(tmp_path / "in"), "--out", str(tmp_path / "out"),
                                          *options])


def rows_of(folder):
    with open(folder / "organs.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_command(run, tmp_path, capsys):
    grey, labels = phantom()
    raw = np.array([0, 6, 8], np.uint8)[labels]  # as Synapse numbers the liver and the aorta
    affine = np.diag([-0.5, 0.75, 3.0, 1]) + np.outer([7, 8, 9, 0], [0, 0, 0, 1])
    for name, array in (("img0001", grey.astype(np.int16)), ("label0001", raw)):
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), affine), tmp_path / "in" / f"{name}.nii.gz")
    np.savez(tmp_path / "in" / "flat.npz", imgs=grey[3], gts=raw[3])
    (tmp_path / "in" / "broken.npz").write_bytes(b"PK")
    nib.save(nib.Nifti1Image(grey, affine), tmp_path / "in" / "img0002.nii.gz")
    assert run("--labels", "6", "8", "--window", "0", "255") == 1
    said = capsys.readouterr()
    assert "0002: must have labels in" in said.err and "broken: broken.npz: cannot be read as npz" in said.err
    found = rows_of(tmp_path / "out")
    assert [(row["case"], row["organ"], row["unit"]) for row in found] == [
        ("0001", "liver", "mm"), ("0001", "aorta", "mm"), ("flat", "liver", "px"), ("flat", "aorta", "px")]
    # Of 9 x 12 pixels in each slice 3 x 4 are missing.
    assert float(found[0]["dsc"]) == pytest.approx(2 * 96 / (96 + 108), abs=1e-6) and float(found[1]["dsc_strict"]) == 1
    assert (found[2]["truth_voxels"], found[2]["predicted_voxels"]) == ("108", "96")
    stored = nib.load(tmp_path / "out" / "0001_pred.nii.gz")
    assert (stored.affine == affine).all()
    expected = labels.copy()
    expected[:, 3:6, 4:8] = 0
    assert (np.asarray(stored.dataobj).transpose(2, 1, 0) == expected).all()
    for name in ("0001", "flat"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert said.out == (tmp_path / "out" / "organs.md").read_text()
    assert not list((tmp_path / "out").glob(".*"))


def test_a_second_run_goes_on_and_other_settings_are_refused(run, tmp_path, capsys):
    grey, labels = phantom()
    np.savez(tmp_path / "in" / "a.npz", imgs=grey, gts=labels, spacing=(1.0, 1.0, 2.0))
    assert run() == 0
    prediction = tmp_path / "out" / "a_pred.nii.gz"
    first, time_ns = rows_of(tmp_path / "out"), prediction.stat().st_mtime_ns
    np.savez(tmp_path / "in" / "b.npz", imgs=grey[3:], gts=labels[3:])
    assert run() == 0
    assert prediction.stat().st_mtime_ns == time_ns and rows_of(tmp_path / "out")[:2] == first
    assert {row["case"] for row in rows_of(tmp_path / "out")} == {"a", "b"}
    assert run("--labels", "2", "1") == 2
    assert "were made with other settings (labels)" in capsys.readouterr().err
    assert run("--labels", "2", "1", "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "organs.json").read_text())["labels"] == [2, 1]
    assert float(rows_of(tmp_path / "out")[0]["dsc"]) < 0.5


def test_cases_of_unknown_labels_are_left_out_and_truth_may_lie_elsewhere(run, tmp_path, capsys):
    grey, labels = phantom()
    (tmp_path / "truth").mkdir()
    for name, truth in (("both", labels[3]), ("one", labels[1])):
        np.savez(tmp_path / "in" / f"{name}.npz", imgs=np.repeat(grey[3][..., None], 3, axis=2), boxes=[[0, 0, 1, 1]])
        np.savez(tmp_path / "truth" / f"{name}.npz", gts=truth)
    assert run("--truth", str(tmp_path / "truth"), "--gapless", "1,2") == 0
    assert {row["case"] for row in rows_of(tmp_path / "out")} == {"both"}
    assert "1 of 2 cases were left out" in capsys.readouterr().out


@pytest.mark.parametrize("options, message", [
    (["--window", "5", "5"], "--window must be two numbers, the lower first; got 5 5"),
    (["--labels", "1"], "labels must be 2 different numbers from 1, those of liver, aorta; got [1]"),
    (["--truth", "nowhere"], "--truth must be a folder; got nowhere"),
    ([], "--volumes must hold files *.h5, *.npz, *.nii.gz, *.nii; got none in"),
])
def test_bad_arguments(run, tmp_path, capsys, options, message):
    if options:
        np.savez(tmp_path / "in" / "a.npz", imgs=phantom()[0], gts=phantom()[1])
    assert run(*options) == 2
    assert message in capsys.readouterr().err


def test_a_written_mask_has_no_time_in_it():
    packed = command.nifti_of(np.zeros((2, 3, 4), np.uint8), None)
    assert packed[4:8] == b"\0\0\0\0" and len(gzip.decompress(packed)) == 352 + 24
