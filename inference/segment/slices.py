"""A volume by a 2-D network: from the middle slice of each box outwards, each slice's mask giving the next one's box."""

import numpy as np

from inference import geometry
from inference.case import Case
from inference.segment.labels import LabelImage
from inference.segment.roi import RoiSegmenter

# A mask may grow from slice to slice: its box is loosened by this much, as the network's training boxes were.
LOOSEN_PX = 3


class SliceSegmenter:
    """The propagation of the challenge's baselines (reference: LiteMedSAM's inference script), z bounds inclusive.

    Slices z_mid = (z_min + z_max) // 2 up to z_max, then z_mid - 1 down to z_min; where a mask is empty the given box is
    used again. Every box stays inside the given one, and all objects of a slice go through the network in one batch.
    """

    def __init__(self, planar: RoiSegmenter):
        self._planar = planar

    def __call__(self, case: Case) -> np.ndarray:
        depth = case.image.shape[0]
        given = case.boxes[:, [0, 1, 3, 4]]
        low, high = np.clip(case.boxes[:, 2], 0, depth - 1), np.clip(case.boxes[:, 5], 0, depth - 1)
        middle = (low + high) // 2
        result = LabelImage(case.image.shape, len(case.boxes))
        upward, middle_boxes = given.copy(), given.copy()
        for z in range(middle.min(), high.max() + 1):
            self._slice(case, z, np.flatnonzero((middle <= z) & (z <= high)), given, upward, result)
            middle_boxes[middle == z] = upward[middle == z]
        downward = middle_boxes
        for z in range(middle.max() - 1, low.min() - 1, -1):
            self._slice(case, z, np.flatnonzero((low <= z) & (z < middle)), given, downward, result)
        return result.labels

    def _slice(self, case, z, objects, given, boxes, result):
        """Segments `objects` (indices) on slice z with their rows of `boxes` and leaves the next slice's boxes there."""
        plane = case.image[z]
        for row, where, probability in self._planar.probabilities(plane, boxes[objects]):
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
                boxes[index, :2] = np.maximum(box[:2] - LOOSEN_PX, given[index, :2])
                boxes[index, 2:] = np.minimum(box[2:] + LOOSEN_PX, given[index, 2:])
