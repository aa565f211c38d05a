"""From a labelled object to a training sample of a roi network: augmentation, a loosened box, the runtime's own crop."""

import dataclasses
import pathlib
import zlib

import numpy as np

from inference import geometry
from models.roi.config import CONFIGS
from training import augment, data
from training.recipe import Recipe

MOST_DRAWS = 10000
OBJECTS_PER_DATASET = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoiRecipe(Recipe):
    """crop_shapes: one spatial shape, in array order, is drawn for every batch, with the chance in crop_chances.
    crop_extents_px: for each side that occurs in crop_shapes, in order of length, the boxes that it is for: on its axis they
    extend over more than the first number and at most the second; () where one shape is for all. loosen_px: boxes grow by
    0..loosen_px px a side, in plane. hard_boxes: share of the samples whose boxes are moved by shares of their extent
    instead (`augment.misplace`). elastic: strength of the bends (`augment.bends`) of one sample in two. emphasised: names of
    datasets that are drawn `emphasis` times as often. Of a 3-D network: cut_off, the share of the samples that are a few
    slices of a volume (`augment.few_slices`); stacked, the share that are made of 2-D images (`augment.stack`).
    """

    crop_shapes: tuple[tuple[int, ...], ...]
    crop_chances: tuple[float, ...]
    loosen_px: int
    crop_extents_px: tuple[tuple[int, int], ...] = ()
    hard_boxes: float = 0.0
    elastic: float = 0.0
    emphasised: tuple[str, ...] = ()
    emphasis: float = 1.0
    cut_off: float = 0.0
    stacked: float = 0.0

    def check(self):
        super().check()
        if len(self.crop_shapes) != len(self.crop_chances) or abs(sum(self.crop_chances) - 1) > 1e-6:
            raise ValueError("crop_chances must hold one chance per crop shape, adding up to 1; "
                             f"got {list(self.crop_chances)}")
        if not 0 <= self.elastic <= 0.06:
            raise ValueError(f"elastic must be 0..0.06, of the sides; got {self.elastic}")
        if len(self.crop_extents_px) != (len(self._sides()) if len(self.crop_shapes) > 1 else 0):
            raise ValueError("crop_extents_px must hold a pair for each side in crop_shapes, and be left out where "
                             f"there is one shape; got {list(self.crop_extents_px)}")
        for key in ("hard_boxes", "cut_off", "stacked"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be a share, 0..1; got {getattr(self, key)}")
        if (self.cut_off or self.stacked) and rank(self) == 2:
            raise ValueError("cut_off and stacked are for 3-D crops; crop_shapes has two axes")

    def _sides(self) -> list[int]:
        return sorted({side for shape in self.crop_shapes for side in shape})

    def fits(self, shape: tuple[int, ...], extent: np.ndarray) -> bool:
        """Whether a crop of `shape` is for boxes of `extent` (rank,), array order, px or voxel."""
        if not self.crop_extents_px:
            return True
        limits = dict(zip(self._sides(), self.crop_extents_px))
        return all(limits[side][0] < size <= limits[side][1] for side, size in zip(shape, extent))


RECIPE = RoiRecipe


def rank(recipe: RoiRecipe) -> int:
    """Spatial axes of a crop."""
    return len(recipe.crop_shapes[0])


def read_datasets(folder: pathlib.Path, recipe: RoiRecipe) -> list[data.Dataset]:
    """Of images and of volumes; for a 3-D network, of images only where it learns from stacks of them. Raises ValueError."""
    found = data.read_datasets(folder, 2 if recipe.stacked else rank(recipe))
    names = {dataset.name for dataset in found}
    if unknown := set(recipe.emphasised) - names:
        raise ValueError(f"emphasised must name some of {', '.join(sorted(names))}; got {', '.join(sorted(unknown))}")
    return found


def make_sample(recipe: RoiRecipe, datasets, step: int, index: int):
    """Sample `index` of batch `step`: crop (C + 1, *shape), box_px (rank,), target (1, *shape), float32."""
    shape = batch_shape(recipe, step)
    rng = np.random.default_rng([recipe.seed, step, index, 2])
    image, mask, zoom = _draw_for(recipe, shape, datasets, rng)
    return crop_sample(image, mask, shape, CONFIGS[recipe.model].margin, recipe.loosen_px, rng, zoom,
                       elastic=recipe.elastic, hard_boxes=recipe.hard_boxes, cut_off=recipe.cut_off)


def batch_shape(recipe: RoiRecipe, step: int) -> tuple[int, ...]:
    """The crop shape of batch `step`."""
    rng = np.random.default_rng([recipe.seed, step, 1])
    return recipe.crop_shapes[rng.choice(len(recipe.crop_shapes), p=recipe.crop_chances)]


def _draw_for(recipe, shape, datasets, rng):
    rank = len(shape)
    drawn_rank = 2 if recipe.stacked and rng.random() < recipe.stacked else rank
    datasets = [dataset for dataset in datasets if dataset.train[0].gts.ndim >= drawn_rank]
    chances = data.dataset_chances(datasets, recipe.emphasised, recipe.emphasis)
    for _ in range(MOST_DRAWS):
        image, mask = data.draw_object(datasets, chances, drawn_rank, rng)
        if rank == 2 and rng.random() < 0.6:
            mask = augment.part_of_thin(mask, rng)
        if drawn_rank < rank:
            image, mask = augment.stack(*_cut(image, mask, 0.75), rng)
        # Some as a scanner with finer pixels would show them: a larger box, loose by a smaller share of it.
        zoom = rng.uniform(1.0, 2.5) if rank == 2 and rng.random() < 0.3 else 1.0
        if recipe.fits(shape, zoom * geometry.box_interval(geometry.mask_box(mask))[1]):
            return image, mask, zoom
    raise RuntimeError(f"loader: none of {MOST_DRAWS} objects has a box for the crop shape {list(shape)}")


def _cut(image, mask, share):
    """Image and mask around the object, with `share` of its extent on each side: all that a sample can see."""
    box = geometry.mask_box(mask)
    rank = mask.ndim
    low, high = box[:rank][::-1], box[rank:][::-1] + 1
    pad = np.ceil((high - low) * share).astype(int) + 12
    if rank == 3:
        pad[0] = max(2, int(np.ceil((high - low)[0] * 0.4)))
    where = tuple(slice(max(0, a - p), b + p) for a, b, p in zip(low, high, pad))
    return image[where], mask[where]


def crop_sample(image, mask, crop_shape, margin, loosen_px, rng, zoom=1.0, augmented=True, elastic=0.0,
                hard_boxes=0.0, cut_off=0.0):
    """A training sample of one object.

    image (*spatial[, 3]) uint8, mask (*spatial) boolean and not empty, both taken to be `zoom` times as large, in plane,
    as they are. Returns crop float32 (C + 1, *crop_shape),
    box_px float32 (rank,) in array order, and target float32 (1, *crop_shape): the share of each pixel that is object.
    """
    rank = mask.ndim
    image, mask = _cut(image, mask, 0.75 if augmented else 0.35)
    if augmented:
        # A crop of unequal sides has them for the box's: x and y keep their places.
        image, mask = augment.flip(image, mask, crop_shape[-1] == crop_shape[-2], rng)
        if rng.random() < 0.35:
            turned = augment.rotate(image, mask, rng.normal(0, 18), rng.normal(0, 0.08))
            if turned[1].any():
                image, mask = turned
        if elastic and rng.random() < 0.5:
            bent = augment.displace(image, mask, augment.bends(mask.shape[-2:], elastic, rng))
            if bent[1].any():
                image, mask = bent
        if rank == 3 and mask.shape[0] >= 8 and rng.random() < 0.2:
            # Every second slice: a scan with twice the spacing.
            first = rng.integers(2)
            if mask[first::2].any():
                image, mask = image[first::2], mask[first::2]
        if cut_off and rng.random() < cut_off:
            image, mask = augment.few_slices(image, mask, rng)
    if augmented and hard_boxes and rng.random() < hard_boxes:
        box = augment.misplace(geometry.mask_box(mask), mask.shape, rng)
    else:
        box = augment.loosen(geometry.mask_box(mask), mask.shape, loosen_px / zoom, rng)
    crop = geometry.crop(image, box, margin, crop_shape)
    if augmented:
        # A grey picture stays grey: its equal channels are recoloured as one.
        crop[:-1] = augment.recolour(crop[:-1] if image.ndim > rank else crop[:1], rng)
    target = geometry.resample(mask, geometry.box_window(box, margin), crop_shape)[None]
    box_px = (geometry.box_interval(box)[1] * zoom).astype(np.float32)
    return crop, box_px, target


def make_validation(recipe: RoiRecipe, datasets):
    """The fixed validation samples: a list of (modality, dataset, crop, box_px, target), the same in every run of a
    recipe, in order of crop shape."""
    margin = CONFIGS[recipe.model].margin
    samples = []
    for dataset in datasets:
        if dataset.train[0].gts.ndim < rank(recipe):
            continue
        rng = np.random.default_rng(zlib.crc32(dataset.name.encode()))
        objects = [(item, label) for item in dataset.held_out for label in item.labels]
        for index in rng.permutation(len(objects))[:OBJECTS_PER_DATASET]:
            image, mask = data.object_of(*objects[index], rank(recipe), rng)
            extent = geometry.box_interval(geometry.mask_box(mask))[1]
            shape = min((shape for shape in recipe.crop_shapes if recipe.fits(shape, extent)), default=None)
            if shape is None:
                continue
            samples.append((dataset.modality, dataset.name,
                            *crop_sample(image, mask, shape, margin, recipe.loosen_px, rng, augmented=False)))
    return sorted(samples, key=lambda sample: sample[2].shape)
