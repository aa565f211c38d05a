"""Folders of published data sets, made small, against what their files were written from."""

import cv2
import nibabel
import numpy as np
import pytest

from training import data
from training.medsegdiff import layouts

RNG = np.random.default_rng(0)


def pictures(folder, images, masks, names, suffixes=(".jpg", ".png"), shape=(40, 60)):
    """A colour picture and a mask of two greys, 90 and 200, for every name."""
    for part in (images, masks):
        (folder / part).mkdir(parents=True)
    truth = np.full(shape, 90, np.uint8)
    truth[10:20, 15:45] = 200
    for name in names:
        picture = np.zeros((*shape, 3), np.uint8)
        picture[..., 2] = 250  # OpenCV's order: red
        cv2.imwrite(str(folder / images / f"{name}{suffixes[0]}"), picture)
        cv2.imwrite(str(folder / masks / f"{name}{suffixes[1]}"), truth)
    return truth > 127


@pytest.mark.parametrize("layout, images, masks, suffixes", [
    ("refuge2", "Disc_Cup_Fovea_Illustration", "Disc_Cup_Masks", (".jpg", ".png")),
    ("ddti", "images", "masks", (".PNG", ".PNG")),
])
def test_pictures_with_masks_beside(layout, images, masks, suffixes, tmp_path):
    mask = pictures(tmp_path, images, masks, ["T0002", "T0001"], suffixes)
    sources = layouts.find(layout, tmp_path)
    assert [source.name for source in sources] == ["T0001", "T0002"] and sources[0].dataset == layout
    item = sources[0].read()
    assert item.image.shape == (40, 60, 3) and item.image[..., 0].min() > 240 and item.image[..., 1:].max() < 15  # RGB
    assert np.array_equal(item.gts, mask) and item.labels.tolist() == [1]
    dataset, = layouts.read(sources)
    assert isinstance(dataset, data.Dataset) and len(dataset.train) == 2 and not dataset.held_out


def test_refuge_masks_may_be_jpeg(tmp_path):
    mask = pictures(tmp_path, "Disc_Cup_Fovea_Illustration", "Disc_Cup_Masks", ["V0001"], (".jpg", ".jpg"))
    assert (layouts.find("refuge2", tmp_path)[0].read().gts == mask).mean() > 0.99


def brats(folder, name, low=-100.0, high=900.0, tumour=True):
    """Volumes (x, y, z) = (12, 10, 7); the middle slice is z 3, its values i + 2 j stretched to low..high, others noise."""
    (folder / name).mkdir(parents=True)
    i, j = np.mgrid[:12, :10]
    for number, part in enumerate((*layouts.CHANNELS, "seg")):
        volume = RNG.normal(0, 50, (12, 10, 7)).astype(np.float32)
        plane = (i + 2 * j).astype(np.float32)
        if part == "flair":
            plane[:] = 5  # a constant slice must not be divided by nothing
        if part == "seg":
            volume = np.zeros((12, 10, 7), np.float32)
            plane = np.where((i > 7) & (j < 3) & tumour, 4, 0)
        elif part != "flair":
            plane = low + plane / plane.max() * (high - low) + number
        volume[:, :, 3] = plane
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / name / f"{name}_{part}.nii.gz")
    return np.rint((i + 2 * j) / (i + 2 * j).max() * 255).T, ((i > 7) & (j < 3)).T


def test_brats_gives_the_middle_slice_in_four_channels(tmp_path):
    expected, mask = brats(tmp_path, "BraTS2021_00002")
    item = layouts.find("brats2021", tmp_path)[0].read()
    assert item.name == "BraTS2021_00002" and item.image.shape == (10, 12, 4) and item.image.dtype == np.uint8
    assert np.abs(item.image[..., :3] - expected[..., None]).max() <= 1 and not item.image[..., 3].any()
    assert np.array_equal(item.gts, mask)


def test_slices_without_a_tumour_are_left_out(tmp_path):
    brats(tmp_path, "BraTS2021_00001")
    brats(tmp_path, "BraTS2021_00002", tumour=False)
    dataset, = layouts.read(layouts.find("brats2021", tmp_path))
    assert [item.name for item in dataset.train] == ["BraTS2021_00001"]


