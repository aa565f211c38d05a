"""What a box alone gives, and what a classic gives: the yardsticks that a trained model must beat.

Both turn a case into masks like a model does: `segs`, uint16, (H, W) or (D, H, W), object i of the boxes is i + 1.
Larger boxes are painted first, so that an object inside another one stays visible; the better choice for a yardstick.
"""
from collections.abc import Callable

import cv2
import numpy as np

from inference.case import Case

MARGIN = 0.2  # of the box's side: the surroundings that GrabCut sees on either side are those that roi2d sees
MARGIN_AT_LEAST_PX = 8
ITERATIONS = 5
# GrabCut fits five Gaussians to either side; with fewer pixels than this they mean nothing.
FEWEST_PIXELS = 25


def ellipse(case: Case) -> np.ndarray:
    """Each box's inscribed ellipse, in 3-D its ellipsoid."""
    return paint(case, lambda window, box: inscribed(box, window))


def grabcut(case: Case) -> np.ndarray:
    """OpenCV's GrabCut (Rother et al. 2004) started from each box, 5 iterations; a volume slice by slice with the
    box's x-y part. Where it cannot run or finds nothing, the inscribed ellipse stands. Equal in every run."""
    return paint(case, lambda window, box: grabcut_object(case.image, window, box))


BASELINES: dict[str, Callable[[Case], np.ndarray]] = {"ellipse": ellipse, "grabcut": grabcut}


def paint(case: Case, mask_of: Callable) -> np.ndarray:
    """Label image made of `mask_of(window, box)` for every box: `window` is the part of the image inside the box
    (slices), `box` the whole box, (ndim, 2) first and last index per array axis; the mask has the window's shape."""
    shape = case.image.shape[: case.ndim]
    segs = np.zeros(shape, np.uint16)
    bounds = np.stack([case.boxes[:, : case.ndim], case.boxes[:, case.ndim:]], axis=2)[:, ::-1].astype(np.int64)
    sizes = np.prod(bounds[:, :, 1] - bounds[:, :, 0] + 1, axis=1)
    for index in np.argsort(-sizes, kind="stable"):
        box = bounds[index]
        window = tuple(slice(max(first, 0), max(min(last + 1, length), 0))
                       for (first, last), length in zip(box, shape, strict=True))
        segs[window][mask_of(window, box)] = index + 1
    return segs


def inscribed(box: np.ndarray, window: tuple[slice, ...]) -> np.ndarray:
    """Boolean mask of `window`: voxels whose centre lies in the ellipse (ellipsoid) inscribed in `box`, whose outline
    runs along the outer edges of its first and last voxels."""
    distance = 0.0
    for axis, ((first, last), part) in enumerate(zip(box, window, strict=True)):
        offset = (np.arange(part.start, part.stop) - (first + last) / 2) / ((last - first + 1) / 2)
        distance = distance + np.expand_dims(offset**2, [other for other in range(len(box)) if other != axis])
    return distance <= 1


def grabcut_object(image: np.ndarray, window: tuple[slice, ...], box: np.ndarray) -> np.ndarray:
    """Boolean mask of `window` (see `paint`) of the uint8 image (H, W), (H, W, 3) or volume (D, H, W)."""
    if len(box) == 2:
        mask = grabcut_plane(image, window)
    else:
        planes = [grabcut_plane(image[z], window[1:]) for z in range(window[0].start, window[0].stop)]
        mask = np.stack(planes) if planes else np.zeros((0, *box_shape(window[1:])), bool)
    return mask if mask.any() else inscribed(box, window)


def grabcut_plane(image: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """GrabCut of one uint8 picture (H, W) or (H, W, 3) started from the rectangle `window` (rows, columns); a boolean
    mask of the rectangle, empty where the rectangle is too small or leaves too little of the picture outside."""
    rows, columns = box_shape(window)
    crop = tuple(slice(max(part.start - margin_px(length), 0), part.stop + margin_px(length))
                 for part, length in zip(window, (rows, columns), strict=True))
    picture = image[crop]
    inside = tuple(slice(part.start - outer.start, part.stop - outer.start)
                   for part, outer in zip(window, crop, strict=True))
    mask = np.full(picture.shape[:2], cv2.GC_BGD, np.uint8)
    mask[inside] = cv2.GC_PR_FGD
    if min(rows * columns, mask.size - rows * columns) < FEWEST_PIXELS:
        return np.zeros((rows, columns), bool)
    picture = np.ascontiguousarray(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))
    cv2.setRNGSeed(0)  # its k-means starts at random
    cv2.grabCut(picture, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (mask[inside] & 1).astype(bool)  # GC_FGD and GC_PR_FGD are the odd ones


def margin_px(side: int) -> int:
    """Margin in px on either side of a box that is `side` px long."""
    return max(round(side * MARGIN), MARGIN_AT_LEAST_PX)


def box_shape(window: tuple[slice, ...]) -> tuple[int, ...]:
    """Lengths of a tuple of slices."""
    return tuple(part.stop - part.start for part in window)
