"""Losses between logits and soft targets."""

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)


def pixel_cross_entropy(logits, target):
    """Binary cross-entropy of each element, finite for any logit. target: of the logits' shape, in 0..1 and may be soft."""
    return jt.maximum(logits, 0.0) - logits * target + jt.log(1.0 + jt.exp(-jt.abs(logits)))


def binary_cross_entropy(logits, target):
    """Its mean."""
    return pixel_cross_entropy(logits, target).mean()


def dice(logits, target):
    """1 - soft Dice of each sample, averaged (Milletari et al. 2016, arXiv 1606.04797, section 3), with 1 px of slack."""
    probability = jt.sigmoid(logits)
    axes = list(range(1, len(logits.shape)))
    overlap = (probability * target).sum(dims=axes)
    return (1.0 - (2.0 * overlap + 1.0) / (probability.sum(dims=axes) + target.sum(dims=axes) + 1.0)).mean()


def squared_dice(logits, target, slack: float = 1e-5):
    """1 - Dice with squared sums below, averaged over (sample, channel): MedSAM's (MONAI's DiceLoss with sigmoid and
    squared_pred, whose slack of 1e-5 it keeps above and below)."""
    probability = jt.sigmoid(logits)
    axes = list(range(2, len(logits.shape)))
    overlap = (probability * target).sum(dims=axes)
    squares = (probability * probability).sum(dims=axes) + (target * target).sum(dims=axes)
    return (1.0 - (2.0 * overlap + slack) / (squares + slack)).mean()


def focal(logits, target, gamma: float = 2.0):
    """Mean focal loss without class weights (Lin et al. 2017, arXiv 1708.02002, equation 4). target: 0 or 1."""
    missed = jt.sigmoid(logits * (1.0 - 2.0 * target))
    return (missed**gamma * pixel_cross_entropy(logits, target)).mean()


def iou_error(predicted, logits, target):
    """Mean squared error of predicted IoUs (N, 1) against those of the masks logits > 0, (N, 1, *sizes), as they are: no
    gradient flows through the masks."""
    mask = (logits > 0).float32()
    axes = list(range(2, len(logits.shape)))
    overlap = (mask * target).sum(dims=axes)
    union = mask.sum(dims=axes) + target.sum(dims=axes) - overlap
    iou = (overlap / jt.maximum(union, 1.0)).stop_grad()
    return ((predicted - iou) ** 2).mean()
