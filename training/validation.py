"""Dice on the held-out cases, at the resolution of the network, while it trains."""

import itertools

import numpy as np


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Of two boolean arrays; 1 where both are empty."""
    total = predicted.sum() + truth.sum()
    return float(2 * (predicted & truth).sum() / total) if total else 1.0


def means(values: dict[tuple[str, str], list[float]]) -> dict[str, float]:
    """values: by (modality, dataset). Mean per "Modality/dataset", and under "macro" the mean over modalities of the mean
    over their datasets."""
    per_modality: dict[str, list[float]] = {}
    scores = {}
    for (modality, name), found in values.items():
        scores[f"{modality}/{name}"] = float(np.mean(found))
        per_modality.setdefault(modality, []).append(scores[f"{modality}/{name}"])
    scores["macro"] = float(np.mean([np.mean(found) for found in per_modality.values()]))
    return scores


def score(predict, samples, batch: int) -> dict[str, float]:
    """Mean Dice as `means` has it.

    predict: arrays of a batch -> probability (N, 1, *shape). samples: (modality, dataset, *arrays, target); those whose
    arrays are of one shape are neighbours.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for part in _batches(samples, batch):
        probability = predict(*(np.stack(arrays) for arrays in zip(*(sample[2:-1] for sample in part))))
        for sample, found in zip(part, probability):
            values.setdefault(sample[:2], []).append(dice(found > 0.5, sample[-1] > 0.5))
    return means(values)


def _batches(samples, most):
    for _, same in itertools.groupby(samples, key=lambda sample: sample[2].shape):
        same = list(same)
        for start in range(0, len(same), most):
            yield same[start : start + most]
