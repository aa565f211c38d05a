"""Scans to FS-MedSAM2's files: chunks and supports by hand, the grid by SimpleITK, and what the protocols read of it."""

import csv

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from evaluation.fewshot.data import find_cases, read_case
from evaluation.fewshot.protocols import runs
from training.prepare import __main__ as command
from training.prepare.fewshot import chunk_of, fold_of, support_slices
from training.prepare.scans import Source, read_scan, resampled

SIZE_BYTES = 2_361_102
"""Of each file of FS-MedSAM2's example_data."""


def test_chunks_are_three_equal_parts():
    # The slices of FS-MedSAM2's example_data: 24, eight a chunk.
    assert [chunk_of(z, 12, 35) for z in range(12, 36)] == [0] * 8 + [1] * 8 + [2] * 8
    # Nine slices: three each; ten: what is over goes to the last; two, and one.
    assert [chunk_of(z, 0, 8) for z in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [chunk_of(z, 5, 14) for z in range(5, 15)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert [chunk_of(z, 3, 4) for z in (3, 4)] == [0, 2] and chunk_of(7, 7, 7) == 0


def test_supports_lie_at_a_sixth_a_half_and_five_sixths():
    assert support_slices(np.arange(20, 44)) == [24, 32, 40]           # 24 slices: 4, 12, 20
    assert support_slices(np.arange(10)) == [1, 5, 8]                  # 1.67, 5, 8.33
    assert support_slices(np.array([3, 4, 9, 10, 11])) == [3, 9, 11]   # of the list, not of the range: 0.83, 2.5, 4.17
    assert support_slices(np.array([6])) == [6, 6, 6]


def test_folds_are_fifths_with_the_next_scan_as_support():
    ct, mr = list(range(30)), list(range(20))
    assert fold_of(ct, 0) == [0, 1, 2, 3, 4, 5, 6] and fold_of(ct, 4) == [24, 25, 26, 27, 28, 29, 0]
    assert fold_of(mr, 0) == [0, 1, 2, 3, 4] and fold_of(mr, 2) == [8, 9, 10, 11, 12]


def by_simpleitk(volume, spacing_xyz, new_xyz):
    """As SSL-ALPNet's notebooks resample: one voxel more than fit, linear, 0 outside."""
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(spacing_xyz)
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetOutputSpacing(new_xyz)
    resample.SetSize([int(size * old / new + 1) for size, old, new in zip(image.GetSize(), spacing_xyz, new_xyz)])
    return sitk.GetArrayFromImage(resample.Execute(image))


@pytest.mark.parametrize("new_xyz", [(1.25, 1.25, 7.7), (1.5, 1.75, 9.0), (2.9, 0.7, 5.0)])
def test_resampling_agrees_with_simpleitk(new_xyz):
    volume = np.random.default_rng(0).normal(size=(7, 12, 15)).astype(np.float32)
    expected = by_simpleitk(volume, (1.5, 1.75, 9.0), new_xyz)
    found = resampled(volume, tuple(new / old for new, old in zip(new_xyz[::-1], (9.0, 1.75, 1.5))))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def save_nifti(path, zyx, spacing_xyz=(1.5, 1.5, 9.0)):
    """Axes x, y, z point to the patient's left, back and head: the order that arrays have here too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y, z = spacing_xyz
    nib.save(nib.Nifti1Image(zyx.transpose(2, 1, 0), np.diag([-x, -y, z, 1.0])), path)


def test_ct_is_windowed_cut_and_resampled(tmp_path):
    rng = np.random.default_rng(1)
    image = rng.integers(-1000, 1000, (3, 64, 64)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    labels[1:, 20:40, 10:30], labels[0, :4] = 6, 3      # label 3 lies in the border that is cut off
    save_nifti(tmp_path / "i" / "img0007.nii.gz", image)
    save_nifti(tmp_path / "l" / "label0007.nii.gz", labels)
    source = Source("7", tmp_path / "i" / "img0007.nii.gz", tmp_path / "l" / "label0007.nii.gz")
    scan = read_scan("synapse", source, (3, 6), True)
    # 64 px: 4 each side, 32 of 512; 56 are left, a step of 56 / 256. One slice more than there are: 0.
    grey = (np.clip(image, -125, 275) + 125.0).astype(np.float32) / 400 * 255
    expected = by_simpleitk(grey[:, 4:60, 4:60], (1.0, 1.0, 1.0), (56 / 256, 56 / 256, 1.0))[:, :256, :256]
    assert scan.image.shape == (4, 256, 256) and not scan.image[3].any() and scan.stored == "LPS"
    np.testing.assert_allclose(scan.image, expected, atol=1e-3)
    mask = by_simpleitk((labels == 6)[:, 4:60, 4:60].astype(np.float32), (1.0, 1.0, 1.0), (56 / 256, 56 / 256, 1.0))
    np.testing.assert_array_equal(scan.masks[6], mask[:, :256, :256] > 0.5)
    assert set(scan.masks) == {6}


def test_mr_is_brought_to_one_voxel_size_and_its_middle(tmp_path):
    rng = np.random.default_rng(2)
    image = rng.integers(1, 900, (4, 230, 200)).astype(np.int16)
    image[2, 5, 5] = 30000
    labels = np.zeros(image.shape, np.uint8)
    labels[1:3, 100:150, 90:130] = 4
    save_nifti(tmp_path / "i" / "image_3.nii", image)
    save_nifti(tmp_path / "l" / "label_3.nii", labels)
    scan = read_scan("chaos", Source("3", tmp_path / "i" / "image_3.nii", tmp_path / "l" / "label_3.nii"), (4,), True)
    cut = np.minimum(image, np.percentile(image, 99.5)).astype(np.float32)
    whole = by_simpleitk(cut, (1.5, 1.5, 9.0), (1.25, 1.25, 7.7))
    # 4 x 9 / 7.7 + 1 slices; 230 and 200 px to 277 and 241: of the rows 10..265, the columns 8 px from the left.
    assert whole.shape == (5, 277, 241) and scan.image.shape == (5, 256, 256)
    expected = np.full((5, 256, 256), whole.min(), np.float32)
    expected[:, :, 8:249] = whole[:, 10:266]
    np.testing.assert_allclose(scan.image, expected, atol=1e-3)
    inside = by_simpleitk((labels == 4).astype(np.float32), (1.5, 1.5, 9.0), (1.25, 1.25, 7.7)) > 0.5
    assert scan.masks[4].sum() == inside.sum() > 0


def volume(number: int, depth=9, first=0, last=8, shape=(20, 16)):
    """imgs uint8 and gts (D, 20, 16): label 1 in slices first..last, larger by the slice, label 2 in all but the ends."""
    rng = np.random.default_rng(number)
    gts = np.zeros((depth, *shape), np.uint8)
    for z in range(first, last + 1):
        gts[z, 2:4 + z, 3:8] = 1
    gts[1:-1, 15:19, 10:14] = 2
    return (rng.integers(0, 60, gts.shape) + 80 * (gts > 0)).astype(np.uint8), gts


@pytest.fixture
def cases(tmp_path):
    """Four volumes of the project's layout; scan 11 is the last."""
    (tmp_path / "npz").mkdir()
    for number, extent in ((1, {}), (2, {"first": 3, "last": 6}), (10, {"first": 4, "last": 3}), (11, {})):
        imgs, gts = volume(number, **extent)
        np.savez(tmp_path / "npz" / f"3DBox_MR_x_scan-{number:03}-nii.npz", imgs=imgs, gts=gts, spacing=np.ones(3))
    return tmp_path


def run(folder, *options) -> int:
    return command.main(["fewshot", "--layout", "npz", "--images", str(folder / "npz"), "--out", str(folder / "out"),
                         "--labels-evaluated", "1", "2", *options])


def report(folder) -> dict[str, dict[str, str]]:
    with open(folder / "out" / "prepare_fewshot.csv", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_the_protocols_read_what_is_written(cases, capsys):
    assert run(cases) == 0
    assert capsys.readouterr().out.startswith("4 scans: 4 done, 0 left out, 0 failed; 34 files, a slice and label each; "
                                              "support: scan 11")
    found = find_cases(cases / "out")
    assert [case.name for case in found] == ["1_case_1", "1_case_2", "2_case_1", "2_case_2", "2_case_10"]
    assert [len(case.slices) for case in found] == [9, 4, 7, 7, 7] and found[1].slices == (3, 4, 5, 6)
    # Samples count the slices of all scans, from 1: scan 2 begins with the 10th.
    assert [path.name for path in found[1].paths] == [f"1_{13 + i}_case_2_z{3 + i}.npz" for i in range(4)]
    assert {path.stat().st_size for path in (cases / "out").glob("*.npz")} == {SIZE_BYTES}
    case = read_case(found[0])
    assert (case.label_id, [query.support for query in case.queries]) == (1, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    # The support has label 1 in slices 0..8: at 1.5, 4.5 and 7.5; 20 px to 256, so 12.8 px a pixel: (2 + z) x 5 pixels,
    # less rounded corners.
    for support, z in zip(case.supports, (1, 4, 7)):
        assert support.mask.sum() / 12.8**2 == pytest.approx((2 + z) * 5, rel=0.05)
    frames = next(runs(case, "middle")).images
    assert len(frames) == 10 and all(frame.shape == (256, 256, 3) for frame in frames)
    np.testing.assert_array_equal(frames[4], case.supports[1].image)


def test_a_file_has_the_published_keys(cases):
    assert run(cases) == 0
    with np.load(cases / "out" / "2_11_case_2_z1.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    assert {key: (array.shape, str(array.dtype)) for key, array in arrays.items()} == {
        "sup_img_part": ((1, 3, 256, 256), "float32"), "sup_fgm_part": ((1, 256, 256), "float32"),
        "sup_bgm_part": ((1, 256, 256), "float32"), "query_images": ((1, 3, 256, 256), "float32"),
        "query_labels": ((1, 256, 256), "float32"), "labels": ((1,), "int64"), "n_scan": ((), "int64")}
    assert arrays["labels"] == [2] and arrays["n_scan"] == 1
    np.testing.assert_array_equal(arrays["sup_bgm_part"], 1 - arrays["sup_fgm_part"])
    np.testing.assert_array_equal(arrays["query_images"][:, 0], arrays["query_images"][:, 2])


def test_each_scan_has_mean_0_and_deviation_1(cases):
    """The only scan with label 2 in every slice: its files are the whole of it."""
    imgs, gts = volume(1)
    gts[[0, -1], 0, 0] = 2
    np.savez(cases / "npz" / "3DBox_MR_x_scan-001-nii.npz", imgs=imgs, gts=gts, spacing=np.ones(3))
    assert run(cases, "--labels-evaluated", "2") == 0
    case = read_case(find_cases(cases / "out")[0])
    values = np.stack([query.image[..., 0] for query in case.queries])
    assert len(values) == 9 and values.mean() == pytest.approx(0, abs=1e-4) and values.std() == pytest.approx(1, abs=1e-4)
    # Square: 16 columns of 20, with two of the lowest value on either side.
    np.testing.assert_allclose(values[:, :, 0], values.min(), atol=1e-5)


def test_labels_that_are_not_there_are_reported(cases):
    assert run(cases) == 0
    rows = report(cases)
    assert (rows["10"]["labels_kept"], rows["10"]["slices_kept"], rows["10"]["why"]) == ("2", "7", "label 1 is not there")
    assert (rows["11"]["split"], rows["11"]["slices_kept"], rows["1"]["split"]) == ("support", "0", "query")


def test_the_support_must_have_every_label(cases, capsys):
    assert run(cases, "--support", "2") == 2
    assert "the support, scan 10, must hold every label evaluated; got none of 1" in capsys.readouterr().err
    assert not list((cases / "out").glob("*.npz"))
    assert run(cases, "--support", "0") == 0 and report(cases)["1"]["split"] == "support"


def test_it_goes_on_where_it_stopped(cases, capsys):
    (cases / "npz" / "3DBox_MR_x_scan-010-nii.npz").unlink()
    assert run(cases) == 0
    kept, lost = (next((cases / "out").glob(f"*_case_{scan}_*")) for scan in (1, 2))
    stamp, before = kept.stat().st_mtime_ns, sorted(path.name for path in (cases / "out").iterdir())
    lost.unlink()
    assert run(cases) == 0
    assert kept.stat().st_mtime_ns == stamp and sorted(path.name for path in (cases / "out").iterdir()) == before
    assert run(cases, "--support", "0") == 2
    assert "made with other settings (support); add --overwrite" in capsys.readouterr().err
    assert run(cases, "--support", "0", "--overwrite") == 0
    assert {case.scan for case in find_cases(cases / "out")} == {"2", "11"}


def test_a_bad_scan_does_not_stop_the_others(cases, capsys):
    (cases / "npz" / "3DBox_MR_x_scan-002-nii.npz").write_bytes(b"PK")
    assert run(cases) == 1
    assert "scan 2: " in capsys.readouterr().err and report(cases)["2"]["status"] == "failed"
    assert {case.scan for case in find_cases(cases / "out")} == {"1", "10"}


def test_files_of_others_are_left_alone(cases, capsys):
    (cases / "out").mkdir()
    theirs = cases / "out" / "1_1_case_1_z0.npz"
    theirs.write_bytes(b"theirs")
    assert run(cases, "--overwrite") == 2
    assert "without files of another program's" in capsys.readouterr().err and theirs.read_bytes() == b"theirs"


def test_ct_has_the_mean_of_the_scans_that_are_not_evaluated(tmp_path):
    for number in range(10):
        # One value, but for a black and a white voxel in the border, which mark the window's ends and are cut off.
        image = np.full((2, 288, 288), -125 + 20 * number, np.int16)
        image[0, 3, 3], image[0, 3, 4] = -125, 275
        labels = np.zeros(image.shape, np.uint8)
        labels[:, 10:20, 10:20] = 1
        save_nifti(tmp_path / "i" / f"img{number:04}.nii.gz", image)
        save_nifti(tmp_path / "l" / f"label{number:04}.nii.gz", labels)
    arguments = ["fewshot", "--layout", "synapse", "--images", str(tmp_path / "i"), "--labels", str(tmp_path / "l"), "--out",
                 str(tmp_path / "out"), "--labels-evaluated", "1", "--fold", "0"]
    assert command.main(arguments) == 0
    first, second = find_cases(tmp_path / "out")
    assert (first.scan, second.scan) == ("0", "1")
    values = read_case(second).queries[1].image
    # Fold 0 has scans 0, 1 and, as support, 2. Scans 3..9 have two slices of 12.75 times their number, and one of 0.
    others = np.concatenate([np.repeat([12.75 * number, 12.75 * number, 0], 100) for number in range(3, 10)])
    np.testing.assert_allclose(values, (12.75 - others.mean()) / others.std(), rtol=1e-4)


@pytest.mark.parametrize("options, words", [
    (["--labels-evaluated", "1", "1"], "--labels-evaluated must be different labels from 1"),
    (["--support", "4"], "--support must be one of at least two scans evaluated, 0..3; got 4"),
    (["--pattern", "nothing*"], "must hold files nothing* that end in .npz; got none"),
    (["--images", "nowhere"], "--images must be a folder; got nowhere"),
    (["--layout", "chaos"], "--layout chaos needs --labels DIR"),
])
def test_bad_arguments(options, words, cases, capsys):
    assert run(cases, *options) == 2
    assert words in capsys.readouterr().err and not (cases / "out").exists()


def test_two_scans_of_one_number_are_refused(cases, capsys):
    (cases / "npz" / "again-11.npz").write_bytes(b"")
    assert run(cases) == 2
    assert "must have one file whose last number is 11; got 3DBox_MR_x_scan-011-nii.npz and" in capsys.readouterr().err
