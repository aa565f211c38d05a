"""A label image that many objects are painted into, each pixel going to the object that is surest of it."""

import numpy as np

PART = 0.95
"""Share of an object's mask: an object that lies by so much of it in another's is a part of the other."""


class LabelImage:
    """labels: uint8 (uint16 for more than 255 objects) of `shape`, 0 background.

    A part of another object (see PART), as a nucleus is of its cell, keeps its pixels however sure the other is of them.
    Confidence is kept in 1/255 steps, one byte a pixel: a volume's would otherwise outweigh the volume.
    """

    def __init__(self, shape: tuple[int, ...], objects: int):
        self.labels = np.zeros(shape, np.uint8 if objects < 256 else np.uint16)
        self._confidence = np.zeros(shape, np.uint8)
        self._areas: dict[tuple[int | None, int], int] = {}

    def paint(self, label: int, where: tuple[int | slice, ...], probability: np.ndarray, threshold: float) -> np.ndarray:
        """Gives `label` the pixels of `where` whose probability exceeds the threshold and every earlier object's.

        where: slices, or in a volume the number of a plane first; an object is painted once, whole, or once on each plane.
        probability: float32 0..1, of the shape that `where` cuts. Returns the object's own mask there, overlaps included.
        """
        mask = probability > threshold
        confidence = np.rint(probability * 255).astype(np.uint8)
        plane = None if isinstance(where[0], slice) else int(where[0])
        won = self._settle(plane, label, mask, mask & (confidence > self._confidence[where]), self.labels[where])
        self.labels[where][won] = label
        self._confidence[where][won] = confidence[won]
        return mask

    def _settle(self, plane: int | None, label: int, mask: np.ndarray, won: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """`won`, but for the pixels of objects that the new one is a part of, or that are parts of it. labels: until now."""
        area = self._areas[plane, label] = np.count_nonzero(mask)
        claimed = labels[mask]
        shared = np.bincount(claimed[claimed > 0])
        for other in np.flatnonzero(shared):
            theirs = self._areas[plane, other]
            if shared[other] >= PART * min(area, theirs) and area != theirs:
                contested = mask & (labels == other)
                won = won | contested if area < theirs else won & ~contested
        return won
