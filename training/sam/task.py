"""The SAM family in training with boxes."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.build import build as build_network
from models.sam.build import load_weights as load  # noqa: F401
from models.sam.build import save_weights as save  # noqa: F401
from training import losses as terms
from training import validation
from training.sam.samples import PARTS


def build(recipe):
    """A freshly initialised network."""
    return build_network(recipe.model)


def trained(network, recipe):
    """The parameters of the parts that the recipe trains; the others stop taking gradients."""
    for part in set(PARTS) - set(recipe.train):
        for parameter in getattr(network, part).parameters():
            parameter.stop_grad()
    return [parameter for parameter in network.parameters() if not parameter.is_stop_grad()]


def losses(network, recipe, image, boxes, targets):
    """Weighted terms, of masks at the frame's resolution: gradients flow through the up-sampling."""
    logits, iou = masks_in_frame(network, image, boxes)
    targets = targets.reshape(logits.shape)
    found = {}
    if recipe.cross_entropy:
        found["cross_entropy"] = recipe.cross_entropy * terms.binary_cross_entropy(logits, targets)
    if recipe.dice:
        found["dice_loss"] = recipe.dice * terms.squared_dice(logits, targets)
    if recipe.focal:
        found["focal"] = recipe.focal * terms.focal(logits, targets)
    if recipe.iou:
        found["iou_error"] = recipe.iou * terms.iou_error(iou, logits, targets)
    return found


def score(network, samples, recipe):
    """Dice at the frame's resolution, see `validation.score`."""
    def predict(image, boxes):
        with jt.no_grad():
            return jt.sigmoid(masks_in_frame(network, jt.array(image), jt.array(boxes))[0]).numpy()

    return validation.score(predict, [(*sample[:-1], sample[-1][0]) for sample in samples], recipe.batch)


def masks_in_frame(network, image, boxes):
    """Mask logits (N, 1, S, S) at the frame's resolution and predicted IoUs (N, 1), for boxes (..., 4)."""
    logits, iou = network(image, boxes.reshape([-1, 4]))
    return nn.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False), iou
