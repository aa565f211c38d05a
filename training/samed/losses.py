"""SAMed's losses: logits of classes that exclude one another, the background among them, against a class for each pixel."""

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)


def cross_entropy_and_dice(logits, classes, slack: float = 1e-5):
    """Two scalars. logits: float32 (N, K, H, W); classes: integers 0..K-1 (N, H, W).

    Mean cross-entropy of the softmax over K. And 1 - (2 sum p g + slack) / (sum p^2 + sum g^2 + slack), its sums over the
    whole batch, averaged over the K classes (SAMed, utils.py, DiceLoss).
    """
    count = int(logits.shape[1])
    target = (classes.unsqueeze(1) == jt.array(np.arange(count, dtype=np.int32).reshape(1, count, 1, 1))).float32()
    # The largest logit only keeps exp() finite: no gradient is meant to flow through it.
    shifted = logits - logits.max(dim=1, keepdims=True).stop_grad()
    total = jt.exp(shifted).sum(dim=1, keepdims=True)
    cross_entropy = ((jt.log(total) - shifted) * target).sum(dim=1).mean()
    probability = jt.exp(shifted) / total
    overlap = (probability * target).sum(dims=[0, 2, 3])
    squares = (probability * probability + target * target).sum(dims=[0, 2, 3])
    return cross_entropy, (1 - (2 * overlap + slack) / (squares + slack)).mean()
