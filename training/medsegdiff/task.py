"""MedSegDiff in training: mean squared error of what the diffusion's objective asks for."""

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)
from inference.diffusion.sampling import sample
from models.medsegdiff.build import build_config
from models.medsegdiff.build import load_weights as load  # noqa: F401
from models.medsegdiff.build import save_weights as save  # noqa: F401
from models.medsegdiff.self_conditioning import predict
from training import validation
from training.medsegdiff.samples import config_of


def build(recipe):
    """A freshly initialised network."""
    return build_config(config_of(recipe))


def trained(network, recipe):
    """All parameters."""
    return [p for p in network.parameters() if not p.is_stop_grad()]


def losses(network, recipe, image, noisy, target, time, self_conditions):
    """Of a batch as `samples.make_sample` makes it."""
    found = predict(network, noisy, time.numpy(), image, bool(self_conditions.numpy()[0]))
    return {"squared_error": ((found - target) ** 2).mean()}


def score(network, samples, recipe):
    """Dice, at the network's resolution, of one mask of each image, drawn in the recipe's validation_steps."""
    config = network.config

    def draw(image, seeds):
        pictures = jt.array(image)

        def denoise(noisy, time, guess):
            guess = jt.array(guess) if config.self_condition else None
            with jt.no_grad():
                return network(jt.array(noisy), jt.array(time), pictures, guess).numpy()

        return sample(denoise, config.diffusion, image.shape[2:], [int(seed) for seed in np.ravel(seeds)],
                      recipe.validation_steps)[:, None]

    return validation.score(draw, samples, recipe.batch)
