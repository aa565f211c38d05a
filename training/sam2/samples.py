"""From labelled cases to clips of one object: its frames, its masks, and the prompt on the first frame."""

import dataclasses
import zlib

import numpy as np

from inference.segment.frame import Frame
from models.sam2.config import CONFIGS, Sam2Config
from training import augment, data
from training.recipe import Recipe
from training.sam.samples import flip, in_frame

CLIPS_PER_DATASET = 8
MASK, BOX = 0, 1
"""Kinds of prompts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sam2Recipe(Recipe):
    """frames: of a clip. image_size: of frames in px, which may be less than the model's. few_shot: the share of clips whose
    frames are cases of their own, of a dataset among shared_labels, where labels mean the same in all cases: the model is to
    find in one patient what is marked in another. boxes: the share of batches that are prompted by a box, not by the mask.
    shift_px: by 0..shift_px px each side of such a box is moved outwards. max_step: slices of a volume from one frame to
    the next. cross_entropy, dice, iou, score: weights of the loss terms; iou is the absolute error of the predicted IoU,
    score the cross-entropy of whether the object is there.
    """

    frames: int
    image_size: int
    few_shot: float
    shared_labels: tuple[str, ...]
    boxes: float
    shift_px: int = 3
    max_step: int = 2
    cross_entropy: float = 1.0
    dice: float = 1.0
    iou: float = 1.0
    score: float = 1.0

    def check(self):
        super().check()
        if self.frames < 2:
            raise ValueError(f"frames must be at least 2; got {self.frames}")
        unit = CONFIGS[self.model].stride * 2
        if self.image_size < unit or self.image_size % unit:
            raise ValueError(f"image_size must be a multiple of {unit}; got {self.image_size}")
        for key in ("few_shot", "boxes"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be 0..1; got {getattr(self, key)}")


RECIPE = Sam2Recipe


def rank(recipe: Sam2Recipe) -> int:
    """Clips are made of images too."""
    return 2


def config_of(recipe: Sam2Recipe) -> Sam2Config:
    """The model's, at the recipe's image size."""
    config = CONFIGS[recipe.model]
    size = recipe.image_size
    return dataclasses.replace(config, preprocessing=dataclasses.replace(config.preprocessing, image_size=size,
                                                                         prompt_size=size))


def make_sample(recipe: Sam2Recipe, datasets, step: int, index: int):
    """Sample `index` of batch `step`: frames float32 (frames, 3, S, S), masks float32 (frames, 1, S, S), 0 or 1, of one
    object that is in the first, its box there float32 (4,) in px, x first, and the kind of prompt, MASK or BOX, which is one
    for all of the batch."""
    rng = np.random.default_rng([recipe.seed, step, index])
    kind = int(np.random.default_rng([recipe.seed, step]).random() < recipe.boxes)
    while True:  # a deformation may turn the object out of the first frame
        frames, masks = _clip(recipe, datasets, rng)
        if masks[0].any():
            return frames, masks, _box(recipe, masks[0, 0], rng), np.array(kind, np.float32)


def _clip(recipe, datasets, rng):
    shared = [dataset for dataset in datasets if dataset.name in recipe.shared_labels]
    if shared and rng.random() < recipe.few_shot:
        dataset = shared[rng.integers(len(shared))]
        planes = across_cases(dataset.train, recipe.frames, rng)
    else:
        dataset = datasets[rng.choice(len(datasets), p=data.dataset_chances(datasets))]
        item = dataset.train[rng.integers(len(dataset.train))]
        planes = clip_of(item, rng.choice(item.labels), recipe.frames, recipe.max_step, rng)
    turned = rng.integers(2**32)
    # All frames are mirrored alike.
    planes = [flip(image, mask, np.random.default_rng(turned)) for image, mask in planes]
    return framed(recipe, planes, rng if rng.random() < 0.5 else None)


def across_cases(items, frames: int, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """A list of (image, mask bool (H, W)) of one label in as many cases, each a random slice of the object; of volumes about
    as far along the object in each case."""
    label = rng.choice(items[rng.integers(len(items))].labels)
    holders = [item for item in items if label in item.labels]
    chosen = [holders[index] for index in rng.choice(len(holders), frames, replace=len(holders) < frames)]
    share, planes = rng.random(), []
    for item in chosen:
        if item.gts.ndim == 2:
            planes.append((item.image, item.gts == label))
            continue
        inside = np.flatnonzero((item.gts == label).any(axis=(1, 2)))
        at = np.clip(share + rng.normal(0, 0.08), 0, 0.999)
        z = inside[int(at * len(inside))]
        planes.append((item.image[z], item.gts[z] == label))
    return planes


def clip_of(item: data.Item, label: int, frames: int, max_step: int, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """A list of (image, mask bool (H, W)): of a volume neighbouring slices in either direction, from one with the object, up
    to `max_step` apart, which may go beyond the object and stay at the volume's ends; of an image the image, more and more
    deformed."""
    mask = item.gts == label
    if item.gts.ndim == 2:
        return deformed(item.image, mask, frames, rng)
    start = rng.choice(np.flatnonzero(mask.any(axis=(1, 2))))
    step = rng.integers(1, max_step + 1) * rng.choice([-1, 1])
    zs = np.clip(start + step * np.arange(frames), 0, len(mask) - 1)
    return [(item.image[z], mask[z]) for z in zs]


def deformed(image: np.ndarray, mask: np.ndarray, frames: int, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """The image and its mask bool (H, W) as a clip: frame t is moved by t times a smooth random field, of shift, scale,
    rotation and local bends, as neighbouring slices or moments of a video are."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    field = augment.bends(mask.shape, 0.02, rng)
    turn, grow = rng.normal(0, 0.04), rng.normal(0, 0.04)
    shift_y, shift_x = rng.normal(0, 0.02, 2) * max(height, width)
    from_y, from_x = y - height / 2, x - width / 2
    field[0] += grow * from_y + turn * from_x + shift_y
    field[1] += grow * from_x - turn * from_y + shift_x
    return [augment.displace(image, mask, t * field) for t in range(frames)]


