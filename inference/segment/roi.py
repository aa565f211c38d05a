"""`roi`: a crop around each box, one pass of a small network over a batch of crops, the masks pasted back."""

import math
from collections.abc import Iterator

import numpy as np

from inference import geometry
from inference.case import Case
from inference.engines import Engine
from inference.segment.labels import LabelImage

# A mask may grow from slice to slice: its box is loosened by this much, as the network's training boxes were.
LOOSEN_PX = 3
# Crops of the ordinary shape per pass: enough to keep the cores busy, few enough for the activations to stay in the cache.
BATCH = {2: 8, 3: 1}


class RoiSegmenter:
    """Segments images (a 2-D network) or volumes (a 3-D one): every object on its own, then overlaps are settled.

    engine.facts must hold crop_shape (array order), margin and threshold. With large_crop_shape and large_px, an axis on
    which a box extends over more than large_px px or voxel has the side of large_crop_shape.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self._crop_shape = _sides(engine.facts["crop_shape"])
        self._large_shape = _sides(engine.facts.get("large_crop_shape", engine.facts["crop_shape"]))
        self._large_px = float(engine.facts.get("large_px", "inf"))
        self._margin = float(engine.facts["margin"])
        self.threshold = float(engine.facts["threshold"])

    def __call__(self, case: Case) -> np.ndarray:
        shape = case.image.shape[: case.ndim]
        result = LabelImage(shape, len(case.boxes))
        for index, where, probability in self.probabilities(case.image, case.boxes):
            # A box promises an object: where the network sees none, what it holds most likely is taken.
            threshold = min(self.threshold, probability.max(initial=0) / 2)
            result.paint(index + 1, where, probability, threshold)
        return result.labels

    def prepare(self, volume: np.ndarray, order: list[int]) -> Iterator[np.ndarray]:
        """The slices `order` of `volume` (D, H, W), as `probabilities` takes them."""
        return (volume[z] for z in order)

    def loosen_px(self, shape: tuple[int, ...]) -> float:
        """See `slices.Planar`."""
        return LOOSEN_PX

    def probabilities(self, image: np.ndarray, boxes: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
        """For each box: its index, the slices of the image around it, and float32 probabilities 0..1 there.

        image: (H, W), (H, W, 3) or (D, H, W); boxes: (N, 4) px or (N, 6) voxel, x first, inclusive. Boxes with crops of
        one shape come together, in their order.
        """
        rank = len(self._crop_shape)
        extents = np.array([geometry.box_interval(box)[1] for box in boxes], np.float32)
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, extent in enumerate(extents):
            shape = geometry.crop_shape(extent, self._crop_shape, self._large_shape, self._large_px)
            groups.setdefault(shape, []).append(index)
        for shape, indices in groups.items():
            size = max(1, BATCH[rank] * math.prod(self._crop_shape) // math.prod(shape))
            for first in range(0, len(indices), size):
                batch = indices[first : first + size]
                crops = np.stack([geometry.crop(image, boxes[index], self._margin, shape) for index in batch])
                for index, values in zip(batch, self._engine(crop=crops, box_px=extents[batch])):
                    yield index, *geometry.paste(values[0], boxes[index], self._margin, image.shape[:rank])


def _sides(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split(","))
