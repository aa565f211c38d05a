"""Objects that nobody labelled, for a network that shall follow a box and not only know what its data sets mean by one.

`find` takes a segment of a real picture, `paint` makes an object out of another picture's texture. Both see a window of
the picture, resampled to SIDE px, and give it back with the object's mask.
"""

import cv2
import numpy as np
from skimage.segmentation import felzenszwalb

from inference import geometry

SIDE = 144
LEAST_PX = 16
"""Shorter objects than this, in px of the window, are not made."""


def window(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random square of uint8 (H, W[, 3]), of 64 px to the whole shorter side, resampled to (SIDE, SIDE[, 3]) uint8."""
    most = min(image.shape[:2])
    side = int(np.exp(rng.uniform(np.log(min(64, most)), np.log(most))))
    y, x = (int(rng.integers(size - side + 1)) for size in image.shape[:2])
    cut = np.ascontiguousarray(image[y : y + side, x : x + side])
    return cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR)


def find(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """(window, boolean mask) of a segment that Felzenszwalb's graph (IJCV 59, 2004) sees in a window of the picture, with
    its holes filled one time in two; None where none lies whole in it, is long enough and fills a quarter of its box."""
    seen = window(image, rng)
    if seen.std() < 2:
        return None
    scale = np.exp(rng.uniform(np.log(60), np.log(1500)))
    segments = felzenszwalb(seen, scale=scale, sigma=rng.uniform(0.5, 1.2), min_size=60,
                            channel_axis=2 if seen.ndim == 3 else None)
    edge = np.concatenate([segments[[0, -1]].ravel(), segments[:, [0, -1]].ravel()])
    for label in rng.permutation(np.setdiff1d(segments, edge)):
        mask = cv2.medianBlur((segments == label).astype(np.uint8), 5)
        if rng.random() < 0.5:
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            mask = cv2.drawContours(mask, contours, -1, 1, cv2.FILLED)
        if not mask.any():
            continue
        extent = geometry.box_interval(geometry.mask_box(mask > 0))[1]
        if extent.min() >= LEAST_PX and mask.sum() >= 0.25 * extent.prod():
            return seen, mask > 0
    return None


def blob(centre: np.ndarray, radii: np.ndarray, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 (SIDE, SIDE), 1 inside of a closed curve about `centre` (x, y): a turned ellipse of `radii` px, whose radius waves
    by `roughness`, in shares of it."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    waves = np.arange(2, 9)
    heights = roughness * rng.standard_normal(len(waves)) / waves
    radius = 1 + (heights[:, None] * np.cos(waves[:, None] * angles + rng.uniform(0, 2 * np.pi, (len(waves), 1)))).sum(axis=0)
    points = np.maximum(radius, 0.2) * np.stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    turn = rng.uniform(0, np.pi)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ points + centre[:, None]
    return cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [np.round(turned.T * 16).astype(np.int32)], 1, shift=4)


def paint(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(window, boolean mask) of an object painted on a window of `image` with the texture of a window of `other`: up to two
    neighbours of its own kind or of another, up to two parts inside that differ, an edge that may be soft."""
    canvas, texture = window(image, rng).astype(np.float32), window(other, rng).astype(np.float32)
    if canvas.ndim != texture.ndim:  # a grey one and a coloured one
        canvas, texture = (plane if plane.ndim == 3 else np.repeat(plane[..., None], 3, axis=2) for plane in (canvas, texture))
    channels = canvas.shape[2:]
    centre, radii = rng.uniform(0.4, 0.6, 2) * SIDE, np.exp(rng.uniform(np.log(0.08), np.log(0.3), 2)) * SIDE
    roughness, soft = rng.uniform(0, 0.5), rng.uniform(0, 3)

    def coloured():
        """The texture with a contrast and a mean of its own, which differ from the canvas by little or much."""
        mean = texture.mean() if rng.random() < 0.5 else canvas.mean() + rng.normal(0, 50)
        shade = rng.normal(0, 12, channels) if channels else 0
        return (texture - texture.mean()) * rng.uniform(0.2, 1.2) + mean + shade

    def lay(shape, colour):
        nonlocal canvas
        cover = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), soft) if soft > 0.4 else shape.astype(np.float32)
        cover = cover if not channels else cover[..., None]
        canvas = canvas * (1 - cover) + colour * cover

    own = coloured()
    mask = blob(centre, radii, roughness, rng)
    for _ in range(rng.integers(3)):
        away = rng.uniform(0, 2 * np.pi)
        beside = centre + rng.uniform(1.6, 2.6) * radii.max() * np.array([np.cos(away), np.sin(away)])
        neighbour = blob(beside, radii * rng.uniform(0.5, 1.3, 2), roughness, rng) * (1 - mask)
        lay(neighbour, own if rng.random() < 0.5 else coloured())
    lay(mask, own)
    for _ in range(rng.integers(3)):
        within = centre + rng.uniform(-0.4, 0.4, 2) * radii
        lay(blob(within, radii * rng.uniform(0.2, 0.6, 2), roughness, rng) * mask, coloured())
    return np.clip(canvas, 0, 255).astype(np.uint8), mask > 0
