"""A label image that many objects are painted into, each pixel going to the object that is surest of it."""

import numpy as np


class LabelImage:
    """labels: uint8 (uint16 for more than 255 objects) of `shape`, 0 background.

    Confidence is kept in 1/255 steps, one byte a pixel: a volume's would otherwise outweigh the volume.
    """

    def __init__(self, shape: tuple[int, ...], objects: int):
        self.labels = np.zeros(shape, np.uint8 if objects < 256 else np.uint16)
        self._confidence = np.zeros(shape, np.uint8)

    def paint(self, label: int, where: tuple[slice, ...], probability: np.ndarray, threshold: float) -> np.ndarray:
        """Gives `label` the pixels of `where` whose probability exceeds the threshold and every earlier object's.

        probability: float32 0..1, of the shape that `where` cuts. Returns the object's own mask there, overlaps included.
        """
        mask = probability > threshold
        confidence = np.rint(probability * 255).astype(np.uint8)
        won = mask & (confidence > self._confidence[where])
        self.labels[where][won] = label
        self._confidence[where][won] = confidence[won]
        return mask
