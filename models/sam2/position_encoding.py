"""Positions as sines and cosines (Vaswani et al. 2017, arXiv 1706.03762, section 3.5): added to images and to points in
time, and as rotations of pairs of channels (Su et al. 2021, arXiv 2104.09864) along both axes of an image."""

import functools
import math

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)

_TEMPERATURE = 10000


def _wave_lengths(channels: int) -> np.ndarray:
    """Each twice: for the sine and the cosine."""
    return _TEMPERATURE ** (2 * (np.arange(channels) // 2) / channels)


@functools.cache
def sine_2d(channels: int, height: int, width: int) -> np.ndarray:
    """float32 (channels, height, width): the first half of the channels says the row, the second the column; sines and
    cosines alternate. Rows count 1 .. height, as parts of a whole turn."""
    def along(size):
        turns = np.arange(1, size + 1) / (size + 1e-6) * (2 * math.pi)
        phases = turns[:, None] / _wave_lengths(channels // 2)
        return np.stack([np.sin(phases[:, 0::2]), np.cos(phases[:, 1::2])], axis=2).reshape(size, channels // 2).T

    rows, columns = along(height)[:, :, None], along(width)[:, None, :]
    shape = channels // 2, height, width
    return np.concatenate([np.broadcast_to(rows, shape), np.broadcast_to(columns, shape)]).astype(np.float32)


def sine_1d(positions, channels: int):
    """positions float32 (n,) -> float32 (n, channels): first all sines, then all cosines."""
    phases = positions.unsqueeze(-1) / jt.array(_wave_lengths(channels // 2).astype(np.float32))
    return jt.concat([jt.sin(phases), jt.cos(phases)], dim=-1)


@functools.cache
def axial_angles(channels: int, side: int) -> np.ndarray:
    """float32 (side * side, channels / 2): by how much each pair of channels of a token is rotated, in radians. The first
    half of the pairs goes by the column, the second by the row; tokens are row by row."""
    frequencies = _TEMPERATURE ** (-np.arange(0, channels, 4) / channels)
    row, column = np.divmod(np.arange(side * side), side)
    return np.concatenate([column[:, None] * frequencies, row[:, None] * frequencies], axis=1).astype(np.float32)


def rotation(channels: int, side: int):
    """What `rotate` needs for tokens of a square image: cosines and sines of `axial_angles`."""
    angles = axial_angles(channels, side)
    return jt.array(np.cos(angles)), jt.array(np.sin(angles))


def rotate(x, rotation):
    """x float32 (..., tokens, channels), row by row -> the same shape: every pair of neighbouring channels, as (real,
    imaginary), times e^(i angle)."""
    cos, sin = rotation
    *leading, tokens, channels = x.shape
    pairs = x.reshape([*leading, tokens, channels // 2, 2])
    real, imaginary = pairs[..., 0], pairs[..., 1]
    return jt.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1).reshape(x.shape)
