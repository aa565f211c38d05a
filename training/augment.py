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


def misplace(box: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """The box as a hurried hand draws it, kept inside an image of `shape` (array order): each side 0..most outside of the
    object or up to a twentieth inside, in shares of the box's extent, where `most`, up to a fifth, is drawn for the whole
    box. float64 (2 * rank,), x first, inclusive bounds."""
    rank = len(box) // 2
    low, high = box[:rank].astype(float), box[rank:].astype(float)
    extent, most = high - low + 1, rng.uniform(0, 0.2)
    limit = np.array(shape[::-1]) - 1
    low, high = low - extent * rng.uniform(-0.05, most, rank), high + extent * rng.uniform(-0.05, most, rank)
    return np.concatenate([np.clip(low, 0, limit), np.clip(np.maximum(low, high), 0, limit)])


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


def few_slices(image, mask, rng, most=8):
    """1..most consecutive slices of a volume and of its boolean mask, some of the object among them: a stack that a scanner,
    or whoever cut it, ended inside the object."""
    slices = min(int(rng.integers(1, most + 1)), len(mask))
    inside = rng.choice(np.flatnonzero(mask.any(axis=(1, 2))))
    first = int(np.clip(inside - rng.integers(slices), 0, len(mask) - slices))
    return image[first : first + slices], mask[first : first + slices]


def stack(image, mask, rng):
    """A volume (D, H, W) uint8, and its boolean mask, made of an image (H, W) or (H, W, 3): 3 to 40 slices show the object,
    which shrinks towards both ends, and 1 to 5 beyond each end do not. All of it drifts and bends from slice to slice, and
    each slice has noise of its own. An object of more than 96 px comes out with 96.
    """
    grey = (image if image.ndim == 2 else image.mean(axis=2)).astype(np.float32)
    finer = geometry.box_interval(geometry.mask_box(mask))[1].max() / 96
    if finer > 1:
        size = tuple(max(1, round(side / finer)) for side in mask.shape[::-1])
        small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        grey, mask = cv2.resize(grey, size, interpolation=cv2.INTER_AREA), small >= min(0.5, small.max())
    box = geometry.mask_box(mask)
    centre, half = (box[[1, 0]] + box[[3, 2]]) / 2, (box[[3, 2]] - box[[1, 0]] + 1) / 2
    # Where the object is not, there is what lies beside it, on the side with the most room.
    room = np.array([box[1], box[0], mask.shape[0] - box[3], mask.shape[1] - box[2]]) / np.tile(half, 2)
    aside = np.zeros((2, *mask.shape), np.float32)
    aside[room.argmax() % 2] = (1 if room.argmax() > 1 else -1) * 2.2 * half[room.argmax() % 2]
    soft = max(half.min() * 0.08, 0.7)
    cover = cv2.GaussianBlur(cv2.dilate(mask.astype(np.float32), np.ones((3, 3)), iterations=round(2 * soft)), (0, 0), soft)
    background = grey * (1 - cover) + displace(grey, mask, aside)[0] * cover

    slices, margins = int(rng.integers(3, 41)), rng.integers(1, 6, 2)
    depths, power = (np.arange(-margins[0], slices + margins[1]) + 0.5) / slices * 2 - 1, rng.uniform(1.5, 4)
    bend, drift = (bends(mask.shape, 0.03, rng) for _ in range(2))
    offsets = np.stack([axis - c for axis, c in zip(np.mgrid[: mask.shape[0], : mask.shape[1]], centre)]).astype(np.float32)
    planes, masks = [], []
    for depth in depths:
        size = max(1 - abs(depth) ** power, 0) ** (1 / power)
        plane, inside = background, np.zeros_like(mask)
        if size > 0.1:
            shrunk = offsets * (1 / size - 1)
            around, inside = displace(grey, mask, shrunk)
            # Beyond the image's borders it is seen again, mirrored.
            once = (abs(offsets) < size * (half + 4 * soft)[:, None, None]).all(axis=0)
            share, inside = displace(cover, mask, shrunk)[0] * once, inside & once
            plane = around * share + background * (1 - share)
        plane, inside = displace(plane, inside, bend + drift * depth)
        planes.append(plane)
        masks.append(inside)
    planes, masks = np.stack(planes), np.stack(masks)
    if not masks.any():  # a thin object may fall between the pixels
        planes[0], masks[0] = grey, mask
    planes += rng.standard_normal(planes.shape, np.float32) * rng.uniform(0, 8)
    return np.clip(planes, 0, 255).astype(np.uint8), masks


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
