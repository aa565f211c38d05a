"""Resizing of pictures as the SAM family's programs do it, in numpy: pixel i of an axis covers [i, i + 1)."""

import numpy as np

from inference import geometry


def interpolate(array: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """float32 (len(ys), len(xs)[, C]): `array` (H, W[, C]) at rows ys and columns xs, linear between pixel centres, which
    have whole coordinates; beyond the border the nearest pixel repeats."""
    array = _between(array, ys, axis=0)
    return _between(array, xs, axis=1)


def _between(array, at, axis):
    at = np.clip(at, 0, array.shape[axis] - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, array.shape[axis] - 1)
    share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    return np.take(array, low, axis) * (1 - share) + np.take(array, high, axis) * share


def linear(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear without anti-aliasing, as OpenCV's INTER_LINEAR and PyTorch's bilinear with align_corners=False."""
    if array.shape[:2] == tuple(shape):
        return array.astype(np.float32)
    return interpolate(array, *[(np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(array.shape, shape)])


def area(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mean over each new pixel, as OpenCV's INTER_AREA where it reduces; linear where it enlarges."""
    window = geometry.Window(np.zeros(2), np.array(array.shape[:2], float))
    return geometry.resample(array, window, tuple(shape))


def cubic(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bicubic (Keys 1981, a = -0.5), its kernel as wide as a new pixel where that is the wider: with anti-aliasing, as
    Pillow's BICUBIC."""
    return _weighed(array, shape, _keys)


def triangle(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear with anti-aliasing, as Pillow's BILINEAR and PyTorch's bilinear with antialias=True."""
    return _weighed(array, shape, lambda distance: np.maximum(1 - distance, 0))


def _keys(distance):
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def _weighed(array, shape, kernel):
    """kernel: weights by the distance from the new pixel's centre, in old or new pixels, whichever are the wider."""
    for axis in (0, 1):
        scale = array.shape[axis] / shape[axis]
        centres, old = (np.arange(shape[axis]) + 0.5) * scale, np.arange(array.shape[axis]) + 0.5
        weights = kernel(np.abs(centres[:, None] - old) / max(scale, 1.0))
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        array = np.moveaxis(np.tensordot(weights, array.astype(np.float32, copy=False), axes=(1, axis)), 0, axis)
    return array


KERNELS = {"linear": linear, "area": area, "cubic": cubic}
