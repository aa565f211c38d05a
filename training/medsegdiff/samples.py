"""From a labelled image to a training sample of MedSegDiff: augmentation, the runtime's own picture, noise on the mask."""

import dataclasses
import pathlib
import zlib

import numpy as np

from inference import resize
from inference.diffusion.picture import picture
from models.medsegdiff.config import CONFIGS, MedSegDiffConfig
from training import augment, data
from training.medsegdiff import layouts
from training.recipe import Recipe
from training.sam.samples import draw_image, flip, shift_scale_rotate

AUGMENTATIONS = ("none", "flips", "affine", "strong")
IMAGES_PER_DATASET = 16
SWITCHES = ("self_condition", "ff_parser", "dynamic_encoding", "attention", "disable_ff_parser", "disable_dynamic_encoding")
SIZES = ("image_size", "channels", "dim", "dim_mults", "cond_patch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MedSegDiffRecipe(Recipe):
    """layout: of --data, one of layouts.LAYOUTS. datasets: of layout npz the dataset folders to read; none: all. labels:
    "any", or the numbers of those that are the object, such as "2" or "1,3". augmentation: none; flips; affine (flips, and
    in half of the images a shift, a scale and a rotation); strong (that, and grey values). validation_steps: in how many
    steps a mask of each held-out image is drawn. timesteps, noise_schedule, objective: see inference.diffusion.schedule.
    These and the others replace what the model's configuration says, where they are not 0 or empty.
    """

    augmentation: str
    layout: str = "npz"
    datasets: tuple[str, ...] = ()
    labels: str = "any"
    validation_steps: int = 5
    timesteps: int = 0
    noise_schedule: str = ""
    objective: str = ""
    image_size: int = 0
    channels: int = 0
    dim: int = 0
    dim_mults: tuple[int, ...] = ()
    cond_patch_size: int = 0
    self_condition: bool = True
    ff_parser: bool = True
    dynamic_encoding: bool = True
    attention: bool = True
    disable_ff_parser: bool = False
    disable_dynamic_encoding: bool = False

    def check(self):
        super().check()
        for name, known in (("augmentation", AUGMENTATIONS), ("layout", layouts.LAYOUTS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if self.labels != "any" and not all(number.isdigit() and int(number) for number in self.labels.split(",")):
            raise ValueError(f'labels must be "any" or numbers from 1 with commas between them; got {self.labels!r}')
        config_of(self).diffusion.times(self.validation_steps)


RECIPE = MedSegDiffRecipe


def config_of(recipe: MedSegDiffRecipe) -> MedSegDiffConfig:
    """The model's configuration with the recipe's changes. Raises ValueError where they do not fit together."""
    changes = {name: getattr(recipe, name) for name in SWITCHES}
    changes |= {name: getattr(recipe, name) for name in SIZES if getattr(recipe, name)}
    config = CONFIGS[recipe.model]
    diffusion = {"timesteps": recipe.timesteps, "schedule": recipe.noise_schedule, "objective": recipe.objective}
    diffusion = dataclasses.replace(config.diffusion, **{name: value for name, value in diffusion.items() if value})
    return dataclasses.replace(config, diffusion=diffusion, **changes)


def rank(recipe: MedSegDiffRecipe) -> int:
    """The models take images, and slices of volumes."""
    return 2


def read_datasets(folder: pathlib.Path, recipe: MedSegDiffRecipe) -> list[data.Dataset]:
    """What the recipe learns from. Raises ValueError."""
    labels = () if recipe.labels == "any" else tuple(map(int, recipe.labels.split(",")))
    return layouts.read(layouts.find(recipe.layout, folder, recipe.datasets), labels)


def make_sample(recipe: MedSegDiffRecipe, datasets, step: int, index: int):
    """Sample `index` of batch `step`: image float32 (channels, S, S) in -1..1, the mask with noise and what the network is to
    say of it, float32 (1, S, S), the time step, int32, and whether the batch is conditioned on a guess, int32."""
    config = config_of(recipe)
    rng = np.random.default_rng([recipe.seed, step, index])
    image, mask = augmented(recipe, *draw_image(datasets, rng), rng)
    image, mask = in_frame(config, image, mask, rng if recipe.augmentation == "strong" else None)
    x0 = 2 * mask[None, None].astype(np.float64) - 1
    time = rng.integers(config.diffusion.timesteps, size=1)
    noise = rng.standard_normal(x0.shape)
    noisy, target = (make(x0, time, noise)[0].astype(np.float32) for make in (config.diffusion.noisy, config.diffusion.target))
    return image, noisy, target, np.int32(time[0]), np.int32(self_conditions(recipe, step))


def self_conditions(recipe: MedSegDiffRecipe, step: int) -> bool:
    """Whether batch `step` is one of those, one in two, whose network first makes a guess and then sees it."""
    return bool(recipe.self_condition and np.random.default_rng([recipe.seed, step]).random() < 0.5)


def augmented(recipe, image, gts, rng):
    """Image (H, W[, C]) and boolean mask (H, W), moved as the recipe says, unless the object would leave the image."""
    mask = gts > 0
    if recipe.augmentation != "none":
        image, mask = flip(image, mask, rng)
    if recipe.augmentation in ("affine", "strong") and rng.random() < 0.5:
        moved = shift_scale_rotate(image, mask.astype(np.uint8), rng)
        if moved[1].any():
            image, mask = moved[0], moved[1] > 0
    return image, mask


def in_frame(config: MedSegDiffConfig, image, mask, rng=None):
    """The picture, float32 (channels, S, S), with other grey values where there is an rng, and the mask, boolean (S, S):
    pixels of which more than half is object."""
    shown = picture(image, config.image_size, config.channels)
    if rng is not None:
        grey = image.ndim == 2  # stays so: its equal channels are recoloured as one
        shown = augment.recolour((shown[:1] if grey else shown) * 127.5 + 127.5, rng) / 127.5 - 1
        shown = np.broadcast_to(shown, (config.channels, *shown.shape[1:])).astype(np.float32)
    return shown, resize.area(mask, (config.image_size, config.image_size)) > 0.5


def make_validation(recipe: MedSegDiffRecipe, datasets):
    """A list of (modality, dataset, image, seed of the mask that is drawn, target (1, S, S)), not augmented, the same in every
    run of a recipe."""
    config, samples = config_of(recipe), []
    for dataset in datasets:
        rng = np.random.default_rng(zlib.crc32(dataset.name.encode()))
        for index in rng.permutation(len(dataset.held_out))[:IMAGES_PER_DATASET]:
            item = dataset.held_out[index]
            planes = item.planes()
            image, gts = item.plane(planes[rng.integers(len(planes))])
            shown, mask = in_frame(config, image, gts > 0)
            samples.append((dataset.modality, dataset.name, shown, np.int64(zlib.crc32(item.name.encode())),
                            mask[None].astype(np.float32)))
    return samples
