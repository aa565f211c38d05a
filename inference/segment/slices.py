"""A volume by a 2-D network: from the middle slice of each box outwards, each slice's mask giving the next one's box."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from inference import geometry
from inference.case import Case
from inference.segment.labels import LabelImage


class Planar(Protocol):
    """A way of segmenting images that can go through a volume.

    threshold  probability above which a pixel belongs to an object
    """

    threshold: float

    def prepare(self, volume: np.ndarray, order: list[int]) -> Iterator[Any]:
        """What `probabilities` takes for an image, for the slices `order` of `volume` (D, H, W), one after the other."""

    def probabilities(self, prepared: Any, boxes: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
        """For each of the boxes (N, 4) px: its index, the slices of the image around it, float32 probabilities there."""

    def loosen_px(self, shape: tuple[int, ...]) -> float:
        """By how much the box of a mask is loosened on each side before it prompts the next slice, of `shape` (H, W)."""


def spans(case: Case, exclude_z_max: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first, the middle and the last slice of each box of a volume, all inside it. exclude_z_max: the last is the one
    before z_max, but of a box of one slice."""
    last = case.image.shape[0] - 1
    low, high = np.clip(case.boxes[:, 2], 0, last), np.clip(case.boxes[:, 5], 0, last)
    middle = (low + high) // 2
    return low, middle, np.maximum(high - (high == case.boxes[:, 5]), middle) if exclude_z_max else high


class SliceSegmenter:
    """The propagation of the challenge's baselines (LiteMedSAM, CVPR24_LiteMedSAM_infer.py; MedficientSAM, main.cpp).

    Slices z_mid = (z_min + z_max) // 2 up to z_max, then z_mid - 1 down to z_min; where a mask is empty the given box is
    used again. Every box stays inside the given one; a slice is prepared once for all objects on it, whose boxes are one
    batch. z_max is the last slice, as in LiteMedSAM; with `exclude_z_max` the one after it, as in MedficientSAM;
    a box of one slice keeps it.
    """

    def __init__(self, planar: Planar, exclude_z_max: bool = False):
        self._planar, self._exclude_z_max = planar, exclude_z_max

    def __call__(self, case: Case) -> np.ndarray:
        given = case.boxes[:, [0, 1, 3, 4]]
        low, middle, high = spans(case, self._exclude_z_max)
        upward = [(z, np.flatnonzero((middle <= z) & (z <= high))) for z in range(middle.min(), high.max() + 1)]
        downward = [(z, np.flatnonzero((low <= z) & (z < middle))) for z in range(middle.max() - 1, low.min() - 1, -1)]
        steps = [(z, objects) for z, objects in upward + downward if len(objects)]
        result = LabelImage(case.image.shape, len(case.boxes))
        boxes, middle_boxes = given.copy(), given.copy()
        for (z, objects), prepared in zip(steps, self._planar.prepare(case.image, [z for z, _ in steps])):
            starting_down = objects[z == middle[objects] - 1]
            boxes[starting_down] = middle_boxes[starting_down]
            self._slice(prepared, z, objects, given, boxes, result)
            at_middle = objects[middle[objects] == z]
            middle_boxes[at_middle] = boxes[at_middle]
        return result.labels

    def _slice(self, prepared, z, objects, given, boxes, result):
        """Segments `objects` (indices) on slice z with their rows of `boxes` and leaves the next slice's boxes there."""
        loosen_px = self._planar.loosen_px(result.labels.shape[1:])
        for row, where, probability in self._planar.probabilities(prepared, boxes[objects]):
            index = objects[row]
            x_min, y_min, x_max, y_max = given[index]
            rows, columns = where
            inside = (slice(max(0, y_min - rows.start), max(0, y_max + 1 - rows.start)),
                      slice(max(0, x_min - columns.start), max(0, x_max + 1 - columns.start)))
            rows = slice(max(rows.start, y_min), min(rows.stop, y_max + 1))
            columns = slice(max(columns.start, x_min), min(columns.stop, x_max + 1))
            mask = result.paint(index + 1, (z, rows, columns), probability[inside], self._planar.threshold)
            box = geometry.mask_box(mask)
            if box is None:
                boxes[index] = given[index]
            else:
                box = box + [columns.start, rows.start, columns.start, rows.start]
                boxes[index, :2] = np.maximum(box[:2] - loosen_px, given[index, :2])
                boxes[index, 2:] = np.minimum(box[2:] + loosen_px, given[index, 2:])
