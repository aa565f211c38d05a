"""Semantic segmentation without prompts: every pixel of an image gets a class (SAMed, Zhang & Liu 2023, arXiv 2304.13785)."""

from functools import lru_cache

import numpy as np

from inference import resize
from inference.case import Case
from inference.engines import Engine

# Slices a pass: at 512 px the attentions and masks of each take some 70 MB.
SLICES = 4


class SemanticSegmenter:
    """Labels an image, or a volume slice by slice: 0 is the background, class i of `classes` is i + 1.

    engine: `image` float32 (N, 3, S, S) -> logits float32 (N, 1 + classes, S, S). Its facts: image_size S; slice_size and
    value_range, see `picture`; classes, names with commas between. Raises KeyError or ValueError for other facts.
    """

    needs_boxes = False

    def __init__(self, engine: Engine):
        self._engine = engine
        self.classes = tuple(engine.facts["classes"].split(","))
        self._sizes = int(engine.facts["image_size"]), int(engine.facts["slice_size"])
        if engine.facts["value_range"] != "0,1":
            raise ValueError(f"value_range must be 0,1; got {engine.facts['value_range']}")

    def __call__(self, case: Case) -> np.ndarray:
        return self.segment(case.image) if case.ndim == 3 else self.segment(case.image[None])[0]

    def segment(self, slices: np.ndarray) -> np.ndarray:
        """uint8 (D, H, W) of slices (D, H, W) or (D, H, W, 3), whose grey values are those that `picture` takes."""
        labels = np.empty(slices.shape[:3], np.uint8)
        for first in range(0, len(slices), SLICES):
            batch = np.stack([picture(image, *self._sizes) for image in slices[first : first + SLICES]])
            for z, logits in enumerate(self._engine(image=batch), first):
                labels[z] = best_class(logits, labels.shape[1:])
        return labels


def picture(image: np.ndarray, size: int, slice_size: int = 0) -> np.ndarray:
    """float32 (3, size, size), about 0..1: what the network sees of an image (H, W) or (H, W, 3).

    image: integers 0..255, or floats 0..1. Grey is repeated. slice_size: a side to which the image is resampled first, 0 for
    none: the published weights have learnt from slices of 224 px, enlarged to 512, and what is finer they do not know.
    """
    pixels = image.astype(np.float32)
    if image.dtype.kind != "f":
        pixels /= 255
    for side in filter(None, (slice_size, size)):
        pixels = spline(pixels, (side, side))
    return np.repeat(pixels[None], 3, axis=0) if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def best_class(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """uint8 `shape` (H, W): the class of the highest logit at each pixel of the image; of equals the first.

    logits: float32 (classes, h, w) over the frame. They are resampled linearly and compared then. The published program
    compares first and takes the nearest pixel's class: outlines with steps, as coarse as the network's pixels.
    """
    at = [positions(old, new) for old, new in zip(logits.shape[1:], shape)]
    labels = np.zeros(shape, np.uint8)
    best = resize.interpolate(logits[0], *at)
    for number, plane in enumerate(logits[1:], 1):
        values = resize.interpolate(plane, *at)
        higher = values > best
        labels[higher], best[higher] = number, values[higher]
    return labels


def positions(old: int, new: int) -> np.ndarray:
    """Where `new` pixels lie on an axis of `old`, in px of it: the first on the first, the last on the last (SciPy's zoom,
    which the originals resample with)."""
    return np.linspace(0, old - 1, new)


def nearest(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels (H, W) at `shape`: the pixel nearest to each of `positions`, as SciPy's zoom of order 0."""
    return labels[np.ix_(*[np.floor(positions(old, new) + 0.5).astype(int) for old, new in zip(labels.shape, shape)])]


def spline(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """float32 `shape`[, C]: an image (H, W[, C]) interpolated by cubic splines at `positions`, as SciPy's zoom of order 3."""
    for axis, (old, new) in enumerate(zip(image.shape, shape)):
        if old != new:
            image = np.moveaxis(np.tensordot(_spline_matrix(old, new), image, axes=(1, axis)), 0, axis)
    return image.astype(np.float32, copy=False)


@lru_cache(maxsize=16)
def _spline_matrix(old: int, new: int) -> np.ndarray:
    """Weights float32 (new, old) of the values on the axis: B-splines at the new positions, with the coefficients by which
    B-splines have the given values at the old ones."""
    matrix = np.linalg.solve(_b_splines(np.arange(old), old).T, _b_splines(positions(old, new), old).T).T
    matrix = matrix.astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def _b_splines(at: np.ndarray, knots: int) -> np.ndarray:
    """float64 (len(at), knots): cubic B-splines around each knot, mirrored about the first and the last."""
    values = np.zeros((len(at), knots))
    for offset in range(-1, 3):
        index = np.floor(at).astype(int) + offset
        distance = np.abs(at - index)
        near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(2 - distance, 0) ** 3 / 6
        period = max(2 * (knots - 1), 1)
        index = index % period
        np.add.at(values, (np.arange(len(at)), np.minimum(index, period - index) if knots > 1 else 0),
                  np.where(distance < 1, near, far))
    return values
