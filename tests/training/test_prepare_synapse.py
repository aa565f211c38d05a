"""Synapse's NIfTI volumes to SAMed's slices and volumes: values, labels, axes, lists and report, worked out by hand."""

import csv
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from evaluation.organs.volumes import Grey, find_volumes, read_volume
from training.prepare import __main__ as command
from training.samed.slices import plane, read_datasets

SPACING_XYZ_MM = (0.5, 0.75, 3.0)


def phantom(depth=5):
    """(Hounsfield units, labels) as stored, x, y, z of nibabel: (8, 10, depth), nothing in it symmetric."""
    x, y, z = np.indices((8, 10, depth))
    labels = np.zeros(x.shape, np.uint8)
    labels[1:4, 2:5, 1:3] = 6     # the liver: 18 voxels
    labels[4:7, 6:9, 2:4] = 11    # the pancreas: 18
    labels[0, 0, :] = 5           # the oesophagus: a voxel in each slice
    labels[7, 9, 0:2] = 13
    return -300 + 100 * x + 11 * y + 7 * z, labels


def write(folder, number, depth=5, only_image=False):
    image, labels = phantom(depth)
    affine = np.diag([-SPACING_XYZ_MM[0], SPACING_XYZ_MM[1], SPACING_XYZ_MM[2], 1])
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(image.astype(np.int16), affine), folder / f"img{number:04d}.nii.gz")
    if not only_image:
        nib.save(nib.Nifti1Image(labels, affine), folder / f"label{number:04d}.nii.gz")


def run(folder, *options) -> int:
    return command.main(["synapse", "--images", str(folder / "in"), "--out", str(folder / "out"), *options])


def report(folder):
    with open(folder / "out" / "prepare_synapse.csv", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def expected():
    """(image, labels), (D, H, W), of the whole volume."""
    image, labels = phantom()
    classes = np.where(labels == 6, 5, np.where(labels == 11, 8, 0))
    return ((np.clip(image, -125, 275) + 125) / 400).transpose(2, 1, 0), classes.transpose(2, 1, 0)


def test_slices_to_train_on_and_volumes_to_test_on(tmp_path, capsys):
    for number in (5, 8):
        write(tmp_path / "in", number)
    assert run(tmp_path) == 0
    image, labels = expected()
    names = [f"case0005_slice{z:03d}" for z in range(5)]
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "train_npz").iterdir()) == [f"{name}.npz" for name in names]
    for z, name in enumerate(names):
        with np.load(out / "train_npz" / f"{name}.npz", allow_pickle=False) as stored:
            assert set(stored) == {"image", "label"} and stored["image"].dtype == np.float32
            assert np.abs(stored["image"] - image[z]).max() < 1e-6 and (stored["label"] == labels[z]).all()
    with h5py.File(out / "test_vol_h5" / "case0008.npy.h5") as file:
        assert np.abs(file["image"][:] - image).max() < 1e-6 and (file["label"][:] == labels).all()
        assert file.attrs["spacing_xyz_mm"].tolist() == list(SPACING_XYZ_MM)
    lists = out / "lists" / "lists_Synapse"
    assert (lists / "train.txt").read_text().split() == names and (lists / "test_vol.txt").read_text() == "case0008\n"
    row = report(tmp_path)["case0005"]
    assert (row["split"], row["slices_kept"], row["voxels_kept"], row["voxels_removed"]) == ("train", "5", "36", "7")
    assert row["why"] == "label 5 is not wanted (5 voxels); label 13 is not wanted (2 voxels)" and row["labels_kept"] == "5 8"
    assert capsys.readouterr().out.splitlines()[:3] == [
        "2 cases: 2 done (1 train, 1 test), 0 failed", "training slices: 5",
        "labels not wanted: 14 voxels; labelled voxels kept: 72"]


