"""An image and its labels out of NIfTI files, in one orientation."""

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations

from inference.formats.orientation import Turn, placed_affine

MAX_VOXELS = 1 << 30
MAX_LABEL = 65_535
_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


class VolumeError(ValueError):
    """A volume that cannot be used. The text names the rule and the value, the file where one file is to blame."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An image with the labels of its voxels.

    image   (D, H, W), the file's own type or float32/float64 where it scales its values
    labels  (D, H, W) uint16, 0 background
    spacing_xyz_mm  distance of voxels along W, H and D
    stored  the file's own orientation, such as "RAS"; "unknown" where it says nothing, and the axes are kept
    tilt_degrees    angle between the array's axes and the patient's, at most 45 or so: nothing is resampled
    """

    image: np.ndarray
    labels: np.ndarray
    spacing_xyz_mm: tuple[float, float, float]
    stored: str
    tilt_degrees: float


def read_volume(image_path: Path, labels_path: Path, reorient: bool = True) -> Volume:
    """Reads a pair of NIfTI files that lie on the same grid.

    reorient: turn and mirror the axes as inference does, see Turn; False keeps the order in which the file stores them, as
    programs that read by SimpleITK without a look at the direction do. Raises VolumeError.
    """
    image, labels = _open(image_path), _open(labels_path)
    if image.shape != labels.shape:
        raise VolumeError(f"labels must have the image's shape {image.shape}; got {labels.shape}")
    affine = placed_affine(image)
    known = affine is not None
    if known and placed_affine(labels) is not None:
        _check_same_place(image, labels)
    try:
        turn = Turn(affine, image.shape)
    except ValueError as error:
        raise VolumeError(f"{image_path.name}: {error}") from error
    stored = "".join(orientations.aff2axcodes(affine)) if known else "unknown"
    if not reorient:
        turn = Turn(None, image.shape)
    return Volume(turn.zyx(_values(image, image_path)), turn.zyx(_labels(labels, labels_path)),
                  turn.xyz(_spacing_ijk_mm(image)), stored, _tilt_degrees(affine) if known else 0.0)


def _open(path: Path):
    try:
        opened = nib.load(path)
    except Exception as error:  # nibabel's own, and whatever its decompressor raises
        raise VolumeError(f"{path.name}: must be a NIfTI file; got {' '.join(str(error).split())[:160]}") from error
    shape = opened.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape or math.prod(shape) > MAX_VOXELS:
        raise VolumeError(f"{path.name}: must be a volume of three axes and at most {MAX_VOXELS:,} voxels; got {opened.shape}")
    if opened.get_data_dtype().kind not in "uif":
        raise VolumeError(f"{path.name}: must hold real numbers; got {opened.get_data_dtype()}")
    return opened if shape == opened.shape else opened.slicer[(..., *[0] * (len(opened.shape) - 3))]


def _values(opened, path: Path) -> np.ndarray:
    try:
        values = np.asanyarray(opened.dataobj)
    except Exception as error:  # whatever its decompressor raises
        raise VolumeError(f"{path.name}: must be a whole file; got {type(error).__name__}: "
                          f"{' '.join(str(error).split())[:160]}") from error
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise VolumeError(f"{path.name}: must hold finite values; got {int((~np.isfinite(values)).sum()):,} that are not")
    return values


def _labels(opened, path: Path) -> np.ndarray:
    values = _values(opened, path)
    low, high = values.min(), values.max()
    if low < 0 or high > MAX_LABEL:
        raise VolumeError(f"{path.name}: labels must be 0..{MAX_LABEL}; got {low:g}..{high:g}")
    labels = values.astype(np.uint16)
    if values.dtype.kind == "f" and (labels != values).any():
        raise VolumeError(f"{path.name}: labels must be whole numbers; got {values[labels != values][0]:g}")
    return labels


def _spacing_ijk_mm(opened) -> tuple[float, ...]:
    """Along the axes as the file stores them."""
    spacing = [float(zoom) * _MM[opened.header.get_xyzt_units()[0]] for zoom in opened.header.get_zooms()[:3]]
    if not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        raise VolumeError(f"voxels must have a size along each axis; got {spacing} mm")
    return tuple(spacing)


def _check_same_place(image, labels) -> None:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape], indexing="ij")).reshape(3, -1)
    apart = (image.affine - labels.affine)[:3] @ np.vstack([corners, np.ones(8)])
    furthest, step = np.linalg.norm(apart, axis=0).max(), np.linalg.norm(image.affine[:3, :3], axis=0).min()
    if not furthest <= step / 2:
        raise VolumeError(f"labels must lie where the image does, to half a voxel ({step / 2:g}); got {furthest:g} apart")


def _tilt_degrees(affine: np.ndarray) -> float:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0).min(), 0, 1))))
