"""How FS-MedSAM2 makes a slice of any range of values a tracker's input."""

from collections.abc import Callable

import numpy as np

from inference.resize import linear
from inference.segment.frame import Frame


def stretched(image: np.ndarray) -> np.ndarray:
    """float32, same shape: the lowest value of the slice becomes 0, the highest 1; a slice of one value becomes 0."""
    image = np.asarray(image, np.float32)
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def picture_of(frame: Frame) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a slice (H, W) or (H, W, 3) to float32 (3, S, S) as the model of `frame` wants it: stretched to 0..1,
    resized bilinearly, less mean and by deviation. Unlike `Frame.picture` it never makes whole grey values of them."""
    def picture(image: np.ndarray) -> np.ndarray:
        height, width = frame.filled(image.shape[:2])
        pixels = linear(stretched(image), (height, width))
        if frame.mean_std is None:
            pixels = stretched(pixels)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if frame.mean_std is not None:
            mean, std = frame.mean_std
            pixels = (pixels * 255 - mean) / std
        padded = np.zeros((3, frame.size, frame.size), np.float32)
        padded[:, :height, :width] = np.moveaxis(pixels, -1, 0)
        return padded

    return picture