def framed(recipe: Sam2Recipe, planes, rng=None):
    """frames float32 (frames, 3, S, S) and masks float32 (frames, 1, S, S) of a clip. rng: grey values are changed, in all
    frames alike."""
    frame = Frame(config_of(recipe).preprocessing.facts())
    change = rng.integers(2**32) if rng is not None else None
    frames, masks = [], []
    for image, mask in planes:
        picture = frame.picture(image)
        if change is not None:
            channels = picture if image.ndim == 3 else picture[:1]
            channels = augment.recolour(channels * 255, np.random.default_rng(change)) / 255
            picture = np.broadcast_to(channels, picture.shape)
        frames.append(picture)
        masks.append(in_frame(mask, frame)[None])
    return np.stack(frames).astype(np.float32), np.stack(masks).astype(np.float32)


def _box(recipe, mask, rng):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
    shift = rng.integers(0, recipe.shift_px + 1, 4) * [-1, -1, 1, 1]
    return np.clip(box + shift, 0, recipe.image_size - 1).astype(np.float32)


def make_validation(recipe: Sam2Recipe, datasets):
    """A list of (modality, dataset, frames, masks), not augmented, of held-out cases: clips, and across cases for the datasets
    of shared_labels, as "NAME few-shot"."""
    samples = []
    for dataset in datasets:
        rng = np.random.default_rng(zlib.crc32(dataset.name.encode()))
        clips = []
        if dataset.held_out:
            for _ in range(CLIPS_PER_DATASET):
                item = dataset.held_out[rng.integers(len(dataset.held_out))]
                clips.append((dataset.name, clip_of(item, rng.choice(item.labels), recipe.frames, recipe.max_step, rng)))
            if dataset.name in recipe.shared_labels:
                clips += [(f"{dataset.name} few-shot", across_cases(dataset.held_out, recipe.frames, rng))
                          for _ in range(CLIPS_PER_DATASET)]
        for name, planes in clips:
            frames, masks = framed(recipe, planes)
            if masks[0].any():
                samples.append((dataset.modality, name, frames, masks))
    return samples
