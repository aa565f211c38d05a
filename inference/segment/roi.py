"""`roi`: a crop around each box, one pass of a small network over a batch of crops, the masks pasted back."""

from collections.abc import Iterator

import numpy as np

from inference import geometry
from inference.case import Case
from inference.engines import Engine
from inference.segment.labels import LabelImage

# Crops per pass: enough to keep the cores busy, few enough for the activations to stay in the cache.
BATCH = {2: 8, 3: 1}


class RoiSegmenter:
    """Segments images (a 2-D network) or volumes (a 3-D one): every object on its own, then overlaps are settled.

    engine.facts must hold crop_shape (array order), margin and threshold.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self._crop_shape = tuple(int(side) for side in engine.facts["crop_shape"].split(","))
        self._margin = float(engine.facts["margin"])
        self.threshold = float(engine.facts["threshold"])

    def __call__(self, case: Case) -> np.ndarray:
        shape = case.image.shape[: case.ndim]
        result = LabelImage(shape, len(case.boxes))
        for index, (where, probability) in enumerate(self.probabilities(case.image, case.boxes)):
            result.paint(index + 1, where, probability, self.threshold)
        return result.labels

    def probabilities(self, image: np.ndarray, boxes: np.ndarray) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
        """For each box in order: the slices of the image around it, and float32 probabilities 0..1 there.

        image: (H, W), (H, W, 3) or (D, H, W); boxes: (N, 4) px or (N, 6) voxel, x first, inclusive.
        """
        rank = len(self._crop_shape)
        shape = image.shape[:rank]
        for first in range(0, len(boxes), BATCH[rank]):
            batch = boxes[first : first + BATCH[rank]]
            crops = np.stack([geometry.crop(image, box, self._margin, self._crop_shape) for box in batch])
            box_px = np.stack([geometry.box_interval(box)[1] for box in batch]).astype(np.float32)
            for box, values in zip(batch, self._engine(crop=crops, box_px=box_px)):
                yield geometry.paste(values[0], box, self._margin, shape)
