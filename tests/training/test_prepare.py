"""NIfTI volumes to the challenge's npz: orientation, grey values, labels, files and report, worked out by hand."""

import csv
import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from inference.case import read_case
from training import data
from training.prepare import __main__ as command
from training.prepare import objects
from training.prepare.intensity import Percentiles, Window, to_uint8
from training.prepare.volume import VolumeError, read_volume

SPACING_XYZ_MM = (0.5, 0.75, 2.0)


def affine(x, y, z) -> np.ndarray:
    """Columns: where the file's axes point in nibabel's world of right, front, head, in mm."""
    result = np.eye(4)
    result[:3, :3] = np.array([x, y, z]).T
    return result


def write(path, zyx, orientation="LPS", dtype=np.int16, matrix=None):
    """A NIfTI file of an array (D, H, W) whose x, y, z point to the patient's left, back and head."""
    x, y, z = SPACING_XYZ_MM
    left_back_head = zyx.transpose(2, 1, 0)
    stored, placed = {
        "LPS": (left_back_head, affine((-x, 0, 0), (0, -y, 0), (0, 0, z))),
        "RAS": (left_back_head[::-1, ::-1], affine((x, 0, 0), (0, y, 0), (0, 0, z))),
        "SAR": (left_back_head[::-1, ::-1].transpose(2, 1, 0), affine((0, 0, z), (0, y, 0), (x, 0, 0))),
        "IPL": (left_back_head[:, :, ::-1].transpose(2, 1, 0), affine((0, 0, -z), (0, -y, 0), (-x, 0, 0))),
    }[orientation]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(stored.astype(dtype), placed if matrix is None else matrix), path)


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """(image in Hounsfield units, labels), (8, 10, 12): nothing in it is symmetric."""
    z, y, x = np.indices((8, 10, 12))
    image = -200 + 60 * z + 7 * y + x
    labels = np.zeros(image.shape, np.uint8)
    labels[1:5, 2:7, 1:6] = 1                    # 4 x 25 voxels
    labels[5, 2:5, 1:5] = 1                      # its end: 12 in the slice above
    labels[2:4, 8:10, 9:12] = 3                  # 12 voxels, a small object of label 3
    labels[1:6, 0:4, 7:11] = 3                   # 5 x 16, the large one
    labels[6, 3, 3] = 12                         # the duodenum, alone in slice 6
    labels[1, 9, 0:5] = 12
    return image, labels


@pytest.fixture
def flare(tmp_path):
    """Four cases in the layout of FLARE22, each stored another way."""
    for number, orientation in enumerate(("LPS", "RAS", "SAR", "IPL"), 1):
        image, labels = phantom()
        write(tmp_path / "images" / f"FLARE22_Tr_000{number}_0000.nii.gz", image, orientation)
        write(tmp_path / "labels" / f"FLARE22_Tr_000{number}.nii.gz", labels, orientation, np.uint8)
    return tmp_path


def run(folder, *options) -> int:
    return command.main(["flare", "--images", str(folder / "images"), "--labels", str(folder / "labels"), "--out",
                         str(folder / "out"), "--modality", "CT", *options])


