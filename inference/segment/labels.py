"""A label image that many objects are painted into, each pixel going to the object that is surest of it."""

import numpy as np


class LabelImage:
    """labels: uint8 (uint16 for more than 255 objects) of `shape`, 0 background.

    part: an object that lies by this share of its mask in another's is a part of it, as a nucleus is of its cell, and keeps
    its pixels however sure the other is of them; None where surety alone decides. Confidence is kept in 1/255 steps, one byte
    a pixel: a volume's would otherwise outweigh the volume.
    """

    def __init__(self, shape: tuple[int, ...], objects: int, part: float | None = None):
        self.labels = np.zeros(shape, np.uint8 if objects < 256 else np.uint16)
        self._confidence = np.zeros(shape, np.uint8)
        self._part, self._areas = part, np.zeros(objects + 1, np.int64)

    def paint(self, label: int, where: tuple[slice, ...], probability: np.ndarray, threshold: float) -> np.ndarray:
        """Gives `label` the pixels of `where` whose probability exceeds the threshold and every earlier object's.

        probability: float32 0..1, of the shape that `where` cuts. With `part`, an object is painted once, whole. Returns the
        object's own mask there, overlaps included.
        """
        mask = probability > threshold
        confidence = np.rint(probability * 255).astype(np.uint8)
        won = mask & (confidence > self._confidence[where])
        if self._part is not None:
            won = self._settle(label, mask, won, self.labels[where])
        self.labels[where][won] = label
        self._confidence[where][won] = confidence[won]
        return mask

    def _settle(self, label: int, mask: np.ndarray, won: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """`won`, but for the pixels of objects that the new one is a part of, or that are parts of it."""
        area = np.count_nonzero(mask)
        self._areas[label] = area
        claimed = labels[mask]
        shared = np.bincount(claimed[claimed > 0], minlength=len(self._areas))
        for other in np.flatnonzero(shared):
            if shared[other] >= self._part * min(area, self._areas[other]) and area != self._areas[other]:
                theirs = mask & (labels == other)
                won = won | theirs if area < self._areas[other] else won & ~theirs
        return won
