"""Dice of the network on the held-out cases, at crop resolution, while it trains."""

import itertools
import zlib

import numpy as np

from inference import geometry
from training import augment, data

OBJECTS_PER_DATASET = 16


def make_validation(recipe, datasets, margin):
    """The fixed validation samples: a list of (modality, dataset, crop, box_px, target), the same in every run of a
    recipe, in order of crop shape."""
    rank = len(recipe.crop_shapes[0])
    samples = []
    for dataset in datasets:
        rng = np.random.default_rng(zlib.crc32(dataset.name.encode()))
        objects = [(item, label) for item in dataset.held_out for label in item.labels]
        for index in rng.permutation(len(objects))[:OBJECTS_PER_DATASET]:
            image, mask = data.object_of(*objects[index], rank, rng)
            shape = recipe.shape_of(geometry.box_interval(geometry.mask_box(mask))[1])
            samples.append((dataset.modality, dataset.name,
                            *augment.sample(image, mask, shape, margin, recipe.loosen_px, rng, augmented=False)))
    return sorted(samples, key=lambda sample: sample[2].shape)


def _batches(samples, most):
    for _, same in itertools.groupby(samples, key=lambda sample: sample[2].shape):
        same = list(same)
        for start in range(0, len(same), most):
            yield same[start : start + most]


def score(predict, samples, batch: int) -> dict[str, float]:
    """Mean Dice per "Modality/dataset", and under "macro" the mean over modalities of the mean over their datasets.

    predict: (crop, box_px) -> probability (N, 1, *shape), for crops of one shape. samples: crops of one shape are
    neighbours.
    """
    dice: dict[tuple[str, str], list[float]] = {}
    for part in _batches(samples, batch):
        probability = predict(np.stack([s[2] for s in part]), np.stack([s[3] for s in part]))
        for (modality, name, _, _, target), values in zip(part, probability):
            predicted, truth = values > 0.5, target > 0.5
            total = predicted.sum() + truth.sum()
            dice.setdefault((modality, name), []).append(2 * (predicted & truth).sum() / total if total else 1.0)
    per_dataset = {key: float(np.mean(values)) for key, values in dice.items()}
    per_modality: dict[str, list[float]] = {}
    for (modality, _), value in per_dataset.items():
        per_modality.setdefault(modality, []).append(value)
    scores = {f"{modality}/{name}": value for (modality, name), value in per_dataset.items()}
    scores["macro"] = float(np.mean([np.mean(values) for values in per_modality.values()]))
    return scores
