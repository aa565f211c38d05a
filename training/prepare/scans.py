"""Scans on the grid of 256 x 256 that few-shot segmentation of the abdomen is measured on.

The rules are those of SSL-ALPNet (Ouyang et al. 2020, arXiv 2007.09886), whose data FS-MedSAM2 takes. Where they speak of
resampling, voxel i of the result lies at voxel i x step of the source, and the result has one voxel more than fit; what lies
outside the source is 0.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from evaluation.labels import read_arrays
from training.prepare.intensity import Window
from training.prepare.volume import read_volume

SIDE = 256
LAYOUTS = ("synapse", "chaos", "npz")
CT_WINDOW = Window(level=75, width=400)
_CT_BORDER = 32 / 512
_MR_BRIGHTEST_PERCENT = 0.5
_MR_SPACING_ZYX_MM = (7.7, 1.25, 1.25)
_SUFFIXES = (".nii.gz", ".nii", ".npz")


@dataclass(frozen=True)
class Source:
    """A scan's two files, which for npz may be one. scan: the last number in their names, by which they belong together."""

    scan: str
    image: Path
    labels: Path


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan on its grid. image float32 (D, 256, 256), not yet brought to mean 0; masks: label -> bool (D, 256, 256).
    spacing_xyz_mm and stored are the source's, where it says them."""

    image: np.ndarray
    masks: dict[int, np.ndarray]
    spacing_xyz_mm: tuple[float, ...] = ()
    stored: str = ""


def find_scans(layout: str, images: Path, labels: Path, pattern: str) -> list[Source]:
    """The scans whose image's name matches a glob, in the order of their numbers. Raises ValueError."""
    suffixes = _SUFFIXES[2:] if layout == "npz" else _SUFFIXES[:2]
    image_of, labels_of = _by_number(images, pattern, suffixes), _by_number(labels, pattern, suffixes)
    if layout != "npz" and images.samefile(labels):
        raise ValueError(f"--images and --labels must be two folders; got {images} twice")
    if not image_of:
        raise ValueError(f"{images} must hold files {pattern} that end in {' or '.join(suffixes)}; got none")
    if alone := sorted(image_of.keys() ^ labels_of.keys()):
        where = "labels" if alone[0] in image_of else "image"
        raise ValueError(f"scan {alone[0]} must have an image in {images} and labels in {labels}, both with this last number "
                         f"in their names; got no {where}")
    return [Source(str(number), image_of[number], labels_of[number]) for number in sorted(image_of)]


def _by_number(folder: Path, pattern: str, suffixes: tuple[str, ...]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(pattern)):
        suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)
        if suffix is None or path.name.startswith("."):
            continue
        numbers = re.findall(r"\d+", path.name.removesuffix(suffix))
        if not numbers:
            raise ValueError(f"{path.name}: must have a number in its name, which says which scan it is")
        if (number := int(numbers[-1])) in found:
            raise ValueError(f"{folder} must have one file whose last number is {number}; got {found[number].name} and "
                             f"{path.name}")
        found[number] = path
    return found


def read_scan(layout: str, source: Source, names: tuple[int, ...], reorient: bool) -> Scan:
    """Reads a scan and puts it on its grid. names: the labels wanted, those without a voxel are left out.

    synapse  Hounsfield units -125..275 to 0..255; 32 of 512 px cut off each side; the rest to 256 x 256
    chaos    the brightest 0.5 % cut to one value; voxels of 1.25 x 1.25 x 7.7 mm; the middle 256 x 256
    npz      the project's cases, imgs and gts (D, H, W): made square by the lowest value around it; to 256 x 256

    Raises ValueError or OSError. reorient: see `read_volume`.
    """
    if layout == "npz":
        return _of_npz(source, names)
    volume = read_volume(source.image, source.labels, reorient)
    image, labels = np.asarray(volume.image, np.float32), volume.labels
    if layout == "synapse":
        image, place = _windowed(image), _cut_border(image.shape)
    else:
        image = np.minimum(image, np.percentile(image, 100 - _MR_BRIGHTEST_PERCENT))
        place = _middle(image.shape, volume.spacing_xyz_mm[::-1])
    masks = _masks(labels, names, place)
    return Scan(place(image), masks, volume.spacing_xyz_mm, volume.stored)


def _of_npz(source: Source, names: tuple[int, ...]) -> Scan:
    image = read_arrays(source.image, ("imgs",))["imgs"].astype(np.float32)
    labels = read_arrays(source.labels, ("gts",))["gts"]
    if image.ndim != 3 or image.shape != labels.shape:
        raise ValueError(f"{source.image.name}: imgs and gts must be a volume (D, H, W) and its labels; got {image.shape} and "
                         f"{labels.shape}")
    side = max(image.shape[1:])
    before = [(side - length) // 2 for length in image.shape[1:]]
    around = [(0, 0), *((low, side - length - low) for low, length in zip(before, image.shape[1:]))]
    step = side / SIDE

    def place(volume: np.ndarray) -> np.ndarray:
        square = np.pad(volume, around, constant_values=volume.min())
        return ndimage.affine_transform(square, (1, step, step), (0, step / 2 - 0.5, step / 2 - 0.5),
                                        (len(square), SIDE, SIDE), order=1, mode="nearest")

    return Scan(place(image), _masks(labels, names, place))


def _masks(labels: np.ndarray, names: tuple[int, ...], place: Callable) -> dict[int, np.ndarray]:
    masks = {name: place((labels == name).astype(np.float32)) > 0.5 for name in names}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _windowed(image: np.ndarray) -> np.ndarray:
    """The window's ends, or what the scan has within them, to 0 and 255."""
    image = np.clip(image, CT_WINDOW.level - CT_WINDOW.width / 2, CT_WINDOW.level + CT_WINDOW.width / 2)
    low, high = image.min(), image.max()
    return (image - low) / max(high - low, 1e-8) * 255


def _cut_border(shape: tuple[int, ...]) -> Callable:
    window = tuple(slice(int(side * _CT_BORDER), side - int(side * _CT_BORDER)) for side in shape[1:])
    step_zyx = (1.0, *((part.stop - part.start) / SIDE for part in window))

    def place(volume: np.ndarray) -> np.ndarray:
        return resampled(volume[:, *window], step_zyx)[:, :SIDE, :SIDE]

    return place


def _middle(shape: tuple[int, ...], spacing_zyx_mm: tuple[float, ...]) -> Callable:
    step_zyx = tuple(new / old for new, old in zip(_MR_SPACING_ZYX_MM, spacing_zyx_mm))

    def place(volume: np.ndarray) -> np.ndarray:
        volume = resampled(volume, step_zyx)
        padded = np.pad(volume, [(0, 0), (SIDE, SIDE), (SIDE, SIDE)], constant_values=volume.min())
        rows, columns = (slice(SIDE + side // 2 - SIDE // 2, SIDE + side // 2 + SIDE // 2) for side in volume.shape[1:])
        return padded[:, rows, columns]

    return place


def resampled(volume: np.ndarray, step_zyx: tuple[float, ...]) -> np.ndarray:
    """`volume` (D, H, W) at every step_zyx-th voxel, linear in between; see the head of this file."""
    shape = tuple(int(side / step + 1) for side, step in zip(volume.shape, step_zyx))
    result = ndimage.affine_transform(volume, step_zyx, output_shape=shape, order=1, mode="nearest")
    for axis, (side, step) in enumerate(zip(volume.shape, step_zyx)):
        inside = np.arange(shape[axis]) * step < side - 0.5
        result *= inside.reshape([-1 if a == axis else 1 for a in range(3)])
    return result
