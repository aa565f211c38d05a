"""Makes the cases of this folder and their truth: `python test_input/make.py`, from the repository's root.

Phantoms are drawn here from fixed seeds; two real images come out of the scikit-image wheel (pip install scikit-image).
README.md says what each case shows and under which licence.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from inference.case import write_npz  # noqa: E402


@dataclass(frozen=True)
class Made:
    """A case and its truth.

    image   uint8 (H, W), (H, W, 3) or (D, H, W)
    labels  uint8 (H, W) or (D, H, W): 1..K are the objects, 0 is background
    boxes   (K, 4) px or (K, 6) voxel, inclusive, one per object, as the challenge orders them
    spacing_xyz_mm  of a volume
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    spacing_xyz_mm: tuple[float, float, float] | None = None


def loose_boxes(labels: np.ndarray, rng: np.random.Generator, most: int = 4) -> np.ndarray:
    """int32 (K, 4) or (K, 6): the tight box of each label, each side moved outwards by 0..most px inside the image."""
    boxes = []
    for slices in ndimage.find_objects(labels):
        low = [max(0, s.start - rng.integers(most + 1)) for s in slices]
        high = [min(n, s.stop + rng.integers(most + 1)) - 1 for s, n in zip(slices, labels.shape, strict=True)]
        boxes.append(low[::-1] + high[::-1])
    return np.array(boxes, np.int32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma) -> np.ndarray:
    """Gaussian noise blurred by `sigma` px, scaled back to mean 0 and deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def blob(shape: tuple[int, int], centre_yx, radii_yx, angle: float, wobble: np.ndarray) -> np.ndarray:
    """Signed depth in px inside a rounded shape: an ellipse whose radius carries the harmonics 2, 3, ... of `wobble`.

    wobble: (harmonics, 2), amplitudes of cosine and sine as shares of the radius.
    """
    y, x = np.indices(shape) - np.reshape(centre_yx, (2, 1, 1))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    turn = np.arctan2(v / radii_yx[0], u / radii_yx[1])
    edge = 1 + sum(c * np.cos(k * turn) + s * np.sin(k * turn) for k, (c, s) in enumerate(wobble, 2))
    return (edge - np.hypot(v / radii_yx[0], u / radii_yx[1])) * min(radii_yx)


def soft(depth: np.ndarray, width: float) -> np.ndarray:
    """0..1 across a border that is `width` px wide; 0.5 on it."""
    return 1 / (1 + np.exp(np.clip(-4 * depth / width, -60, 60)))


def as_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def ultrasound() -> Made:
    """Breast ultrasound: layers, speckle, a dark lesion with enhancement below it, and a small cyst. Grey, (H, W)."""
    rng = np.random.default_rng(1)
    shape = height, width = (288, 384)
    depth_px = np.indices(shape)[0] + 6 * smooth_noise(rng, shape, (12, 60))
    echo = np.full(shape, 0.10)
    for top, bottom, strength in ((0, 14, 0.9), (14, 70, 0.07), (70, 175, 0.22), (175, 190, 0.6), (190, 400, 0.06)):
        echo[(depth_px >= top) & (depth_px < bottom)] = strength
    tilt = (9 * smooth_noise(rng, (width,), 45)).astype(int)
    fibres = smooth_noise(rng, shape, (1.4, 13)) + 0.8 * smooth_noise(rng, shape, (3, 30))
    fibres = np.stack([np.roll(column, shift) for column, shift in zip(fibres.T, tilt, strict=True)], axis=1)
    echo *= np.exp(0.45 * fibres + 0.4 * smooth_noise(rng, shape, (9, 16)))
    lesion = blob(shape, (122, 150), (34, 52), 0.12, rng.normal(0, [[0.05], [0.04], [0.025]], (3, 2)))
    cyst = blob(shape, (108, 292), (15, 19), 0, rng.normal(0, 0.02, (2, 2)))
    below = np.indices(shape)[0] > 130
    shadow_free = soft(np.cumsum(lesion > 0, axis=0) - 8, 12) * below * (lesion < 0)
    echo *= 1 + 1.6 * shadow_free
    echo += 0.5 * np.exp(-((lesion + 1) / 2.5) ** 2) * rng.uniform(0.2, 1)
    for depth, strength in ((lesion, 0.018), (cyst, 0.004)):
        echo = echo * (1 - soft(depth, 2.5)) + strength * soft(depth, 2.5)
    waves = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    waves *= np.sqrt(echo)
    psf = ndimage.gaussian_filter(waves.real, (0.8, 1.7)) + 1j * ndimage.gaussian_filter(waves.imag, (0.8, 1.7))
    decibel = 20 * np.log10(np.abs(psf) + 1e-4)
    fade = np.linspace(0, -9, height)[:, None]
    image = 255 * (decibel - decibel.max() + 46 + fade) / 46
    labels = np.where(lesion > 0, 1, np.where(cyst > 0, 2, 0)).astype(np.uint8)
    return Made(as_uint8(ndimage.gaussian_filter(image, 0.6)), labels, loose_boxes(labels, rng))


def dermoscopy() -> Made:
    """A pigmented lesion under hairs. RGB."""
    rng = np.random.default_rng(2)
    shape = (256, 340)
    lesion = blob(shape, (132, 172), (62, 78), -0.4, rng.normal(0, [[0.07], [0.06], [0.04], [0.03], [0.02]], (5, 2)))
    skin = np.array([214.0, 168, 146]) + 5 * smooth_noise(rng, shape, 40)[..., None] * np.array([1, 1.3, 1.4])
    skin += 3 * smooth_noise(rng, shape, 2.5)[..., None] * np.array([0.6, 1.2, 1.2])
    pigment = 0.62 + 0.13 * smooth_noise(rng, shape, 14) + 0.07 * smooth_noise(rng, shape, 2.2)
    pigment += 0.22 * soft(blob(shape, (118, 190), (30, 34), 0.3, np.zeros((1, 2))), 26)
    amount = (soft(lesion, 7) * np.clip(pigment, 0.25, 0.97))[..., None]
    image = skin * (1 - amount) + np.array([66.0, 30, 16]) * amount
    y, x = np.indices(shape)
    for _ in range(9):
        angle, offset, bend = rng.uniform(0, np.pi), rng.uniform(-120, 120), rng.uniform(-3e-3, 3e-3)
        along = (x - 170) * np.cos(angle) + (y - 128) * np.sin(angle)
        across = (y - 128) * np.cos(angle) - (x - 170) * np.sin(angle)
        middle, length = rng.uniform(-110, 110), rng.uniform(50, 120)
        hair = np.exp(-((across - offset - bend * along**2) / 1.0) ** 2) * (np.abs(along - middle) < length)
        image *= 1 - 0.7 * hair[..., None]
    corner = np.hypot((y - 128) / 128, (x - 170) / 170)
    image *= (1 - 0.18 * np.clip(corner - 0.5, 0, None) ** 2)[..., None]
    image = ndimage.gaussian_filter(image, (0.7, 0.7, 0))
    image += rng.normal(0, 2, (*shape, 1)) + rng.normal(0, 1, (*shape, 3))
    labels = (lesion > 0).astype(np.uint8)
    return Made(as_uint8(image), labels, loose_boxes(labels, rng))


def nuclei() -> Made:
    """Fluorescence microscopy: 72 nuclei, some touching. Grey, with uint16 boxes."""
    rng = np.random.default_rng(3)
    shape = (320, 360)
    image = 9 + 2.5 * smooth_noise(rng, shape, 50)
    texture = 1 + 0.13 * smooth_noise(rng, shape, 2.2)
    labels = np.zeros(shape, np.uint8)
    for index in range(72):
        centre = np.array(divmod(index, 9)) * (39.5, 39.5) + (21, 21) + rng.uniform(-13, 13, 2)
        radii = rng.uniform(8.5, 14.5) * np.array([1, rng.uniform(0.72, 1)])
        depth = blob(shape, centre, radii, rng.uniform(0, np.pi), rng.normal(0, [[0.05], [0.03]], (2, 2)))
        free = labels == 0
        labels[(depth > 0) & free] = index + 1
        image += rng.uniform(45, 165) * soft(depth, 2.6) * texture * (0.72 + 0.28 * np.clip(depth / 6, 0, 1)) * free
    image = ndimage.gaussian_filter(image, 0.7)
    image = rng.poisson(np.clip(image, 0, None) * 1.4) / 1.4 + rng.normal(0, 1.2, shape)
    return Made(as_uint8(image), labels, loose_boxes(labels, rng, most=2).astype(np.uint16))


def chest() -> Made:
    """Chest X-ray cut at its left: a box that sticks out of the image, a whole lung, and a box of one pixel."""
    rng = np.random.default_rng(4)
    shape = (256, 256)
    y, x = np.indices(shape).astype(float)
    body = soft(132 - np.abs(x - 108) - 0.10 * np.clip(90 - y, 0, None), 10)
    image = 30 + 150 * body + 25 * np.exp(-((x - 108) / 26) ** 2) + 22 * (y / 256)
    wobble = rng.normal(0, 0.03, (3, 2))
    dome = 14 * np.cos((x - 40) / 42)
    right = np.minimum(blob(shape, (134, 38), (104, 50), 0.05, wobble), (208 - dome - y) / 1.2)
    left = np.minimum(blob(shape, (136, 182), (104, 46), -0.06, wobble), (212 + 9 * np.cos((x - 190) / 30) - y) / 1.2)
    heart = blob(shape, (178, 132), (52, 44), 0.5, np.zeros((1, 2)))
    left = np.minimum(left, -heart)
    lungs = np.maximum(soft(right, 5), soft(left, 5))
    image -= 98 * lungs * (1 + 0.10 * smooth_noise(rng, shape, 20))
    for rib in range(9):
        for side, middle in ((1, 182), (-1, 38)):
            course = 38 + 22 * rib + side * 0.18 * (x - middle) + 0.006 * (x - middle) ** 2
            image += 17 * np.exp(-(((y - course) / 4.2) ** 4)) * body * (np.abs(x - middle) < 62)
    vessels = np.clip(smooth_noise(rng, shape, (2.2, 2.8)), 0.4, None) - 0.4
    hilum = np.exp(-np.hypot(x - 108, y - 120) / 55)
    image += 40 * vessels * hilum * lungs + 13 * np.exp(-((y - 40 + 0.25 * np.abs(x - 108)) / 6) ** 2) * body
    image = ndimage.gaussian_filter(image, 0.9) + 2.2 * smooth_noise(rng, shape, 0.7)
    labels = np.where(right > 0, 1, np.where(left > 0, 2, 0)).astype(np.uint8)
    labels[231, 236] = 3
    image[231, 236] = 255
    boxes = loose_boxes(labels, rng)
    boxes[0, 0] = -11  # the lung goes on where the film ends
    boxes[2] = (236, 231, 236, 231)
    return Made(as_uint8(image), labels, boxes)


def ellipsoid(shape, spacing_zyx_mm, centre_zyx_mm, radii_zyx_mm, bumps: np.ndarray) -> np.ndarray:
    """Signed depth in mm inside an ellipsoid whose surface is moved by `bumps` mm, (D, H, W)."""
    places_zyx_mm = np.indices(shape) * np.reshape(spacing_zyx_mm, (3, 1, 1, 1))
    offset = (places_zyx_mm - np.reshape(centre_zyx_mm, (3, 1, 1, 1))) / np.reshape(radii_zyx_mm, (3, 1, 1, 1))
    return (1 - np.sqrt((offset**2).sum(axis=0))) * min(radii_zyx_mm) + bumps


def thigh() -> Made:
    """CT of a thigh with three soft-tissue tumours, voxels of 0.8 x 0.8 x 5 mm, window -160..240 HU. (D, H, W)."""
    rng = np.random.default_rng(5)
    spacing_zyx_mm = np.array([5, 0.8, 0.8])
    shape = (20, 168, 176)
    bumps_sigma = 9 / spacing_zyx_mm
    slice_shape = shape[1:]
    muscle_depth = blob(slice_shape, (84, 88), (66, 68), 0.3, rng.normal(0, 0.02, (3, 2)))
    skin_depth = blob(slice_shape, (84, 88), (78, 82), 0.3, rng.normal(0, 0.01, (3, 2)))
    bone_depth = blob(slice_shape, (74, 92), (15, 14), 0, rng.normal(0, 0.03, (2, 2)))
    septa = np.abs(smooth_noise(rng, shape, 12 / spacing_zyx_mm)) < 0.07
    hu = np.where(skin_depth > 0, -105.0, -1000.0) * np.ones(shape)
    hu += (6 * smooth_noise(rng, shape, 3 / spacing_zyx_mm)) * (skin_depth > 0)
    hu = np.where(muscle_depth > 0, np.where(septa, -60, 62 + 5 * smooth_noise(rng, shape, 8 / spacing_zyx_mm)), hu)
    hu = np.where((skin_depth > 0) & (skin_depth < 2), 20, hu)
    labels = np.zeros(shape, np.uint8)
    tumours = (((48, 91, 44), (33, 23, 19), 22), ((34, 40, 112), (21, 13, 15), 118), ((66, 96, 104), (16, 12, 10), 8))
    for label, (centre, radii, level) in enumerate(tumours, 1):
        depth = ellipsoid(shape, spacing_zyx_mm, centre, radii, 1.3 * smooth_noise(rng, shape, bumps_sigma))
        inside = (depth > 0) & (muscle_depth > 2) & (bone_depth < -2)
        labels[inside] = label
        hu[inside] = (level + 9 * smooth_noise(rng, shape, 6 / spacing_zyx_mm))[inside]
    hu = np.where(bone_depth > 0, np.where(bone_depth < 5.5, 950, -30), hu)
    hu = ndimage.gaussian_filter(hu, (0.35, 0.8, 0.8)) + 13 * smooth_noise(rng, shape, (0, 0.8, 0.8))
    return Made(as_uint8((hu + 160) / 400 * 255), labels, loose_boxes(labels, rng, most=3), tuple(spacing_zyx_mm[::-1]))


def hot_spots() -> Made:
    """PET with two lesions that take up tracer, one with a cold centre, voxels of 4 mm. (D, H, W)."""
    rng = np.random.default_rng(6)
    spacing_zyx_mm = np.array([4.0, 4, 4])
    shape = (28, 48, 52)
    body = ellipsoid(shape, spacing_zyx_mm, (54, 94, 102), (300, 76, 88), 3 * smooth_noise(rng, shape, 4))
    uptake = 0.05 + 0.55 * soft(body, 6) * (1 + 0.25 * smooth_noise(rng, shape, 3))
    labels = np.zeros(shape, np.uint8)
    lesions = (((50, 80, 70), (30, 26, 22), 6.0), ((72, 116, 142), (17, 15, 16), 4.5))
    for label, (centre, radii, level) in enumerate(lesions, 1):
        depth = ellipsoid(shape, spacing_zyx_mm, centre, radii, 1.5 * smooth_noise(rng, shape, 2))
        labels[depth > 0] = label
        cold = 0.6 * soft(depth - 14, 6) if label == 1 else 0
        uptake = np.where(depth > 0, level * (1 - cold), uptake)
    counts = rng.poisson(ndimage.gaussian_filter(uptake, 0.75) * 60) / 60
    image = ndimage.gaussian_filter(counts, 0.6)
    return Made(as_uint8(image / np.percentile(image, 99.8) * 255), labels, loose_boxes(labels, rng, most=2),
                tuple(spacing_zyx_mm[::-1]))


def cell() -> Made:
    """A cell in saline, quantitative phase imaging: `skimage.data.cell`, CC0. Real; grey, (H, W).

    Truth: Otsu's threshold, the largest part, holes filled. The cell is far brighter than all around it.
    """
    from skimage import data, filters
    image = data.cell()
    parts, _ = ndimage.label(image > filters.threshold_otsu(image))
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    labels = ndimage.binary_fill_holes(parts == largest).astype(np.uint8)
    return Made(image, labels, loose_boxes(labels, np.random.default_rng(7)))


def optic_disc() -> Made:
    """A fundus photograph of 512 x 512 with its optic disc: `skimage.data.retina`, CC0. Real; RGB.

    Truth: the ellipse that follows the rim of the disc, placed by eye.
    """
    from PIL import Image
    from skimage import data
    image = np.array(Image.fromarray(data.retina()).resize((512, 512), Image.Resampling.BOX))
    y, x = np.indices((512, 512))
    labels = (((x - 77) / 33.5) ** 2 + ((y - 237) / 37) ** 2 <= 1).astype(np.uint8)
    return Made(image, labels, loose_boxes(labels, np.random.default_rng(8)))


CASES = {
    "2DBox_US_phantom_0001": ultrasound,
    "2DBox_Dermoscopy_phantom_0001": dermoscopy,
    "2DBox_Microscopy_phantom_0001": nuclei,
    "2DBox_XRay_phantom_0001": chest,
    "3DBox_CT_phantom_0001": thigh,
    "3DBox_PET_phantom_0001": hot_spots,
    "2DBox_Microscopy_cell_0001": cell,
    "2DBox_Fundus_retina_0001": optic_disc,
}


def main() -> None:
    """Write every case to this folder and its truth to `truth/`."""
    (FOLDER / "truth").mkdir(exist_ok=True)
    for name, make in CASES.items():
        made = make()
        spacing = {} if made.spacing_xyz_mm is None else {"spacing": np.array(made.spacing_xyz_mm)}
        write_npz(FOLDER / f"{name}.npz", {"imgs": made.image, "boxes": made.boxes, **spacing})
        write_npz(FOLDER / "truth" / f"{name}.npz", {"gts": made.labels, **spacing})
        print(f"{name}.npz {made.image.shape} {len(made.boxes)} objects")


if __name__ == "__main__":
    main()
