"""The SAMed family in training: cross-entropy and Dice of the logits as the decoder gives them."""

import pathlib

import jittor as jt
import numpy as np
from safetensors import SafetensorError

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.build import BUFFERS
from models.samed.base import load_base
from models.samed.build import build as build_network
from models.samed.build import load_weights as load  # noqa: F401
from models.samed.build import save_weights as save  # noqa: F401
from models.samed.config import CONFIGS
from training import validation
from training.samed.losses import cross_entropy_and_dice

_WITHOUT_GRADIENT = ("point_embeddings", "not_a_point_embed", "mask_downscaling", "iou_prediction_head")
"""Of prompts, which nobody gives, and of the predicted IoU, which is not in the loss."""


def build(recipe):
    """The model on its base's weights. Raises ValueError where they are not there or do not fit."""
    path = pathlib.Path(recipe.base_weights)
    if not path.is_file():
        raise ValueError(f"base_weights must be a file, the safetensors of {CONFIGS[recipe.model].base}; "
                         f"got {recipe.base_weights!r}")
    network = build_network(recipe.model)
    try:
        load_base(network, path)
    except SafetensorError as error:
        raise ValueError(f"{path}: must be a safetensors file; got {error}") from error
    return network


def adapted_state(network, adapt: str) -> dict:
    """The Vars that count as trained, by key. adapt: see `samples.SamedRecipe`."""
    base = network.base_state()
    if adapt == "full":
        return {key: var for key, var in base.items() if key.split(".")[-1] not in BUFFERS}
    in_base = {id(var) for var in base.values()}
    return {key: var for key, var in network.trained_state().items() if adapt == "lora" or id(var) in in_base}


def trained(network, recipe):
    """Of those the ones that get a gradient: an optimiser that decays weights would shrink the others. All else stops taking
    gradients."""
    chosen = [var for key, var in adapted_state(network, recipe.adapt).items()
              if not any(part in key for part in _WITHOUT_GRADIENT)]
    kept = {id(var) for var in chosen}
    for var in network.state_dict().values():
        if id(var) not in kept:
            var.stop_grad()
    return chosen


def losses(network, recipe, pictures, classes):
    """Weighted terms, of the logits before they are enlarged, as published. Dice is that of the whole batch; of a part of it
    with `accumulate`, and of a process's share under mpirun."""
    cross_entropy, dice = cross_entropy_and_dice(network(pictures)["low_res_logits"], classes)
    return {"cross_entropy": recipe.cross_entropy * cross_entropy, "dice_loss": recipe.dice * dice}


def score(network, samples, recipe):
    """Mean Dice over cases, at the resolution of the picture, by "dataset/class", and over classes and datasets as `means`
    has it. A class that neither truth nor prediction has in a case does not count there; one that no case has, nowhere."""
    areas: dict[tuple[str, str], np.ndarray] = {}
    count = len(network.config.classes) + 1
    for start in range(0, len(samples), recipe.batch):
        part = samples[start : start + recipe.batch]
        with jt.no_grad():
            found = network(jt.array(np.stack([sample[2] for sample in part])))["masks"].numpy().argmax(axis=1)
        for (dataset, case, _, truth), labels in zip(part, found):
            # Rows: overlap, predicted, true.
            areas.setdefault((dataset, case), np.zeros((3, count)))[:] += [
                np.bincount(pixels.ravel(), minlength=count) for pixels in (truth[labels == truth], labels, truth)]
    values: dict[tuple[str, str], list[float]] = {}
    for number, organ in enumerate(network.config.classes, 1):
        for dataset in {dataset: None for dataset, _ in areas}:
            own = [area[:, number] for (name, _), area in areas.items() if name == dataset]
            if any(true for _, _, true in own):
                values[dataset, organ] = [2 * overlap / (predicted + true) for overlap, predicted, true in own
                                          if predicted + true]
    return validation.means(values) if values else {}
