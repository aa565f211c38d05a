"""The square frame that the SAM family's encoders see: an image resized into it, its grey values normalised."""

import numpy as np

from inference import resize


class Frame:
    """How an image becomes an encoder's input, from the facts of a model file, all strings.

    image_size: the frame's side S, px. keep_aspect: true (the longest side becomes S, zeros fill the bottom and the right)
    or false (both sides become S). resize: linear, area or cubic. normalise: min_max (the resized image to 0..1) or
    mean_std (of 0..255, with `mean` and `std`, three numbers each: attribute mean_std, else None). Raises ValueError or
    KeyError for other facts.
    """

    def __init__(self, facts: dict[str, str]):
        self.size = int(facts["image_size"])
        self.keep_aspect = {"true": True, "false": False}[facts["keep_aspect"]]
        self._resize = resize.KERNELS[facts["resize"]]
        self.normalise = facts["normalise"]
        if self.normalise not in ("min_max", "mean_std"):
            raise ValueError(f"normalise must be min_max or mean_std; got {self.normalise}")
        self.mean_std: list[np.ndarray] | None = None
        if self.normalise == "mean_std":
            self.mean_std = [np.array(facts[key].split(","), np.float32) for key in ("mean", "std")]

    def filled(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The part of the frame, (h, w) px from the top left, that an image of `shape` (H, W) fills."""
        if not self.keep_aspect:
            return (self.size, self.size)
        return tuple(int(side * self.size / max(shape) + 0.5) for side in shape)

    def picture(self, image: np.ndarray) -> np.ndarray:
        """float32 (3, S, S) of an image (H, W) or (H, W, 3) with grey values 0..255."""
        height, width = self.filled(image.shape[:2])
        # The originals resize pixels of 8 bits, so that grey values are whole.
        pixels = np.clip(np.rint(self._resize(image, (height, width))), 0, 255)
        if self.mean_std is None:
            pixels = (pixels - pixels.min()) / max(pixels.max() - pixels.min(), 1e-8)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if self.mean_std is not None:
            mean, std = self.mean_std
            pixels = (pixels - mean) / std
        padded = np.zeros((3, self.size, self.size), np.float32)
        padded[:, :height, :width] = np.moveaxis(pixels, -1, 0)
        return padded

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """bool (S, S) of a mask bool (H, W) of an image: where at least half of the frame's pixel is in it."""
        height, width = self.filled(mask.shape)
        framed = np.zeros((self.size, self.size), bool)
        framed[:height, :width] = resize.triangle(mask, (height, width)) >= 0.5
        return framed

    def points(self, xy_px: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """float32 (..., 2): positions in px of an image of `shape` (H, W), x first, in px of the frame."""
        height, width = self.filled(shape)
        return (np.asarray(xy_px) * (width / shape[1], height / shape[0])).astype(np.float32)

    def at_image(self, values: np.ndarray, shape: tuple[int, int], where: tuple[slice, slice] | None = None) -> np.ndarray:
        """float32: what a network says of the frame, (m, m) over all of it, at the pixels `where` of an image of `shape`
        (H, W), all of them by default; linear between the values' centres."""
        filled = [side * length / self.size for side, length in zip(self.filled(shape), values.shape)]
        where = where or tuple(slice(0, side) for side in shape)
        coordinates = [(np.arange(part.start, part.stop) + 0.5) * new / old - 0.5
                       for part, new, old in zip(where, filled, shape)]
        # Beyond the image lies padding, of which its values must know nothing.
        values = values[: int(np.ceil(filled[0])), : int(np.ceil(filled[1]))]
        return resize.interpolate(values, *coordinates)
