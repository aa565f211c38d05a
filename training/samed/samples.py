"""From a labelled slice to a training sample of the SAMed family: turned or mirrored, then the runtime's own picture."""

import dataclasses

import numpy as np
from scipy import ndimage

from evaluation.organs.classes import check_labels
from inference.segment.semantic import nearest, picture
from models.samed.config import CONFIGS
from training.recipe import Recipe
from training.samed.slices import chosen, plane, planes_of, read_datasets  # noqa: F401

ADAPTATIONS = ("lora", "decoder", "full")
SLICES_PER_CASE = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamedRecipe(Recipe):
    """base_weights: safetensors of the model's base SAM. adapt: lora (LoRAs, prompt encoder and decoder, as published),
    decoder (the same without LoRAs, the image encoder frozen) or full (all of SAM, without LoRAs). datasets: names of those
    that are trained on; Synapse may be SAMed's flat folder of slices. labels: those of the model's classes in them, in their
    order; all others are background. gapless: see `labels_of_case`. cross_entropy, dice: weights of the loss terms.
    """

    base_weights: str
    adapt: str
    datasets: tuple[str, ...]
    labels: tuple[int, ...]
    gapless: tuple[tuple[int, ...], ...] = ()
    cross_entropy: float = 0.2
    dice: float = 0.8

    def check(self):
        super().check()
        if self.adapt not in ADAPTATIONS:
            raise ValueError(f"adapt must be one of {', '.join(ADAPTATIONS)}; got {self.adapt!r}")
        if not self.datasets:
            raise ValueError("datasets must name at least one")
        if self.leave_out:
            raise ValueError(f"leave_out must be empty, datasets says what is used; got {list(self.leave_out)}")
        if min(self.cross_entropy, self.dice) < 0 or self.cross_entropy + self.dice <= 0:
            raise ValueError("cross_entropy and dice must not be below 0, and one of them above; "
                             f"got {self.cross_entropy:g} and {self.dice:g}")
        check_labels(self.labels, self.gapless, CONFIGS[self.model].classes)


RECIPE = SamedRecipe


def rank(recipe: SamedRecipe) -> int:
    """The models take images, and slices of volumes."""
    return 2


def make_sample(recipe: SamedRecipe, datasets, step: int, index: int):
    """Sample `index` of batch `step`: picture float32 (3, S, S), see `semantic.picture`, and classes uint8 (L, L) at the
    resolution of the logits. Every slice of the recipe's datasets is as likely as any other."""
    rng = np.random.default_rng([recipe.seed, step, index])
    slices = [(case, z) for dataset in chosen(recipe, datasets) for case in dataset.train for z in planes_of(case)]
    image, classes = turn(*plane(recipe, *slices[rng.integers(len(slices))]), rng)
    return framed(recipe.model, image), low_resolution(recipe.model, classes)


def framed(model: str, image: np.ndarray) -> np.ndarray:
    """The runtime's picture of an image for the model called `model`."""
    config = CONFIGS[model]
    return picture(image, config.image_size, config.slice_size)


def turn(image: np.ndarray, classes: np.ndarray, rng: np.random.Generator):
    """Both, in one of two cases turned by 0, 90, 180 or 270 degrees and mirrored along one axis, in one of four turned by a
    whole angle of -20 to 19 degrees, each pixel the nearest; else as they are (SAMed, RandomGenerator)."""
    if rng.random() > 0.5:
        quarters, axis = rng.integers(4), rng.integers(2)
        return tuple(np.flip(np.rot90(array, quarters), axis) for array in (image, classes))
    if rng.random() > 0.5:
        degrees = int(rng.integers(-20, 20))
        return tuple(ndimage.rotate(array, degrees, order=0, reshape=False) for array in (image, classes))
    return image, classes


def low_resolution(model: str, classes: np.ndarray) -> np.ndarray:
    """uint8 (L, L): classes (H, W) where the network's logits lie, each that of the nearest pixel.

    Logit i is the middle of S / L pixels of the picture, for the network enlarges its logits so. The published program zooms
    classes to S px, then to L, first pixel on first: at the borders half a logit away from where they are enlarged to.
    """
    config = CONFIGS[model]
    logits = 4 * config.sam.encoder.grid
    in_picture = (np.arange(logits) + 0.5) * config.image_size / logits - 0.5
    return classes[np.ix_(*[np.floor(in_picture / (config.image_size - 1) * (side - 1) + 0.5).astype(int)
                            for side in classes.shape])]


def make_validation(recipe: SamedRecipe, datasets):
    """A list of (dataset, case, picture, classes uint8 (S, S)), not turned: held-out cases, of volumes some slices, evenly
    spaced. The same in every run of a recipe."""
    size = CONFIGS[recipe.model].image_size
    samples = []
    for dataset in chosen(recipe, datasets):
        for case in dataset.held_out:
            planes = planes_of(case)
            for place in np.unique(np.linspace(0, len(planes) - 1, SLICES_PER_CASE).round().astype(int)):
                image, classes = plane(recipe, case, planes[place])
                samples.append((dataset.name, case.name, framed(recipe.model, image), nearest(classes, (size, size))))
    return samples
