"""Volumes with their truth, out of the published h5, the challenge's npz, or NIfTI."""

import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from evaluation.labels import BROKEN, checked_labels, read_arrays
from inference.case import printable
from training.prepare.intensity import Percentiles, to_uint8
from training.prepare.volume import read_volume as read_nifti

_ENDINGS = (".npy.h5", ".h5", ".npz", ".nii.gz", ".nii")
_NIFTI = (".nii.gz", ".nii")


class VolumeError(ValueError):
    """A volume that cannot be used. The text names the file, the field, the rule and the value."""


@dataclass(frozen=True)
class Source:
    """A case: its name, the file of its image and that of its truth, which may be the same."""

    name: str
    image: Path
    truth: Path


@dataclass(frozen=True)
class Grey:
    """How a NIfTI image's values become 0..1. window: those of black and white; None: percentiles 0.5 and 99.5 of the values
    above 0, in whole steps of 1/255, as `training.prepare` makes them for all but CT."""

    window: tuple[float, float] | None = (-125.0, 275.0)


@dataclass(frozen=True, eq=False)
class Volume:
    """image   (D, H, W), or (H, W) or (H, W, 3) of a picture; uint8 0..255 or float32 0..1
    truth   the labels of the file, integers (D, H, W) or (H, W)
    spacing size of a voxel along the axes of truth in `unit`: mm, voxel or px
    affine  (4, 4) from x, y, z of the array to the file's space; None where the file says nothing
    """

    image: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, ...]
    unit: str
    affine: np.ndarray | None = None


def find_volumes(folder: Path, truth: Path | None = None) -> tuple[list[Source], dict[str, str]]:
    """(cases in the order of their names, what is wrong with those that lack a file).

    h5 and npz hold image and truth, NIfTI come in pairs such as img0001 and label0001. With a folder `truth` the truth of
    each case is there, under the name of its image, where for NIfTI img, label and _0000 do not count. Raises ValueError
    where there is no case at all, or two files for one.
    """
    paths = _files(folder)
    if truth is None:
        labels = [path for path in paths if path.name.endswith(_NIFTI) and path.name.startswith("label")]
        images = _by_case([path for path in paths if path not in labels])
        truths = {name: path for name, path in images.items() if not path.name.endswith(_NIFTI)} | _by_case(labels)
    else:
        images, truths = _by_case(paths), _by_case(_files(truth))
    if not images:
        raise ValueError(f"--volumes must hold files *{', *'.join(_ENDINGS[1:])}; got none in {folder}")
    sources = [Source(name, path, truths[name]) for name, path in sorted(images.items()) if name in truths]
    where = printable(str(truth or folder))
    return sources, {name: f"must have labels in {where}; got none" for name in sorted(images) if name not in truths}


def _files(folder):
    return [path for path in sorted(folder.iterdir()) if path.name.endswith(_ENDINGS) and not path.name.startswith(".")]


def _by_case(paths):
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name.removesuffix(next(ending for ending in _ENDINGS if path.name.endswith(ending)))
        if path.name.endswith(_NIFTI):
            name = re.sub(r"^(img|label)(?=.)|_0000$", "", name)
        if name in found:
            raise ValueError(f"{path.parent} must have one file of {name}; got {found[name].name} and {path.name}")
        found[name] = path
    return found


def read_volume(source: Source, grey: Grey) -> Volume:
    """The case in the order of axes in which its files store it. Raises VolumeError, or another ValueError that names the
    file."""
    if source.image.name.endswith(_NIFTI):
        volume = _read_nifti(source, grey)
    elif source.image.suffix == ".npz":
        volume = _read_npz(source)
    else:
        volume = _read_h5(source)
    if volume.truth.shape != volume.image.shape[: volume.truth.ndim] or volume.image.ndim > 3:
        raise VolumeError(f"{printable(source.truth.name)}: labels must have the image's shape {volume.image.shape}; "
                          f"got {volume.truth.shape}")
    return volume


def _read_nifti(source, grey):
    read = read_nifti(source.image, source.truth, reorient=False)
    if grey.window is None:
        image = to_uint8(read.image, Percentiles())
    else:
        low, high = grey.window
        image = ((np.clip(read.image, low, high) - low) / (high - low)).astype(np.float32)
    return Volume(image, read.labels, read.spacing_xyz_mm[::-1], "mm", nib.load(source.image).affine)


def _read_npz(source):
    name = printable(source.image.name)
    gts = read_arrays(source.truth, ("gts", "spacing"))
    try:
        with np.load(source.image, allow_pickle=False) as stored:
            image, spacing = stored["imgs"], stored["spacing"] if "spacing" in stored.files else gts.get("spacing")
    except BROKEN as error:
        raise VolumeError(f"{name}: must be an npz with imgs; got {' '.join(str(error).split())}") from error
    truth = gts["gts"]
    if image.ndim == truth.ndim + 1 and image.shape[-1] == 3:
        image = image if (image != image[..., :1]).any() else np.ascontiguousarray(image[..., 0])
    if image.dtype != np.uint8:
        raise VolumeError(f"{name}: imgs must be uint8; got {image.dtype}")
    if truth.ndim == 2:
        return Volume(image, truth, (1.0, 1.0), "px")
    if spacing is None:
        return Volume(image, truth, (1.0,) * 3, "voxel")
    spacing_zyx_mm = _checked_spacing(spacing, name)
    return Volume(image, truth, spacing_zyx_mm, "mm", np.diag([*spacing_zyx_mm[::-1], 1.0]))


def _read_h5(source):
    """As SAMed publishes its test set: `image` (D, H, W) in 0..1 and `label`; `training.prepare synapse` adds the spacing."""
    import h5py

    name = printable(source.image.name)
    try:
        with h5py.File(source.image) as file:
            image, labels = np.asarray(file["image"], np.float32), np.asarray(file["label"])
            spacing = file.attrs.get("spacing_xyz_mm")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise VolumeError(f"{name}: must be HDF5 with image and label; got {' '.join(str(error).split())}") from error
    truth = checked_labels(labels, f"{name}: label")
    # The published program wants no more than 3: splines overshoot.
    if not (image.min(initial=0) >= -1 and image.max(initial=0) <= 3):
        raise VolumeError(f"{name}: image must hold grey values 0..1; got {image.min():g}..{image.max():g}")
    if spacing is None:
        return Volume(image, truth, (1.0,) * truth.ndim, "voxel")
    spacing_zyx_mm = _checked_spacing(spacing, name)
    return Volume(image, truth, spacing_zyx_mm, "mm", np.diag([*spacing_zyx_mm[::-1], 1.0]))


def _checked_spacing(spacing_xyz_mm, name):
    spacing = np.asarray(spacing_xyz_mm, float)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise VolumeError(f"{name}: spacing must be 3 positive numbers, x, y, z in mm; got {spacing.tolist()}")
    return tuple(spacing[::-1].tolist())
