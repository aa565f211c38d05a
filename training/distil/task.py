"""Distillation in Jittor: the student's embedding against the teacher's, mean squared error."""

import functools
import pathlib

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.build import build as build_network
from models.sam.build import load_weights
from models.sam.build import load_weights as load  # noqa: F401
from models.sam.build import save_weights as save  # noqa: F401
from training import validation

HEADS = ("prompt_encoder", "mask_decoder")


def build(recipe):
    """The student: a fresh image encoder; where prompt encoder and mask decoder have the teacher's shapes, the teacher's."""
    student, taught = build_network(recipe.model), teacher(recipe).state_dict()
    for key, var in student.state_dict().items():
        if key.startswith(HEADS) and key in taught and taught[key].shape == var.shape:
            var.assign(jt.array(taught[key].numpy()))
    return student


@functools.lru_cache(maxsize=1)
def teacher(recipe):
    """The teacher with its weights, in eval mode. Raises ValueError where they are not there or do not fit."""
    if not pathlib.Path(recipe.teacher_weights).is_file():
        raise ValueError(f"teacher_weights must be a file; got {recipe.teacher_weights!r}")
    network = build_network(recipe.teacher)
    load_weights(network, pathlib.Path(recipe.teacher_weights))
    network.eval()
    return network


def trained(network, recipe):
    """The parameters of the image encoder."""
    for part in HEADS:
        for parameter in getattr(network, part).parameters():
            parameter.stop_grad()
    return [parameter for parameter in network.parameters() if not parameter.is_stop_grad()]


def losses(network, recipe, image, shown):
    """shown: what `samples.make_sample` gives besides the student's image."""
    return {"embedding_error": ((network.image_encoder(image) - _target(recipe, shown)) ** 2).mean()}


def _target(recipe, shown):
    if recipe.embeddings and shown.shape[1] != 3:
        return shown
    with jt.no_grad():
        return teacher(recipe).image_encoder(shown).stop_grad()


def score(network, samples, recipe):
    """The share of the variance of the teacher's embeddings that the student explains, as `validation.means` has it."""
    values = {}
    for start in range(0, len(samples), recipe.batch):
        part = samples[start : start + recipe.batch]
        with jt.no_grad():
            targets = _target(recipe, jt.array(np.stack([sample[3] for sample in part]))).numpy()
            found = network.image_encoder(jt.array(np.stack([sample[2] for sample in part]))).numpy()
        for sample, target, embedding in zip(part, targets, found):
            values.setdefault(sample[:2], []).append(1 - float(((embedding - target) ** 2).mean() / target.var()))
    return validation.means(values)
