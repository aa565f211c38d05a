"""A recipe: every number of a training run, read from TOML. An unknown or missing key is an error."""

import dataclasses
import pathlib
import tomllib

import numpy as np

from inference import geometry
from models.roi.config import CONFIGS


class RecipeError(ValueError):
    """A recipe that cannot be used; the text names the file, the key and the rule."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """model: a name in models.roi.config. crop_shapes: one spatial shape, in array order, is drawn for every batch, with
    the chance in crop_chances; where there are several, a batch holds objects whose boxes get that shape: the longest
    side of an axis is for boxes that extend over more than the model's large_px on it. steps, warmup_steps,
    validate_every, checkpoint_every: in batches. learning_rate: the peak, reached after the warm-up, then a cosine down
    to 1 % of it. ema_decay: of the averaged weights, which are the ones that ship.
    freeze_norms_at: from this step on the batch norms use their averaged statistics, in training as when it is used: a
    batch of many modalities, or of another crop shape, has statistics that no single picture has.
    loosen_px: boxes grow by 0..loosen_px px a side, in plane. seed: the whole run is a function of it.
    """

    model: str
    crop_shapes: tuple[tuple[int, ...], ...]
    crop_chances: tuple[float, ...]
    batch: int
    steps: int
    warmup_steps: int
    learning_rate: float
    weight_decay: float
    ema_decay: float
    freeze_norms_at: int
    loosen_px: int
    seed: int
    validate_every: int
    checkpoint_every: int

    def shape_of(self, extent: np.ndarray) -> tuple[int, ...]:
        """The crop shape for a box of `extent` (rank,), array order, px or voxel."""
        small, large = (tuple(extreme(sides) for sides in zip(*self.crop_shapes)) for extreme in (min, max))
        return geometry.crop_shape(extent, small, large, CONFIGS[self.model].large_px)


def read_recipe(path: pathlib.Path) -> Recipe:
    """The recipe in a TOML file. Raises RecipeError."""
    try:
        table = tomllib.loads(pathlib.Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from None
    known = {field.name: field.type for field in dataclasses.fields(Recipe)}
    unknown, missing = sorted(set(table) - set(known)), sorted(set(known) - set(table))
    if unknown:
        raise RecipeError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(known)}")
    if missing:
        raise RecipeError(f"{path}: missing key {missing[0]!r}")
    for key, kind in known.items():
        if kind in (int, float, str):
            wanted = (int, float) if kind is float else kind
            if not isinstance(table[key], wanted) or isinstance(table[key], bool):
                raise RecipeError(f"{path}: {key} must be {kind.__name__}; got {table[key]!r}")
    if table["model"] not in CONFIGS:
        raise RecipeError(f"{path}: model must be one of {', '.join(CONFIGS)}; got {table['model']!r}")
    table["crop_shapes"] = tuple(tuple(shape) for shape in table["crop_shapes"])
    table["crop_chances"] = tuple(table["crop_chances"])
    if len(table["crop_shapes"]) != len(table["crop_chances"]) or abs(sum(table["crop_chances"]) - 1) > 1e-6:
        raise RecipeError(f"{path}: crop_chances must hold one chance per crop shape, adding up to 1; "
                          f"got {list(table['crop_chances'])}")
    return Recipe(**table)
