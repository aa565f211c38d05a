"""Segmentation by diffusion: several masks of a picture are drawn from noise and fused. No boxes: the object is what the
model was trained to find."""

import os
import zlib
from collections.abc import Iterable, Mapping

import numpy as np

from inference import resize
from inference.case import Case, CaseError, printable
from inference.diffusion.ensemble import Ensemble, fuse, uncertainty
from inference.diffusion.picture import picture
from inference.diffusion.sampling import sample
from inference.diffusion.schedule import Diffusion
from inference.engines import Engine, EngineError

# How many pixels of noisy masks go through the network at once: 16 masks of 128 x 128.
PIXELS = 1 << 18
VARIABLES = {name: f"DIFFUSION_{name.upper()}" for name in ("steps", "samples", "fusion", "seed")}
"""Where the environment may give a segmenter's arguments, by their names."""


class DiffusionSegmenter:
    """Segments images, and volumes slice by slice: label 1 where the fused samples exceed 0.5.

    engine: a step of the diffusion: `noisy` float32 (N, 1, S, S), `time` float32 (N,), whole numbers, `image` float32 (N,
    channels, S, S) in -1..1 and, where its fact self_condition is true, `guess` float32 like noisy -> float32 like noisy. Its
    other facts: image_size (S), channels, timesteps, schedule, objective (see `schedule.Diffusion`), and steps, samples,
    fusion (see `ensemble.Ensemble`), which the arguments of these names replace. seed: another one draws other masks.

    The masks depend on the seed and on the image alone, not on its name or on what was segmented before. Raises ValueError
    for arguments that do not fit.
    """

    needs_boxes = False
    threshold = 0.5

    def __init__(self, engine: Engine, steps: int | None = None, samples: int | None = None, fusion: str | None = None,
                 seed: int = 0):
        facts = engine.facts
        self._engine, self._seed = engine, seed
        self.size, self.channels = int(facts["image_size"]), int(facts["channels"])
        self._takes_guess = facts["self_condition"] == "true"
        self._diffusion = Diffusion(int(facts["timesteps"]), facts["schedule"], facts["objective"])
        self.ensemble = Ensemble(int(facts["steps"] if steps is None else steps),
                                 int(facts["samples"] if samples is None else samples), fusion or facts["fusion"])
        self._diffusion.times(self.ensemble.steps)  # raises where there are fewer
        if seed < 0:
            raise ValueError(f"seed must be 0 or more; got {seed}")

    def __call__(self, case: Case) -> np.ndarray:
        """uint8 labels of the image's spatial shape. Raises CaseError where the model takes other channels."""
        try:
            if case.ndim == 2:
                return self._labels(case.image)
            return np.stack([self._labels(plane) for plane in case.image])
        except ValueError as error:
            raise CaseError(f"{printable(case.name)}: {error}") from error

    def probability(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(fused, uncertainty) of an image (H, W) or (H, W, channels), float32 (H, W) each: the fused samples in 0..1, and
        their variance in 0..0.25. Raises ValueError."""
        samples = self.draw(image, range(self.ensemble.samples))
        return tuple(resize.area(plane, image.shape[:2]) for plane in (fuse(samples, self.ensemble.fusion),
                                                                      uncertainty(samples)))

    def draw(self, image: np.ndarray, numbers: Iterable[int]) -> np.ndarray:
        """The samples of these numbers (from 0), float32 (N, S, S) in 0..1: each the same whichever others are drawn."""
        shown = picture(image, self.size, self.channels)
        key = zlib.crc32(np.ascontiguousarray(image))
        seeds = [(self._seed, key, number) for number in numbers]
        most = max(1, PIXELS // self.size**2)
        parts = [self._draw(shown, seeds[first:first + most]) for first in range(0, len(seeds), most)]
        return np.concatenate(parts)

    def _draw(self, shown, seeds):
        images = np.repeat(shown[None], len(seeds), axis=0)

        def denoise(noisy, time, guess):
            inputs = {"noisy": noisy, "time": time.astype(np.float32), "image": images}
            return self._engine(**inputs | ({"guess": guess} if self._takes_guess else {}))

        return sample(denoise, self._diffusion, (self.size, self.size), seeds, self.ensemble.steps)

    def _labels(self, image):
        return (self.probability(image)[0] > self.threshold).astype(np.uint8)


def from_environment(environment: Mapping[str, str] = os.environ) -> dict:
    """The arguments of a DiffusionSegmenter that the environment gives, see VARIABLES. Raises EngineError."""
    arguments = {}
    for name, variable in VARIABLES.items():
        value = environment.get(variable)
        if value and name != "fusion" and not (value.isascii() and value.isdigit()):
            raise EngineError(f"{variable} must be a whole number, at least 0; got {value}")
        if value:
            arguments[name] = value if name == "fusion" else int(value)
    return arguments
