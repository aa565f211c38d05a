"""Where things are: boxes, the window around a box, and resampling between an image and a crop of fixed size.

The only file that knows axis order. Arrays are in array order, (y, x) or (z, y, x), optionally with channels last;
boxes arrive in x-first order with inclusive bounds and leave here as intervals in array order. A pixel i covers the
interval [i, i + 1) of its axis, so the box x_min..x_max covers [x_min, x_max + 1).
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# About how many pixels of an axis are resampled at once: fewer waste time on calls, more on zeros.
BLOCK_PX = 128


class Window(NamedTuple):
    """An axis-aligned, real-valued interval per spatial axis, in px or voxel: [start, start + extent).

    start, extent: float64 (rank,) in array order, (y, x) or (z, y, x). It may stick out of the image.
    """

    start: np.ndarray
    extent: np.ndarray


def box_interval(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and extent, float64 (rank,) in array order, of a box (2 * rank,) given as mins then maxs, x first, inclusive."""
    rank = len(box) // 2
    low = np.asarray(box[:rank], np.float64)[::-1]
    high = np.asarray(box[rank:], np.float64)[::-1] + 1
    return low, high - low


def box_window(box: np.ndarray, margin: float) -> Window:
    """The box with `margin` times its own size added on each side, so that the box fills the same part of every crop."""
    low, extent = box_interval(box)
    return Window(low - margin * extent, extent * (1 + 2 * margin))


def mask_box(mask: np.ndarray) -> np.ndarray | None:
    """Tight box of a boolean mask, int32 (2 * rank,), x first, inclusive; None where the mask is empty."""
    lows, highs = [], []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(hit):
            return None
        lows.append(hit[0])
        highs.append(hit[-1])
    return np.array(lows[::-1] + highs[::-1], np.int32)


def sampling_matrix(start: float, extent: float, samples: int, pixels: int) -> np.ndarray:
    """Weights float32 (samples, pixels) that resample an axis of `pixels` to `samples` over [start, start + extent).

    A sample is the mean over a footprint as wide as a sample or a pixel, whichever is wider: this is area averaging
    when it reduces and linear interpolation when it enlarges. Outside the axis the nearest pixel repeats. Rows sum to 1.
    """
    step = extent / samples
    half = max(step, 1.0) / 2
    centres = start + (np.arange(samples) + 0.5) * step
    edges = np.arange(pixels + 1, dtype=np.float64)
    edges[0], edges[-1] = -np.inf, np.inf
    high = np.minimum((centres + half)[:, None], edges[None, 1:])
    low = np.maximum((centres - half)[:, None], edges[None, :-1])
    return (np.maximum(high - low, 0) / (2 * half)).astype(np.float32)


def resample(array: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (*shape[, C]): the part of `array` (*spatial[, C]) under `window`, resampled axis by axis to `shape`."""
    start = window.start.astype(np.float64)
    for axis in range(len(shape)):
        where = _touched(start[axis], window.extent[axis], array.shape[axis])
        array = array[(slice(None),) * axis + (where,)]
        start[axis] -= where.start
    # The work is least, and the memory read in order, where an array shrinks from the first axis on and grows from the last.
    axes = range(len(shape))
    for axis in axes if math.prod(shape) < math.prod(array.shape[: len(shape)]) else reversed(axes):
        array = _resample_axis(array, axis, start[axis], window.extent[axis], shape[axis])
    return array


def _resample_axis(array, axis, start, extent, samples):
    """Block by block: a sample needs the few pixels under its footprint, and most of the matrix for a whole axis is 0."""
    step = extent / samples
    block = max(8, round(BLOCK_PX / step))
    out = np.empty((*array.shape[:axis], samples, *array.shape[axis + 1 :]), np.float32)
    for first in range(0, samples, block):
        count = min(block, samples - first)
        where = _touched(start + first * step, count * step, array.shape[axis])
        part = array[(slice(None),) * axis + (where,)]
        weights = sampling_matrix(start + first * step - where.start, count * step, count, where.stop - where.start)
        out[(slice(None),) * axis + (slice(first, first + count),)] = np.moveaxis(
            np.tensordot(weights, part.astype(np.float32, copy=False), axes=(1, axis)), 0, axis)
    return out


def _touched(start, extent, pixels):
    """The pixels under some footprint of [start, start + extent); beyond the axis its border pixel."""
    first = int(np.clip(np.floor(start) - 1, 0, pixels - 1))
    return slice(first, int(np.clip(np.ceil(start + extent) + 1, first + 1, pixels)))


def crop_shape(extent: np.ndarray, shapes: Sequence[tuple[int, ...]], limits_px: Sequence[float]) -> tuple[int, ...]:
    """The shape of the crop of a box of `extent` (rank,), array order, px or voxel: each axis takes its side from the first
    of `shapes`, from the second where the box extends over more than limits_px[0], and so on."""
    return tuple(shapes[bisect_left(limits_px, size)][axis] for axis, size in enumerate(extent))


@lru_cache
def box_plane(shape: tuple[int, ...], margin: float) -> np.ndarray:
    """float32 `shape` in 0..1: how much of each pixel of a crop lies inside the box that the crop was made for."""
    plane = np.ones((), np.float32)
    for size in shape:
        low, high = size * margin / (1 + 2 * margin), size * (1 + margin) / (1 + 2 * margin)
        edges = np.clip(np.arange(size + 1), low, high)
        plane = plane[..., None] * np.diff(edges).astype(np.float32)
    plane.flags.writeable = False
    return plane


def crop(image: np.ndarray, box: np.ndarray, margin: float, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (C + 1, *shape): the image's channels in their own range, then the box plane in 0..1.

    image: (H, W), (H, W, 3) or (D, H, W); a (H, W) image gives three equal channels, a volume one. box: (4,) or (6,).
    """
    rank = len(shape)
    pixels = resample(image, box_window(box, margin), shape)
    channels = np.moveaxis(pixels, -1, 0) if pixels.ndim > rank else pixels[None]
    if rank == 2 and len(channels) == 1:
        channels = np.repeat(channels, 3, axis=0)
    return np.concatenate([channels, box_plane(tuple(shape), margin)[None]])


def paste(values: np.ndarray, box: np.ndarray, margin: float, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], np.ndarray]:
    """The crop's `values` (*crop shape) at the image's own resolution, inside the window of `box` and the image.

    shape: the image's spatial shape. Returns the slices of the image that the window touches (array order, possibly
    empty) and float32 values there.
    """
    window = box_window(box, margin)
    first = np.clip(np.floor(window.start + 0.5), 0, shape).astype(int)
    last = np.clip(np.floor(window.start + window.extent + 0.5), 0, shape).astype(int)
    last = np.maximum(last, first)
    slices = tuple(slice(a, b) for a, b in zip(first, last))
    if (last == first).any():
        return slices, np.zeros(last - first, np.float32)
    scale = np.array(values.shape) / window.extent
    inverse = Window((first - window.start) * scale, (last - first) * scale)
    return slices, resample(values, inverse, tuple(last - first))