def test_slices_of_another_size(tmp_path):
    write(tmp_path / "in", 5)
    write(tmp_path / "in", 8)
    assert run(tmp_path, "--size", "20") == 0
    image, labels = expected()
    with np.load(tmp_path / "out" / "train_npz" / "case0005_slice002.npz") as stored:
        assert np.abs(stored["image"] - ndimage.zoom(image[2], (2, 2.5), order=3)).max() < 1e-5
        assert (stored["label"] == ndimage.zoom(labels[2], (2, 2.5), order=0)).all()
    with h5py.File(tmp_path / "out" / "test_vol_h5" / "case0008.npy.h5") as file:
        # The first and the last of 8 and of 10 columns lie where those of 20 do.
        assert file.attrs["spacing_xyz_mm"] == pytest.approx([0.5 * 7 / 19, 0.75 * 9 / 19, 3])


def test_a_stopped_run_goes_on_and_a_case_never_has_both_kinds_of_files(tmp_path, capsys):
    write(tmp_path / "in", 5)
    assert run(tmp_path) == 0
    first = tmp_path / "out" / "train_npz" / "case0005_slice000.npz"
    made_ns = first.stat().st_mtime_ns
    write(tmp_path / "in", 6, depth=3)
    assert run(tmp_path) == 0
    assert first.stat().st_mtime_ns == made_ns and len(report(tmp_path)) == 2
    (tmp_path / "out" / "train_npz" / "case0006_slice001.npz").unlink()
    assert run(tmp_path) == 0
    assert len(list((tmp_path / "out" / "train_npz").iterdir())) == 8
    assert run(tmp_path, "--test-cases", "5") == 2
    assert "were made with other settings (test_cases)" in capsys.readouterr().err
    assert run(tmp_path, "--test-cases", "5", "--overwrite") == 0
    assert not list((tmp_path / "out" / "train_npz").glob("case0005*"))
    assert (tmp_path / "out" / "test_vol_h5" / "case0005.npy.h5").exists()


def test_a_bad_case_is_named_and_the_others_are_done(tmp_path, capsys):
    write(tmp_path / "in", 5)
    write(tmp_path / "in", 7, only_image=True)
    write(tmp_path / "in", 9)
    (tmp_path / "in" / "label0009.nii.gz").write_bytes(b"no gzip")
    assert run(tmp_path) == 1
    rows = report(tmp_path)
    assert [rows[case]["status"] for case in ("case0005", "case0007", "case0009")] == ["done", "failed", "failed"]
    said = capsys.readouterr().err
    assert "case0007: must have labels label0007.nii.gz in in; got none" in said
    assert "case0009: label0009.nii.gz: must be a NIfTI file" in said


@pytest.mark.parametrize("options, message", [
    (["--size", "1"], "--size must be 0 or at least 2; got 1"),
    (["--labels", "nowhere"], "--labels must be a folder; got nowhere"),
    ([], "--images must hold img0001.nii.gz, ...; got none in"),
])
def test_bad_arguments(tmp_path, capsys, options, message):
    (tmp_path / "in").mkdir()
    assert run(tmp_path, *options) == 2
    assert message in capsys.readouterr().err


def test_training_and_the_volume_test_read_what_it_writes(tmp_path):
    for number in (5, 6, 8):
        write(tmp_path / "in", number)
    assert run(tmp_path) == 0
    image, labels = expected()
    recipe = SimpleNamespace(datasets=("Synapse",), labels=tuple(range(1, 9)), gapless=())
    (dataset,) = read_datasets(tmp_path / "out", recipe)
    assert [(case.name, len(case.paths)) for case in dataset.train] == [("case0005", 5), ("case0006", 5)]
    found, classes = plane(recipe, dataset.train[1], 2)
    assert np.abs(found - image[2]).max() < 1e-6 and (classes == labels[2]).all()
    (source,), _ = find_volumes(tmp_path / "out" / "test_vol_h5")
    volume = read_volume(source, Grey())
    assert source.name == "case0008" and (volume.truth == labels).all()
    assert volume.spacing == SPACING_XYZ_MM[::-1] and volume.unit == "mm"
