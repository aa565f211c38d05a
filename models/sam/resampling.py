"""Resampling of one axis as a matrix: exact in every engine, where the engines' own resizes differ in their conventions."""

import functools

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)


def _cubic(distance, a=-0.75):
    """Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 4, with PyTorch's coefficient."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _linear(distance):
    return np.maximum(1 - np.abs(distance), 0.0)


_KERNELS = {"linear": (_linear, 1), "cubic": (_cubic, 2)}


@functools.cache
def resize_matrix(old: int, new: int, mode: str) -> np.ndarray:
    """float32 (new, old): resized = matrix @ values. Pixel centres at half (align_corners False), no anti-aliasing, the
    border repeated. mode: "linear" or "cubic"."""
    kernel, reach = _KERNELS[mode]
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    matrix = np.zeros((new, old))
    for step in range(1 - reach, reach + 1):
        sources = np.floor(centres).astype(int) + step
        np.add.at(matrix, (np.arange(new), sources.clip(0, old - 1)), kernel(centres - sources))
    return matrix.astype(np.float32)


def resize_last(x, new: int, mode: str):
    """x (..., old) -> (..., new)."""
    old = int(x.shape[-1])
    return x if old == new else nn.linear(x, jt.array(resize_matrix(old, new, mode)))


def resize_image(x, height: int, width: int, mode: str):
    """x (N, C, h, w) -> (N, C, height, width)."""
    if list(x.shape[2:]) == [height, width]:
        return x
    x = resize_last(x, width, mode).transpose(2, 3)
    return resize_last(x, height, mode).transpose(2, 3)
