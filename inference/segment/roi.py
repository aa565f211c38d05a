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
# Of the crops of one pass: enough to keep the cores busy, few enough for the activations to stay in the cache.
MOST_PIXELS = {2: 8 * 192 * 192, 3: 32 * 64 * 64}
# What is less likely than this is no part of an object, however far its mask is from the sides of its box.
LEAST_PROBABILITY = 0.02


class RoiSegmenter:
    """Segments images (a 2-D network) or volumes (a 3-D one): every object on its own, then overlaps are settled.

    engine.facts must hold margin, threshold, boxes_for_all_looks, look_for_many and looks: "192,192;384,384@256|192,192@" are
    two, each its crop shapes (array order) and their limits in px or voxel, see `geometry.crop_shape`. A box is looked at in
    each of these ways, all but the first mirrored along every axis, and the probabilities are averaged; with more than
    boxes_for_all_looks boxes in the image or volume, by look_for_many alone. A box also promises that its object reaches its
    sides, see `_threshold`: least_reach and loose_px say how nearly.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self._looks = [_look(text) for text in engine.facts["looks"].split("|")]
        self._look_for_many = _look(engine.facts["look_for_many"])
        self._boxes_for_all_looks = int(engine.facts["boxes_for_all_looks"])
        self._rank = len(self._looks[0][0][0])
        self._margin = float(engine.facts["margin"])
        self.threshold = float(engine.facts["threshold"])
        self._least_reach, self._loose_px = (float(engine.facts[fact]) for fact in ("least_reach", "loose_px"))

    def __call__(self, case: Case) -> np.ndarray:
        shape = case.image.shape[: case.ndim]
        result = LabelImage(shape, len(case.boxes))
        for index, where, probability in self.probabilities(case.image, case.boxes):
            result.paint(index + 1, where, probability, self._threshold(probability, case.boxes[index]))
        return result.labels

    def _threshold(self, probability: np.ndarray, box: np.ndarray) -> float:
        """Above which probability a pixel belongs to the object of `box`. A box promises an object: where the network sees
        none, what it holds most likely is taken. The mask shall have pixels in as many rows, and columns, as the share
        least_reach of the box's extent less loose_px: where it has not, as it is with objects of a kind that the network
        never saw, it is let grow until it has them, unless they are not to be had above LEAST_PROBABILITY."""
        usual = min(self.threshold, probability.max(initial=0) / 2)
        lowest = usual
        for axis, extent in enumerate(geometry.box_interval(box)[1]):
            needed = math.ceil(self._least_reach * (extent - self._loose_px))
            if 0 < needed <= probability.shape[axis]:
                likeliest = probability.max(axis=tuple(other for other in range(self._rank) if other != axis))
                lowest = min(lowest, np.nextafter(np.partition(likeliest, -needed)[-needed], np.float32(-1)))
        return lowest if lowest >= LEAST_PROBABILITY else usual

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
        rank = self._rank
        extents = np.array([geometry.box_interval(box)[1] for box in boxes], np.float32)
        looks = self._looks if len(boxes) <= self._boxes_for_all_looks else [self._look_for_many]
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for index, extent in enumerate(extents):
            groups.setdefault(tuple(geometry.crop_shape(extent, *look) for look in looks), []).append(index)
        for shapes, indices in groups.items():
            size = max(1, MOST_PIXELS[rank] // max(map(math.prod, shapes)))
            for first in range(0, len(indices), size):
                batch = indices[first : first + size]
                seen = [self._see(image, boxes[batch], extents[batch], shape, [n > 0 for n, other in enumerate(shapes)
                                                                               if other == shape])
                        for shape in dict.fromkeys(shapes)]
                for index, *parts in zip(batch, *seen):
                    pasted = [geometry.paste(part, boxes[index], self._margin, image.shape[:rank]) for part in parts]
                    yield index, pasted[0][0], sum(values for _, values in pasted) / len(looks)

    def _see(self, image, boxes, extents, shape, mirrorings):
        """(N, *shape): the sum of the probabilities of crops of one shape, as they are or mirrored, once for each of
        `mirrorings`."""
        crops = np.stack([geometry.crop(image, box, self._margin, shape) for box in boxes])
        axes = tuple(range(-len(shape), 0))
        seen = 0
        for mirrored in mirrorings:
            values = self._engine(crop=np.flip(crops, axes) if mirrored else crops, box_px=extents)[:, 0]
            seen = seen + (np.flip(values, axes) if mirrored else values)
        return seen


def _look(text: str) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    shapes, _, limits_px = text.partition("@")
    return [_numbers(shape) for shape in shapes.split(";")], _numbers(limits_px)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)
