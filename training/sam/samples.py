"""From a labelled image or slice to a training sample of the SAM family: augmentation, the runtime's own frame, boxes."""

import dataclasses
import zlib

import cv2
import numpy as np

from inference import geometry
from inference.segment.frame import Frame
from models.sam.config import CONFIGS
from training import augment, data
from training.recipe import Recipe

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
AUGMENTATIONS = ("none", "flips", "affine", "strong")
OBJECTS_PER_DATASET = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamRecipe(Recipe):
    """masks: objects an image, drawn with replacement, that share its embedding. augmentation: none; flips; affine (flips,
    and in half of the images a shift of 6 %, a scale of 20 % and a rotation of up to 90 degrees, MedficientSAM's); strong
    (that, and grey values). shift_px: by 0..shift_px px of the prompt frame each side of a box is moved outwards, by one
    number for all sides with shift_sides_together. cross_entropy, dice, focal, iou: weights of the loss terms, of which
    iou is the squared error of the predicted IoU. train: which of the parts are trained.
    """

    masks: int
    augmentation: str
    shift_px: int
    shift_sides_together: bool = False
    cross_entropy: float = 0.0
    dice: float = 0.0
    focal: float = 0.0
    iou: float = 0.0
    train: tuple[str, ...] = ("image_encoder", "mask_decoder")

    def check(self):
        super().check()
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(f"augmentation must be one of {', '.join(AUGMENTATIONS)}; got {self.augmentation!r}")
        if not self.train or set(self.train) - set(PARTS):
            raise ValueError(f"train must hold some of {', '.join(PARTS)}; got {list(self.train)}")
        if not max(self.cross_entropy, self.dice, self.focal, self.iou) > 0:
            raise ValueError("one of cross_entropy, dice, focal and iou must be above 0")


RECIPE = SamRecipe


def rank(recipe: SamRecipe) -> int:
    """The models take images, and slices of volumes."""
    return 2


def frame_of(model: str) -> Frame:
    """The frame that the runtime, too, gives the model called `model`."""
    return Frame(CONFIGS[model].preprocessing.facts())


def make_sample(recipe: SamRecipe, datasets, step: int, index: int):
    """Sample `index` of batch `step`: image float32 (3, S, S), boxes float32 (masks, 4) in the prompt frame, x first, and
    targets float32 (masks, 1, S, S), 0 or 1. A box whose object was turned out of the image is random, its target empty."""
    rng = np.random.default_rng([recipe.seed, step, index])
    image, gts = draw_image(datasets, rng)
    labels = np.unique(gts[gts > 0])
    if recipe.augmentation != "none":
        image, gts = flip(image, gts, rng)
    if recipe.augmentation in ("affine", "strong") and rng.random() < 0.5:
        image, gts = shift_scale_rotate(image, gts, rng)
    frame = frame_of(recipe.model)
    picture, gts = frame.picture(image), in_frame(gts, frame)
    if recipe.augmentation == "strong" and frame.normalise == "min_max":
        picture = augment.recolour(picture * 255 if image.ndim == 3 else picture[:1] * 255, rng) / 255
        picture = np.broadcast_to(picture, (3, frame.size, frame.size)).copy()
    masks = [gts == label for label in rng.choice(labels, recipe.masks)]
    boxes = [shifted_box(recipe, mask, frame, rng) for mask in masks]
    return picture, np.stack(boxes), np.stack(masks)[:, None].astype(np.float32)


def draw_image(datasets, rng):
    """A random labelled image or slice, (image, gts), of a dataset drawn by `data.dataset_chances`."""
    dataset = datasets[rng.choice(len(datasets), p=data.dataset_chances(datasets))]
    item = dataset.train[rng.integers(len(dataset.train))]
    planes = item.planes()
    return item.plane(planes[rng.integers(len(planes))])


def flip(image, gts, rng):
    """Mirrored along each axis or not."""
    for axis in range(2):
        if rng.random() < 0.5:
            image, gts = np.flip(image, axis), np.flip(gts, axis)
    return image, gts


def shift_scale_rotate(image, gts, rng):
    """Shifted by up to 6.25 %, scaled by up to 20 %, turned by up to 90 degrees about the centre; zeros come in from
    outside. MedficientSAM's augmentation (its configs, albumentations' ShiftScaleRotate)."""
    height, width = gts.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-90, 90), rng.uniform(0.8, 1.2))
    matrix[:, 2] += rng.uniform(-0.0625, 0.0625, 2) * (width, height)
    turned = cv2.warpAffine(np.ascontiguousarray(image), matrix, (width, height), flags=cv2.INTER_LINEAR)
    gts = gts.astype(np.uint16 if gts.max() > 255 else np.uint8)
    return turned, cv2.warpAffine(np.ascontiguousarray(gts), matrix, (width, height), flags=cv2.INTER_NEAREST)


def in_frame(gts, frame: Frame):
    """Labels (H, W) in the frame (S, S), each pixel that of the nearest, 0 beyond the image."""
    filled = frame.filled(gts.shape)
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(filled, gts.shape))
    framed = np.zeros((frame.size, frame.size), gts.dtype)
    framed[: filled[0], : filled[1]] = gts[np.ix_(rows, columns)]
    return framed


def shifted_box(recipe: SamRecipe, mask, frame: Frame, rng):
    """float32 (4,): the box of a mask (S, S), its sides moved outwards, in the prompt frame."""
    box = geometry.mask_box(mask)
    scale = CONFIGS[recipe.model].preprocessing.prompt_size / frame.size
    if box is None:
        corners = np.sort(rng.uniform(0, frame.size - 1, (2, 2)), axis=0)
        return (corners * scale).ravel().astype(np.float32)
    shift = rng.integers(0, recipe.shift_px + 1, 1 if recipe.shift_sides_together else 4)
    limit = CONFIGS[recipe.model].preprocessing.prompt_size - 1
    return np.clip(box * scale + shift * [-1, -1, 1, 1], 0, limit).astype(np.float32)


def make_validation(recipe: SamRecipe, datasets):
    """A list of (modality, dataset, image, box, target), not augmented, the same in every run of a recipe."""
    frame = frame_of(recipe.model)
    samples = []
    for dataset in datasets:
        rng = np.random.default_rng(zlib.crc32(dataset.name.encode()))
        objects = [(item, label) for item in dataset.held_out for label in item.labels]
        for index in rng.permutation(len(objects))[:OBJECTS_PER_DATASET]:
            item, label = objects[index]
            image, mask = data.object_of(item, label, 2, rng)
            mask = in_frame(mask, frame)
            if mask.any():
                samples.append((dataset.modality, dataset.name, frame.picture(image),
                                shifted_box(recipe, mask, frame, rng)[None], mask[None, None].astype(np.float32)))
    return samples
