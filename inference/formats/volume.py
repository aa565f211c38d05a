"""A stored volume to a Case, and its labels back to the stored grid: what NIfTI files and DICOM series share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference.case import Case, CaseError, check_ndim
from inference.formats import orientation
from inference.formats.intensity import to_grey
from inference.formats.sidecar import read_boxes


def to_case(name: str, values: np.ndarray, affine: np.ndarray | None, spacing_ijk_mm: tuple[float, ...] | None, sidecar: Path,
            window: tuple[float, float] | None, is_ct: bool = False) -> tuple[Case, Callable[[np.ndarray], np.ndarray]]:
    """(Case, a function that takes labels of its spatial shape back to (ni, nj, nk)).

    values  (ni, nj, nk), real and finite. With nk = 1 it is a slice and becomes an image (H, W), else a volume (D, H, W).
    affine  (4, 4) to mm, see `orientation.Turn`; None where nobody knows
    sidecar  the file of boxes: along i and j for a slice, along i, j and k for a volume; None becomes of one that is missing
    window, is_ct  see `intensity.to_grey`

    Raises CaseError.
    """
    is_slice = values.shape[2] == 1
    try:
        turn = orientation.Turn(affine, values.shape, orientation.SLICE if is_slice else orientation.VOLUME)
    except ValueError as error:
        raise CaseError(str(error)) from error
    boxes = read_boxes(sidecar, values.shape[1::-1] if is_slice else values.shape[::-1])
    if boxes is not None:
        if is_slice:
            boxes = np.insert(boxes, (2, 4), 0, axis=1)
        boxes = turn.boxes(boxes)
    image = turn.zyx(to_grey(values.T, window, is_ct).T)
    if not is_slice:
        case = Case(name, image, boxes, spacing_ijk_mm and turn.xyz(spacing_ijk_mm))
        check_ndim(case, 3)
        return case, turn.ijk
    through = turn.axes[2]  # which of x, y and z has a single voxel
    if boxes is not None:
        boxes = np.delete(boxes, (through, through + 3), axis=1)
    return Case(name, image.squeeze(2 - through), boxes), lambda segs: turn.ijk(np.expand_dims(segs, 2 - through))
