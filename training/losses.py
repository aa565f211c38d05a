"""Losses between logits and soft targets."""

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)


def binary_cross_entropy(logits, target):
    """Mean binary cross-entropy, finite for any logit. logits, target: (N, 1, *sizes), target in 0..1 and may be soft."""
    return (jt.maximum(logits, 0.0) - logits * target + jt.log(1.0 + jt.exp(-jt.abs(logits)))).mean()


def dice(logits, target):
    """1 - soft Dice of each sample, averaged (Milletari et al. 2016, arXiv 1606.04797, section 3), with 1 px of slack."""
    probability = jt.sigmoid(logits)
    axes = list(range(1, len(logits.shape)))
    overlap = (probability * target).sum(dims=axes)
    return (1.0 - (2.0 * overlap + 1.0) / (probability.sum(dims=axes) + target.sum(dims=axes) + 1.0)).mean()
