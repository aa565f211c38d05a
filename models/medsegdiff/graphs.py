"""The one graph that a runtime needs of a model: a step of the diffusion, whose loop stays in the runtime."""

import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph


class Denoiser(nn.Module):
    """A Unet with self-conditioning, its inputs under the names that runtimes give them."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def execute(self, noisy, time, image, guess):
        """noisy float32 (N, 1, S, S), time float32 (N,), whole numbers, image float32 (N, channels, S, S), guess float32 (N, 1,
        S, S), zeros at the first step. Returns float32 (N, 1, S, S), see Unet.execute."""
        return {"prediction": self.unet(noisy, time, image, guess)}


class PlainDenoiser(Denoiser):
    """The same of a Unet without self-conditioning."""

    def execute(self, noisy, time, image):
        return {"prediction": self.unet(noisy, time, image)}


def graphs_of(unet) -> list[Graph]:
    """See `models.catalogue.Graph`."""
    config = unet.config
    rng = np.random.default_rng(0)
    names = ("noisy", "time", "image", "guess")[:3 + config.self_condition]
    cases = []
    for batch in (1, 2, 5):
        shapes = {"noisy": 1, "image": config.channels, "guess": 1}
        case = {name: rng.uniform(-1, 1, (batch, shapes[name], config.image_size, config.image_size)).astype(np.float32)
                for name in names if name in shapes}
        case["time"] = rng.integers(0, config.diffusion.timesteps, batch).astype(np.float32)
        cases.append({name: case[name] for name in names})
    denoiser = Denoiser if config.self_condition else PlainDenoiser
    return [Graph("", denoiser(unet), unet.facts(), cases, {name: {0: "batch"} for name in names})]