def npz_folder(root):
    for modality, dataset, cases in (("US", "one", 12), ("US", "two", 30), ("MR", "three", 3)):
        folder = root / modality / dataset
        folder.mkdir(parents=True)
        for case in range(cases):
            gts = np.zeros((20, 24), np.uint8)
            gts[2:6, 3:9], gts[10:15, 4:20] = 1, 2
            if case == 0:
                gts[:] = 0
            np.savez_compressed(folder / f"2DBox_{modality}_{dataset}_{case}.npz", imgs=gts * 90, gts=gts)
    return root


def test_npz_is_held_out_as_everywhere(tmp_path):
    """By the very cases that data.read_datasets holds out; label 1 is the object."""
    root = npz_folder(tmp_path)
    ours = layouts.read(layouts.find("npz", root))
    theirs = data.read_datasets(root, rank=2)
    for one, other in zip(ours, theirs):
        assert (one.modality, one.name) == (other.modality, other.name)
        for part in ("train", "held_out"):
            assert [item.name for item in getattr(one, part)] == [item.name for item in getattr(other, part)]
    assert any(dataset.held_out for dataset in ours) and ours[0].train[0].labels.tolist() == [1]


def test_datasets_and_labels_are_chosen(tmp_path):
    root = npz_folder(tmp_path)
    dataset, = layouts.read(layouts.find("npz", root, ("two",)), labels=(2,))
    item = dataset.train[0]
    assert dataset.name == "two" and item.gts[10:15, 4:20].all() and item.gts.sum() == 5 * 16
    assert layouts.read(layouts.find("npz", root, ("two",)))[0].train[0].gts.sum() == 5 * 16 + 4 * 6
    with pytest.raises(ValueError, match=r"^none of 30 cases has a label of \[3\]$"):
        layouts.read(layouts.find("npz", root, ("two",)), labels=(3,))


def test_large_images_are_reduced():
    mask = np.zeros((100, 200), bool)
    mask[20:60, 40:120] = True
    image = np.where(mask[..., None], np.array([200, 100, 50, 10], np.uint8), np.uint8(0))
    item = layouts.reduced("a", image, mask, 50)
    assert item.image.shape == (25, 50, 4) and item.gts.shape == (25, 50)
    assert item.gts[5:15, 10:30].all() and item.gts.sum() == 200 and (item.image[7, 15] == [200, 100, 50, 10]).all()
    assert layouts.reduced("a", image, mask, 200).image is image


def test_wrong_folders_are_told(tmp_path):
    with pytest.raises(ValueError, match="no case of layout ddti in it, images/\\*.PNG and masks/\\*.PNG$"):
        layouts.find("ddti", tmp_path)
    with pytest.raises(ValueError, match="layout must be one of npz, refuge2, brats2021, ddti; got 'coco'"):
        layouts.find("coco", tmp_path)
    npz_folder(tmp_path)
    with pytest.raises(ValueError, match="has no dataset four; it has one, three, two$"):
        layouts.find("npz", tmp_path, ("four",))
    with pytest.raises(ValueError, match="datasets must be empty for layout ddti, which is one dataset; got one"):
        layouts.find("ddti", tmp_path, ("one",))


def test_broken_files_are_named(tmp_path):
    pictures(tmp_path / "a", "images", "masks", ["1"])
    (tmp_path / "a" / "masks" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"images/1.jpg: must have a mask .*masks/1.png \(or .jpg, .bmp\); there is none$"):
        layouts.find("ddti", tmp_path / "a")[0].read()
    pictures(tmp_path / "b", "images", "masks", ["1"])
    (tmp_path / "b" / "images" / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="images/1.jpg: must be a picture that OpenCV reads"):
        layouts.find("ddti", tmp_path / "b")[0].read()
    pictures(tmp_path / "c", "images", "masks", ["1"])
    cv2.imwrite(str(tmp_path / "c" / "masks" / "1.png"), np.zeros((5, 6), np.uint8))
    with pytest.raises(ValueError, match=r"masks/1.png: must have the size of its image \(40, 60\); got \(5, 6\)"):
        layouts.find("ddti", tmp_path / "c")[0].read()
    brats(tmp_path / "d", "x")
    (tmp_path / "d" / "x" / "x_t2.nii.gz").unlink()
    with pytest.raises(ValueError, match="x_t2.nii.gz: must be a NIfTI volume"):
        layouts.find("brats2021", tmp_path / "d")[0].read()
