"""Linear resampling of masks that averages where it shrinks, as matrices along the axes (see models/sam/resampling.py)."""

import functools

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)


@functools.cache
def antialias_matrix(old: int, new: int) -> np.ndarray:
    """float32 (new, old): resized = matrix @ values. A triangle as wide as two of the larger pixels, whose part within the
    image adds up to 1; without shrinking that is plain linear interpolation. Pixel centres at half."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    weights = np.maximum(1 - np.abs(np.arange(old) - centres[:, None]) / max(old / new, 1), 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resize_antialiased(x, height: int, width: int):
    """x (N, C, h, w) -> (N, C, height, width)."""
    for size in (width, height):
        old = int(x.shape[-1])
        x = (x if old == size else nn.linear(x, jt.array(antialias_matrix(old, size)))).transpose(2, 3)
    return x
