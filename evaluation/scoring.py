"""The score of one case: every object's metrics, gathered by the challenge's rule and, beside it, strictly.

The challenge's rule (bowang-lab/MedSAM, branch LiteMedSAM, evaluation/compute_metrics.py) has four peculiarities that
are reproduced so that numbers compare with published ones:
- objects are 1..max(truth), so a label that neither mask has is NaN and makes the case NaN;
- NSD is 0 unless the case's DSC is above 0.2, so also where that is NaN;
- a volume's spacing is used as stored, x y z, although the array's axes are z, y, x;
- a 2-D image is a volume one voxel thick, so a mask's whole area counts as surface, not its contour alone.
The strict columns mend all four: only labels that the truth has, NSD always computed, spacing turned to the order of
the axes, contours in 2-D. IoU and HD95 are strict.
"""
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from evaluation.metrics import dice, iou, surfaces

TOLERANCE = 2.0  # mm in 3-D, px in 2-D; the challenge has this one value for every modality
NSD_ABOVE_DSC = 0.2


@dataclass(frozen=True)
class Score:
    """Means over a case's objects: dsc, nsd, iou 0..1; hd95 in px (2-D) or mm (3-D). NaN where there is no object."""

    dsc: float
    nsd: float
    dsc_strict: float
    nsd_strict: float
    iou: float
    hd95: float


METRICS = tuple(Score.__dataclass_fields__)


def score_case(gts: np.ndarray, segs: np.ndarray, spacing_xyz_mm=None) -> Score:
    """Score of `segs` against `gts`, label images of one shape, (H, W) or (D, H, W), any integer dtype, 0 background.

    `spacing_xyz_mm` is a volume's voxel size in mm as the npz stores it; a 2-D image has none (its unit is px).
    An object of the truth that `segs` lacks has the longest possible HD95, the image's diagonal. Raises ValueError
    when the shapes differ or a volume comes without spacing.
    """
    check_shapes(gts, segs, spacing_xyz_mm)
    spacing = tuple(spacing_xyz_mm)[::-1] if gts.ndim == 3 else (1.0, 1.0)
    objects = list(object_masks(gts, segs))
    present = [(truth, prediction) for truth, prediction in objects if truth.any()]
    dsc = mean(dice(*masks) for masks in objects)
    strict = [surfaces(*masks, spacing) for masks in present]
    return Score(
        dsc=dsc,
        nsd=challenge_nsd(objects, spacing_xyz_mm) if dsc > NSD_ABOVE_DSC else 0.0,
        dsc_strict=mean(dice(*masks) for masks in present),
        nsd_strict=mean(surface.nsd(TOLERANCE) for surface in strict),
        iou=mean(iou(*masks) for masks in present),
        hd95=mean(min(surface.hd95(), diagonal(gts.shape, spacing)) for surface in strict),
    )


def worst_score(gts: np.ndarray, spacing_xyz_mm=None) -> Score:
    """What a case without a usable prediction gets: 0, and for HD95 the image's diagonal."""
    spacing = tuple(spacing_xyz_mm)[::-1] if gts.ndim == 3 else (1.0, 1.0)
    return Score(0.0, 0.0, 0.0, 0.0, 0.0, diagonal(gts.shape, spacing))


def object_masks(gts: np.ndarray, segs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For every label 1..max(gts): the boolean masks in `gts` and `segs`, cropped to the bounding box of their union.

    Hundreds of small objects in a large image cost no more than their own pixels. A label that neither has gives two
    empty masks.
    """
    count = int(gts.max(initial=0))
    if count == 0:
        return
    boxes = zip(ndimage.find_objects(gts, max_label=count), ndimage.find_objects(segs, max_label=count), strict=True)
    for label, found in enumerate(boxes, start=1):
        window = union([box for box in found if box is not None], gts.ndim)
        yield gts[window] == label, segs[window] == label


def union(boxes: list[tuple[slice, ...]], ndim: int) -> tuple[slice, ...]:
    """The smallest box around all `boxes` (a slice per axis); an empty one where there are none."""
    if not boxes:
        return (slice(0, 0),) * ndim
    return tuple(slice(min(part.start for part in parts), max(part.stop for part in parts))
                 for parts in zip(*boxes, strict=True))


def challenge_nsd(objects: list[tuple[np.ndarray, np.ndarray]], spacing_xyz_mm) -> float:
    """Mean NSD by the challenge's rule; see the head of this file."""
    nsd = []
    for truth, prediction in objects:
        if truth.ndim == 2:
            surface = surfaces(truth[..., None], prediction[..., None], (1.0, 1.0, 1.0))
        else:
            surface = surfaces(truth, prediction, spacing_xyz_mm)
        nsd.append(surface.nsd(TOLERANCE))
    return mean(nsd)


def diagonal(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Length of an image's diagonal, in the unit of `spacing` (same order as `shape`)."""
    return float(np.linalg.norm(np.multiply(shape, spacing)))


def mean(values) -> float:
    """Plain mean of an iterable; NaN where it is empty or holds a NaN."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def check_shapes(gts: np.ndarray, segs: np.ndarray, spacing_xyz_mm) -> None:
    """Raise ValueError unless `gts` and `segs` are one 2-D shape, or one 3-D shape with its spacing."""
    if gts.ndim not in (2, 3):
        raise ValueError(f"gts must be (H, W) or (D, H, W); got {gts.shape}")
    if segs.shape != gts.shape:
        raise ValueError(f"segs must have the shape of gts {gts.shape}; got {segs.shape}")
    if gts.ndim == 3 and spacing_xyz_mm is None:
        raise ValueError("spacing is missing; a volume needs three numbers x, y, z in mm")
