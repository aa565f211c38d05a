"""The two-dimensional discrete Fourier transform as products of real matrices, without complex numbers: gradients flow
through it, and engines run it as they run linear layers."""

import functools

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)


@functools.cache
def dft_matrix(size: int, inverse: bool = False) -> np.ndarray:
    """float32 (2 size, 2 size): (real, imaginary) @ matrix is (real, imaginary) of the unnormalised transform with
    exp(-2 pi i u m / size), of the inverse with exp(+2 pi i u m / size) / size."""
    turns = np.outer(np.arange(size), np.arange(size)) % size / size
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    if inverse:
        cos, sin = cos / size, -sin / size
    return np.block([[cos, -sin], [sin, cos]]).astype(np.float32)


def dft2(x):
    """float32 (N, C, H, W) -> real and imaginary part of its spectrum, each of that shape: numpy.fft.fft2."""
    height, width = (int(size) for size in x.shape[2:])
    real, imaginary = jt.chunk(nn.matmul(x, jt.array(dft_matrix(width)[:width])), 2, dim=3)
    both = jt.concat([real.transpose(2, 3), imaginary.transpose(2, 3)], dim=3)
    real, imaginary = jt.chunk(nn.matmul(both, jt.array(dft_matrix(height))), 2, dim=3)
    return real.transpose(2, 3), imaginary.transpose(2, 3)


def inverse_dft2(real, imaginary):
    """The real part of numpy.fft.ifft2: float32 (N, C, H, W) twice -> once."""
    height, width = (int(size) for size in real.shape[2:])
    both = jt.concat([real.transpose(2, 3), imaginary.transpose(2, 3)], dim=3)
    real, imaginary = jt.chunk(nn.matmul(both, jt.array(dft_matrix(height, True))), 2, dim=3)
    both = jt.concat([real.transpose(2, 3), imaginary.transpose(2, 3)], dim=3)
    return nn.matmul(both, jt.array(dft_matrix(width, True)[:, :width]))