def report(folder) -> dict[str, dict[str, str]]:
    with open(folder / "out" / "prepare_CT_FLARE22.csv", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def loaded(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def test_the_whole_command(flare, capsys):
    assert run(flare, "--train", "3", "--min-voxels", "20", "--min-pixels", "13") == 0
    out = flare / "out"
    paths = sorted((out / "train_npz" / "CT" / "FLARE22").iterdir())
    assert [path.name for path in paths] == [f"3DBox_CT_FLARE22_Tr-000{i}.npz" for i in (1, 2, 3)]
    image, labels = phantom()
    labels[labels == 12] = 0                     # not wanted: 1 + 5 voxels
    labels[2:4, 8:10, 9:12] = 0                  # 12 voxels are below 20
    labels[5, 2:5, 1:5] = 0                      # 12 pixels are below 13
    # Slices 1..5 have labels. Clipped to -160..240, the lowest and highest are the ends: both occur.
    grey = np.floor((np.clip(image, -160, 240) + 160) * 255 / 400).astype(np.uint8)[1:6]
    for path in paths:
        arrays = loaded(path)
        assert set(arrays) == {"imgs", "gts", "spacing"} and arrays["imgs"].dtype == arrays["gts"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["imgs"], grey)
        np.testing.assert_array_equal(arrays["gts"], labels[1:6])
        np.testing.assert_allclose(arrays["spacing"], SPACING_XYZ_MM)
    rows = report(flare)
    assert [row["stored_orientation"] for row in rows.values()] == ["LPS", "RAS", "SAR", "IPL"]
    for row in rows.values():
        assert (row["slices"], row["slices_kept"], row["labels_kept"], row["voxels_kept"]) == ("8", "5", "1 3", "180")
        assert (row["voxels_removed"], row["small_objects"], row["small_parts"]) == ("6", "1", "1")
        assert row["why"] == ("label 12 is not wanted (6 voxels); label 3: 1 small objects (12 voxels); "
                              "label 1: 1 small slice parts (12 voxels); 3 slices without labels")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "4 cases: 4 done (3 train, 1 validation), 0 left out, 0 failed; 0 are of an earlier run"
    assert said[1:6] == ["slices without labels dropped: 12 of 32", "labels not wanted: 24 voxels",
                         "small objects dropped: 4 (48 voxels)", "small slice parts dropped: 4 (48 voxels)",
                         "labelled voxels kept: 720"]


def test_training_and_inference_read_what_it_writes(flare):
    assert run(flare, "--train", "3", "--min-voxels", "20", "--boxes") == 0
    out = flare / "out"
    (dataset,) = data.read_datasets(out, rank=3)
    assert (dataset.modality, dataset.name, len(dataset.train)) == ("CT", "FLARE22", 3)
    assert dataset.train[0].labels.tolist() == [1, 3]
    name = "3DBox_CT_FLARE22_Tr-0004.npz"
    case = read_case(out / "validation-box" / "imgs" / name)
    # Slice 1 of the volume is slice 0 of the file. Label 1 is box 0, label 3 box 1, which the truth calls 2.
    assert case.boxes.tolist() == [[1, 2, 0, 5, 6, 4], [7, 0, 0, 10, 3, 4]] and case.image.shape == (5, 10, 12)
    assert case.spacing_xyz_mm == SPACING_XYZ_MM
    truth = loaded(out / "validation-box" / "gts" / name)
    assert set(truth) == {"gts", "spacing"} and np.bincount(truth["gts"].ravel()).tolist() == [600 - 112 - 80, 112, 80]
    training = loaded(out / "train_npz" / "CT" / "FLARE22" / "3DBox_CT_FLARE22_Tr-0001.npz")
    np.testing.assert_array_equal(training["boxes"], case.boxes)


def test_the_order_of_the_axes_can_be_kept(tmp_path):
    image, labels = phantom()
    for name, array in (("i", image), ("l", labels)):
        write(tmp_path / f"{name}.nii.gz", array, "RAS")
    volume = read_volume(tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", reorient=False)
    np.testing.assert_array_equal(volume.image, image[:, ::-1, ::-1])
    np.testing.assert_array_equal(volume.labels, labels[:, ::-1, ::-1])
    assert volume.stored == "RAS" and volume.spacing_xyz_mm == SPACING_XYZ_MM


def test_spacing_goes_with_its_axis(tmp_path):
    image, labels = phantom()
    for name, array in (("i", image), ("l", labels)):
        write(tmp_path / f"{name}.nii", array, "SAR")
    turned = read_volume(tmp_path / "i.nii", tmp_path / "l.nii")
    assert turned.image.shape == (8, 10, 12) and turned.spacing_xyz_mm == SPACING_XYZ_MM
    kept = read_volume(tmp_path / "i.nii", tmp_path / "l.nii", reorient=False)
    # The file's first axis is the patient's z: 2 mm.
    assert kept.image.shape == (12, 10, 8) and kept.spacing_xyz_mm == SPACING_XYZ_MM[::-1]


def test_without_an_orientation_the_axes_are_kept(tmp_path):
    image, labels = phantom()
    for name, array in (("i", image), ("l", labels)):
        nifti = nib.Nifti1Image(array.transpose(2, 1, 0).astype(np.int16), None)
        nifti.header.set_zooms(SPACING_XYZ_MM)
        nib.save(nifti, tmp_path / f"{name}.nii")
    volume = read_volume(tmp_path / "i.nii", tmp_path / "l.nii")
    np.testing.assert_array_equal(volume.image, image)
    assert volume.stored == "unknown" and volume.spacing_xyz_mm == SPACING_XYZ_MM


def test_tilt_units_scaling_and_a_fourth_axis(tmp_path):
    image, labels = phantom()
    turn = np.deg2rad(10)
    matrix = affine((-np.cos(turn), -np.sin(turn), 0), (np.sin(turn), -np.cos(turn), 0), (0, 0, 1))
    nifti = nib.Nifti1Image(image.transpose(2, 1, 0)[..., None].astype(np.int16), matrix)
    nifti.header.set_xyzt_units("meter")
    nifti.header.set_slope_inter(2, -1024)       # what is stored stands for twice itself less 1024
    nib.save(nifti, tmp_path / "i.nii.gz")
    write(tmp_path / "l.nii.gz", labels, matrix=matrix, dtype=np.float32)
    volume = read_volume(tmp_path / "i.nii.gz", tmp_path / "l.nii.gz")
    assert volume.tilt_degrees == pytest.approx(10, abs=1e-3) and volume.spacing_xyz_mm == pytest.approx((1000, 1000, 1000))
    np.testing.assert_array_equal(volume.image, 2 * image - 1024)
    np.testing.assert_array_equal(volume.labels, labels)


def test_window_by_hand():
    values = np.array([-1000, -160, -159, -158, 40, 239, 240, 1000]).reshape(2, 2, 2)
    assert to_uint8(values, Window()).ravel().tolist() == [0, 0, 0, 1, 127, 254, 255, 255]
    # Nothing reaches the window's ends: what is there is stretched.
    assert to_uint8(np.array([[[0, 50, 100]]]), Window()).ravel().tolist() == [0, 127, 255]
    lung = np.array([-910, -160, 590, -2000]).reshape(1, 2, 2)
    assert to_uint8(lung, Window(-160, 1500)).ravel().tolist() == [0, 127, 255, 0]
    assert not to_uint8(np.full((2, 2, 2), 500), Window()).any()


def test_percentiles_by_hand():
    # Of 1..201 the percentiles 0.5 and 99.5 are the 2nd and the 200th value; 0 and negatives do not count.
    values = np.concatenate([np.arange(1, 202), [0, -5, 0]]).astype(np.float32).reshape(4, 3, 17)
    grey = to_uint8(values, Percentiles()).ravel()
    assert grey[[0, 1, 2, 100, 198, 199, 200]].tolist() == [0, 0, 1, 127, 253, 255, 255] and not grey[201:].any()
    # Where nothing is 0, black is the lowest value; where something is, it stays 0 however the rest is stretched.
    bright = np.array([100.0, 150, 200, 0]).reshape(1, 2, 2)
    assert to_uint8(bright, Percentiles(0, 100)).ravel().tolist() == [0, 127, 255, 0]
    assert not to_uint8(np.zeros((1, 2, 2)), Percentiles()).any()


def test_thresholds_keep_what_reaches_them():
    labels = np.zeros((3, 8, 8), np.uint16)
    labels[0, 0, 0:4] = 5                        # 4 voxels ...
    labels[1, 1, 4] = 5                          # ... and a 5th that touches them by a corner in 3-D
    labels[2, 6:8, 6:8] = 5                      # 4 voxels
    labels[0, 0, 4:8] = 7                        # 4 voxels of another label that touch the first
    dropped = objects.Dropped()
    objects.drop_small(labels, 5, 0, dropped)
    assert np.count_nonzero(labels) == 5 and set(labels[labels > 0]) == {5}
    assert dropped.small_objects == {5: 1, 7: 1} and dropped.small_object_voxels == {5: 4, 7: 4}
    dropped = objects.Dropped()
    objects.drop_small(labels, 0, 2, dropped)
    assert np.count_nonzero(labels) == 4 and dropped.small_parts == {5: 1} and dropped.small_part_voxels == {5: 1}
    plane = np.zeros((1, 4, 4), np.uint16)
    plane[0, [0, 1, 2], [0, 1, 2]] = 1           # three pixels that touch by their corners are one part in 2-D
    objects.drop_small(plane, 3, 3, objects.Dropped())
    assert plane.sum() == 3


def test_dropping_agrees_with_another_library():
    """scipy.ndimage, label by label, on noise with components of every size."""
    rng = np.random.default_rng(3)
    labels = (rng.integers(1, 4, (9, 20, 21)) * (rng.random((9, 20, 21)) < 0.22)).astype(np.uint16)
    expected = labels.copy()
    for name in (1, 2, 3):
        parts, _ = ndimage.label(expected == name, np.ones((3, 3, 3)))
        expected[(np.bincount(parts.ravel()) < 4)[parts] & (parts > 0)] = 0
        for plane in expected:
            parts, _ = ndimage.label(plane == name, np.ones((3, 3)))
            plane[(np.bincount(parts.ravel()) < 2)[parts] & (parts > 0)] = 0
    dropped, before = objects.Dropped(), np.count_nonzero(labels)
    objects.drop_small(labels, 4, 2, dropped)
    np.testing.assert_array_equal(labels, expected)
    assert before - np.count_nonzero(labels) == dropped.small_object_voxels.total() + dropped.small_part_voxels.total()
    assert 0 < np.count_nonzero(labels) < before


def test_tumours_become_objects_above_the_highest_label():
    labels = np.zeros((3, 6, 6), np.uint16)
    labels[0, 0, 0], labels[1, 1, 1] = 2, 2      # one: they touch by a corner
    labels[0, 5, 5], labels[2, 0, 5] = 2, 2      # two more
    labels[2, 4, 4] = 9
    assert objects.split_instances(labels, 2) == 3
    assert labels[0, 0, 0] == labels[1, 1, 1] and not (labels == 2).any() and labels[2, 4, 4] == 9
    assert {labels[0, 0, 0], labels[0, 5, 5], labels[2, 0, 5]} == {10, 11, 12}
    assert objects.names_of(labels) == [9, 10, 11, 12]
    assert objects.renumbered(labels, [9, 10, 11, 12])[2, 4, 4] == 1
    assert objects.split_instances(labels, 77) == 0


def test_tumour_option(flare):
    assert run(flare, "--train", "9", "--tumour-label", "3", "--min-voxels", "1", "--min-pixels", "1") == 0
    row = report(flare)["Tr_0001"]
    # Label 12 goes first, so 3 is the highest: its two components are 4 and 5.
    assert row["labels_kept"] == "1 4 5" and row["why"].startswith("label 3 became 2 objects; label 12 is not wanted")


def test_bad_cases_do_not_stop_the_others(flare, capsys):
    images, labels = flare / "images", flare / "labels"
    image, truth = phantom()
    write(images / "FLARE22_Tr_0005_0000.nii.gz", image[:, 1:])
    write(labels / "FLARE22_Tr_0005.nii.gz", truth)
    write(images / "FLARE22_Tr_0006_0000.nii.gz", image)
    write(labels / "FLARE22_Tr_0006.nii.gz", truth, matrix=affine((-0.5, 0, 0), (0, -0.75, 0), (0, 0, 3)))
    write(images / "FLARE22_Tr_0007_0000.nii.gz", image)
    write(labels / "FLARE22_Tr_0007.nii.gz", truth + 0.5 * (truth == 3), dtype=np.float32)
    write(images / "FLARE22_Tr_0008_0000.nii.gz", np.where(image > 100, np.nan, image), dtype=np.float32)
    write(labels / "FLARE22_Tr_0008.nii.gz", truth)
    packed = gzip.compress(gzip.decompress((images / "FLARE22_Tr_0001_0000.nii.gz").read_bytes()))
    (images / "FLARE22_Tr_0009_0000.nii.gz").write_bytes(packed[:len(packed) // 2])
    write(labels / "FLARE22_Tr_0009.nii.gz", truth)
    write(images / "FLARE22_Tr_0010_0000.nii.gz", image)
    write(labels / "FLARE22_Tr_0011.nii.gz", truth)
    write(images / "FLARE22_Tr_0012_0000.nii.gz", image)
    write(labels / "FLARE22_Tr_0012.nii.gz", -truth.astype(int))
    (images / "FLARE22_Tr_0013_0000.nii.gz").write_bytes(b"no such thing")
    write(labels / "FLARE22_Tr_0013.nii.gz", truth)
    write(images / "FLARE22_Tr_0014_0000.nii.gz", image)
    write(labels / "FLARE22_Tr_0014.nii.gz", 12 * (truth == 12))
    assert run(flare) == 1
    caught = capsys.readouterr()
    problems = dict(line.split(": ", 1) for line in caught.err.splitlines())
    assert set(problems) == {f"Tr_00{n:02}" for n in range(5, 14)}
    for number, words in {5: "labels must have the image's shape (12, 9, 8); got (12, 10, 8)",
                          6: "labels must lie where the image does, to half a voxel (0.25); got 7 apart",
                          7: "FLARE22_Tr_0007.nii.gz: labels must be whole numbers; got 3.5",
                          8: f"must hold finite values; got {(image > 100).sum()} that are not", 9: "must be",
                          10: "must have labels FLARE22_Tr_0010.nii.gz in labels; got none",
                          11: "must have an image FLARE22_Tr_0011_0000.nii.gz in images; got none",
                          12: "labels must be 0..65535; got -12..0", 13: "must be a NIfTI file"}.items():
        assert words in problems[f"Tr_00{number:02}"], number
    assert caught.out.startswith("14 cases: 4 done (4 train), 1 left out, 9 failed; 0 are of an earlier run")
    rows = report(flare)
    assert rows["Tr_0014"]["status"] == "left out" and rows["Tr_0014"]["why"].endswith("(6 voxels); no label is left")
    assert rows["Tr_0005"]["status"] == "failed" and rows["Tr_0005"]["why"] == problems["Tr_0005"]


def test_it_goes_on_where_it_stopped(flare, capsys):
    write(flare / "images" / "FLARE22_Tr_0009_0000.nii.gz", phantom()[0])
    write(flare / "labels" / "FLARE22_Tr_0009.nii.gz", 0 * phantom()[1])
    first = flare / "out" / "train_npz" / "CT" / "FLARE22" / "3DBox_CT_FLARE22_Tr-0001.npz"
    assert run(flare, "--train", "2") == 0
    before = report(flare)
    (flare / "out" / "validation-box" / "gts" / "3DBox_CT_FLARE22_Tr-0004.npz").unlink()
    stamp = first.stat().st_mtime_ns
    capsys.readouterr()
    assert run(flare, "--train", "2") == 0
    # The two training cases, Tr_0003 and the empty one were there; of Tr_0004 a file was gone.
    assert "; 4 are of an earlier run" in capsys.readouterr().out
    assert first.stat().st_mtime_ns == stamp and report(flare) == before
    assert (flare / "out" / "validation-box" / "gts" / "3DBox_CT_FLARE22_Tr-0004.npz").exists()
    assert run(flare, "--train", "2", "--overwrite") == 0
    assert first.stat().st_mtime_ns != stamp and report(flare) == before
    assert not [path for path in flare.rglob("*") if path.name.startswith(".")]


def test_a_case_is_never_in_both_splits(flare, capsys):
    assert run(flare, "--train", "2") == 0
    # A new first case moves the second one to validation.
    write(flare / "images" / "FLARE22_Tr_0000_0000.nii.gz", phantom()[0])
    write(flare / "labels" / "FLARE22_Tr_0000.nii.gz", phantom()[1])
    assert run(flare, "--train", "2") == 0
    out = flare / "out"
    trained = {path.name for path in (out / "train_npz").rglob("*.npz")}
    tested = {path.name for path in (out / "validation-box" / "imgs").iterdir()}
    assert trained == {f"3DBox_CT_FLARE22_Tr-000{n}.npz" for n in (0, 1)} and not trained & tested and len(tested) == 3


def test_other_settings_are_refused(flare, capsys):
    assert run(flare) == 0
    assert run(flare, "--min-pixels", "3", "--window-width", "300") == 2
    assert "other settings (intensity, min_pixels); add --overwrite" in capsys.readouterr().err
    assert run(flare, "--min-pixels", "3", "--overwrite") == 0
    assert json.loads((flare / "out" / "prepare_CT_FLARE22.json").read_text())["min_pixels"] == 3


@pytest.mark.parametrize("options, words", [
    (["--percentiles", "60", "40"], "--percentiles must be two numbers 0..100"),
    (["--window-width", "0"], "--window-width must be above 0"),
    (["--remove-labels", "0"], "must be labels from 1"),
    (["--tumour-label", "12"], "--tumour-label must not be removed"),
    (["--dataset", "../x"], "--dataset must be a folder's name"),
    (["--train", "-1"], "must be at least 0"),
])
def test_bad_arguments(options, words, flare, capsys):
    assert run(flare, *options) == 2
    assert words in capsys.readouterr().err and not (flare / "out").exists()


def test_bad_folders(tmp_path, capsys):
    assert run(tmp_path) == 2 and "--images must be a folder" in capsys.readouterr().err
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    assert run(tmp_path) == 2 and "got none in" in capsys.readouterr().err
    for name in ("a.nii", "a_0000.nii.gz"):
        (tmp_path / "images" / name).write_bytes(b"")
    assert run(tmp_path) == 2 and "must have one file of a; got a.nii and a_0000.nii.gz" in capsys.readouterr().err


def test_slices_can_be_kept_and_other_modalities_are_stretched(flare):
    options = ["--modality", "MR", "--keep-slices", "--dataset", "AMOS", "--percentiles", "0", "100"]
    assert command.main(["flare", "--images", str(flare / "images"), "--labels", str(flare / "labels"), "--out",
                         str(flare / "out"), *options]) == 0
    arrays = loaded(flare / "out" / "train_npz" / "MR" / "AMOS" / "3DBox_MR_AMOS_FLARE22-Tr-0001.npz")
    image = phantom()[0]
    positive = image[image > 0]
    expected = np.floor((np.clip(image, positive.min(), None) - positive.min()) * 255.0 / (image.max() - positive.min()))
    np.testing.assert_array_equal(arrays["imgs"], np.where(image == 0, 0, expected))
    assert arrays["gts"].shape == (8, 10, 12)


def test_too_large_a_claim_is_refused_before_it_is_read(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((32000, 32000, 32000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "i.nii").write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(VolumeError, match="at most 1,073,741,824 voxels"):
        read_volume(tmp_path / "i.nii", tmp_path / "i.nii")
