"""Ways of changing an image with its mask, or a box, so that no two samples are alike."""

import cv2
import numpy as np

from inference import geometry


def loosen(box: np.ndarray, shape: tuple[int, ...], most_px: float, rng: np.random.Generator) -> np.ndarray:
    """The box grown by 0..most_px px on each in-plane side, kept inside an image of `shape` (array order); one in five
    is then shifted by up to 4 % of its size. float64 (2 * rank,), x first, inclusive bounds."""
    rank = len(box) // 2
    low, high = box[:rank].astype(float), box[rank:].astype(float)
    low[:2] -= rng.uniform(0, most_px, 2)
    high[:2] += rng.uniform(0, most_px, 2)
    if rng.random() < 0.2:
        shift = rng.uniform(-0.04, 0.04, 2) * (high - low)[:2]
        low[:2] += shift
        high[:2] += shift
    limit = np.array(shape[::-1]) - 1
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


def _warp(plane, matrix, interpolation):
    return cv2.warpAffine(plane, matrix, plane.shape[1::-1], flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)


def rotate(image, mask, degrees, shear):
    """Image and boolean mask turned in plane about the centre, with a shear; the frame keeps its size."""
    height, width = mask.shape[-2:]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[0, 1] += shear
    matrix[0, 2] -= shear * (height - 1) / 2
    if mask.ndim == 2:
        turned = _warp(np.ascontiguousarray(image), matrix, cv2.INTER_LINEAR)
        return turned, _warp(mask.astype(np.uint8) * 255, matrix, cv2.INTER_LINEAR) > 127
    image = np.stack([_warp(np.ascontiguousarray(plane), matrix, cv2.INTER_LINEAR) for plane in image])
    mask = np.stack([_warp(plane.astype(np.uint8) * 255, matrix, cv2.INTER_LINEAR) > 127 for plane in mask])
    return image, mask


def bends(shape: tuple[int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth displacements float32 (2, H, W) in px, of rows and of columns: cubic between 5 x 5 nodes, each up to
    `strength` of the height or width. Up to 0.06 nothing folds over."""
    nodes = strength * rng.uniform(-1, 1, (2, 5, 5))
    return np.stack([cv2.resize(part * side, shape[::-1], interpolation=cv2.INTER_CUBIC)
                     for part, side in zip(nodes, shape)]).astype(np.float32)


def displace(image, mask, displacements):
    """Image and boolean mask in which pixel (y, x) is what was at (y, x) + displacements (2, H, W) px; every plane of a
    volume alike."""
    y, x = np.mgrid[: mask.shape[-2], : mask.shape[-1]].astype(np.float32)
    maps = x + displacements[1], y + displacements[0]

    def moved(plane):
        return cv2.remap(np.ascontiguousarray(plane), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    inside = mask.astype(np.uint8) * 255
    if mask.ndim == 2:
        return moved(image), moved(inside) > 127
    return np.stack([moved(plane) for plane in image]), np.stack([moved(plane) for plane in inside]) > 127


def flip(image, mask, swap, rng):
    """Random mirror along each axis and, where `swap` allows it, a random swap of x and y."""
    for axis in range(mask.ndim):
        if rng.random() < 0.5:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
    if rng.random() < 0.3 and swap:
        y = mask.ndim - 2
        image, mask = np.swapaxes(image, y, y + 1), np.swapaxes(mask, y, y + 1)
    return image, mask


def recolour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Channels float32 (C, *shape), 0..255, with random gamma, contrast, inversion, colour balance, blur and noise."""
    channels, *shape = pixels.shape
    if rng.random() < 0.4:
        low, high = pixels.min(), pixels.max()
        pixels = (np.clip((pixels - low) / max(high - low, 1), 0, 1) ** np.exp(rng.uniform(-0.6, 0.6))) * 255
    if rng.random() < 0.12:
        pixels = 255 - pixels
    if channels == 3:
        if rng.random() < 0.12:
            pixels = np.repeat(pixels.mean(axis=0, keepdims=True), 3, axis=0)
        elif rng.random() < 0.3:
            pixels = pixels * rng.uniform(0.75, 1.25, (3,) + (1,) * len(shape)) + rng.uniform(-20, 20, (3,) + (1,) * len(shape))
    if rng.random() < 0.15:
        sigma = rng.uniform(0.4, 1.6)
        planes = pixels.reshape(-1, *shape[-2:])
        pixels = np.stack([cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma) for plane in planes]).reshape(pixels.shape)
    if rng.random() < 0.2:
        noise = rng.standard_normal(pixels.shape if channels == 1 else (1, *shape), np.float32)
        pixels = pixels + noise * rng.uniform(2, 14)
    if rng.random() < 0.15:
        # A slow change of brightness across the crop: coils, lamps and attenuation.
        for axis in range(len(shape)):
            ramp = np.linspace(-1, 1, shape[axis]).reshape((-1,) + (1,) * (len(shape) - 1 - axis))
            pixels = pixels + ramp * rng.uniform(-25, 25)
    return np.clip(pixels, 0, 255).astype(np.float32)


def part_of_thin(mask, rng):
    """Of a boolean mask (H, W) that fills less than a fifth of its box (vessels, layers), what lies in a random window of
    a quarter to the whole of the box's sides; any other mask as it is. Thin structures are few, and alike everywhere."""
    box = geometry.mask_box(mask)
    low, extent = geometry.box_interval(box)
    if mask.sum() > 0.2 * extent.prod():
        return mask
    size = np.maximum(extent * rng.uniform(0.25, 1, 2), np.minimum(extent, 24))
    first = (low + rng.uniform(0, 1, 2) * (extent - size)).astype(int)
    last = first + size.astype(int)
    part = np.zeros_like(mask)
    where = tuple(slice(a, b) for a, b in zip(first, last))
    part[where] = mask[where]
    return part if part.any() else mask
