"""The picture that a denoiser sees."""

import numpy as np

from inference import resize


def picture(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """float32 (channels, size, size) in -1..1 of an image (H, W), whose grey goes into all channels, or (H, W, channels),
    grey values 0..255. Both sides become `size` px, by the mean over each new pixel. Raises ValueError."""
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] != channels:
        raise ValueError(f"imgs must be (H, W) or (H, W, {channels}) for this model; got {image.shape}")
    pixels = resize.area(image, (size, size)) / np.float32(127.5) - 1
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], channels, axis=2)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
