"""The roi networks in training: Dice and cross-entropy at crop resolution."""

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)
from models.roi.build import build as build_network
from models.roi.build import load_weights as load  # noqa: F401
from models.roi.build import save_weights as save  # noqa: F401
from training import losses as terms
from training import validation


def build(recipe):
    """A freshly initialised network."""
    return build_network(recipe.model)


def trained(network, recipe):
    """All parameters."""
    return [p for p in network.parameters() if not p.is_stop_grad()]


def losses(network, recipe, crop, box_px, target):
    """Of a batch as `samples.make_sample` makes it."""
    logits = network.logits(crop, box_px)
    return {"cross_entropy": terms.binary_cross_entropy(logits, target), "dice_loss": terms.dice(logits, target)}


def score(network, samples, recipe):
    """Dice at crop resolution, see `validation.score`."""
    def predict(crop, box_px):
        with jt.no_grad():
            return network(jt.array(crop), jt.array(box_px)).numpy()

    return validation.score(predict, samples, recipe.batch)
