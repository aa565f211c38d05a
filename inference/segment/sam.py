"""The SAM family: an image is encoded once, then every box is decoded from the embedding."""

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from inference.case import Case
from inference.engines import Engine
from inference.segment.frame import Frame
from inference.segment.labels import LabelImage

# Boxes a pass of the decoder: each takes some 30 MB at 64 x 64 tokens.
BOXES = 8
# The embeddings of this many slices are kept (4 MB each at 64 x 64 x 256) for objects that come back to them.
SLICES = 128


class Embedding(NamedTuple):
    """An encoded image. values: float32 (1, C, h, w), an array of its own. shape: (H, W) of the image, px."""

    values: np.ndarray
    shape: tuple[int, int]


class SamSegmenter:
    """Segments images with a model of two graphs; a `slices.Planar` for volumes.

    encoder: `image` float32 (1, 3, S, S) -> embedding. Its facts: those of a `frame.Frame`.
    decoder: `embedding`, `boxes` float32 (N, 4) px of the image, x first, and `shape` float32 (2,), its H and W -> float32
    (N, 1, M, M) over the frame that the encoder saw. Its facts: output logit (an object is above 0) or probability (above
    0.5); loosen_px, in the frame of S px, of the box of a mask that prompts the next slice.
    """

    threshold = 0.5

    def __init__(self, encoder: Engine, decoder: Engine):
        self._encoder, self._decoder = encoder, decoder
        self._frame = Frame(encoder.facts)
        self._logits = decoder.facts["output"] == "logit"
        self._loosen_px = float(decoder.facts["loosen_px"])

    def __call__(self, case: Case) -> np.ndarray:
        result = LabelImage(case.image.shape[:2], len(case.boxes))
        for index, where, probability in self.probabilities(self.encode(case.image), case.boxes):
            result.paint(index + 1, where, probability, self.threshold)
        return result.labels

    def prepare(self, volume: np.ndarray, order: list[int]) -> Iterator[Embedding]:
        """Embeddings of the slices `order` of `volume` (D, H, W), each made once, but for those of very deep volumes.

        Where the engine allows it, the next slice is encoded while the caller works on this one.
        """
        kept: OrderedDict[int, Embedding] = OrderedDict()
        with ThreadPoolExecutor(max_workers=1) as ahead:
            coming = None
            for z, following in zip(order, [*order[1:], None]):
                if z not in kept:
                    kept[z] = coming.result() if coming else self.encode(volume[z])
                kept.move_to_end(z)
                wanted = following is not None and following not in kept and self._encoder.concurrent
                coming = ahead.submit(self.encode, volume[following]) if wanted else None
                if len(kept) > SLICES:
                    kept.popitem(last=False)
                yield kept[z]

    def encode(self, image: np.ndarray) -> Embedding:
        """image: (H, W) or (H, W, 3), grey values 0..255."""
        return Embedding(self._encoder(image=self._frame.picture(image)[None]), image.shape[:2])

    def probabilities(self, prepared: Embedding, boxes: np.ndarray) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
        """For each of the boxes (N, 4) px, x first: its index, the slices of the image that its mask touches (possibly
        none), and float32 probabilities there."""
        shape = np.array(prepared.shape, np.float32)
        for first in range(0, len(boxes), BOXES):
            batch = boxes[first : first + BOXES].astype(np.float32)
            masks = self._decoder(embedding=prepared.values, boxes=batch, shape=shape)
            for index, mask in enumerate(masks[:, 0], first):
                yield index, *self._paste(mask, prepared.shape)

    def loosen_px(self, shape: tuple[int, ...]) -> float:
        """See `slices.Planar`."""
        return self._loosen_px * max(shape) / self._frame.size

    def _paste(self, mask, shape):
        """(where, probability) at the image's own resolution, wherever the mask can exceed its threshold."""
        least = 0.0 if self._logits else 0.5
        where = []
        for axis, filled in enumerate(self._frame.filled(shape)):
            scale = filled * mask.shape[axis] / self._frame.size / shape[axis]
            hit = np.flatnonzero((mask > least).any(axis=1 - axis))
            # Interpolation between two values below the threshold stays below it: one value beyond the last is enough.
            edges = (hit[0] - 1 - scale, hit[-1] + 2 + scale) if len(hit) else (0, 0)
            where.append(slice(*(int(np.clip(edge / scale, 0, shape[axis])) for edge in edges)))
        values = self._frame.at_image(mask, shape, tuple(where))
        return tuple(where), 1 / (1 + np.exp(-values)) if self._logits else values
