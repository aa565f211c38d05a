"""One mask of several samples, and how far they agree."""

import dataclasses

import numpy as np

FUSIONS = ("mean", "majority", "staple")
MOST_ROUNDS, LEAST_CHANGE = 1000, 1e-7


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """How a picture is segmented: `samples` masks are drawn in `steps` steps each and fused by `fusion`, one of FUSIONS.
    Raises ValueError for others."""

    steps: int = 10
    samples: int = 5
    fusion: str = "mean"

    def __post_init__(self):
        for name in ("steps", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}; got {self.fusion!r}")


def fuse(samples: np.ndarray, fusion: str = "mean") -> np.ndarray:
    """samples (n, *shape) in 0..1 -> float32 (*shape) in 0..1; above 0.5 is the object.

    mean: of the samples. majority: the share of the samples that are above 0.5. staple: the probability of the object by
    `staple` of the samples above 0.5. Raises ValueError.
    """
    samples = np.asarray(samples)
    if samples.ndim < 2 or not len(samples):
        raise ValueError(f"samples must be (n, *shape) with n of 1 or more; got {samples.shape}")
    if fusion not in FUSIONS:
        raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}; got {fusion!r}")
    if fusion == "mean":
        return samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    votes = samples > 0.5
    return staple(votes) if fusion == "staple" else votes.mean(axis=0).astype(np.float32)


def staple(votes: np.ndarray) -> np.ndarray:
    """Simultaneous truth and performance level estimation (Warfield et al. 2004, IEEE TMI 23(7), eqs. 16 to 19): expectation
    maximisation of the object's probability and of each rater's sensitivity and specificity. The prior is the mean vote.

    votes: bool (n, *shape). Returns float32 (*shape). Where all raters agree everywhere, that is the answer.
    """
    votes = np.asarray(votes, bool)
    if (votes == votes[0]).all():
        return votes[0].astype(np.float32)  # the prior may be 0 or 1, and the odds below infinite
    # Pixels with the same votes have the same probability: of n raters there are few such patterns.
    patterns, which, counts = np.unique(votes.reshape(len(votes), -1), axis=1, return_inverse=True, return_counts=True)
    prior = np.log(votes.mean()) - np.log1p(-votes.mean())
    rates = np.full((2, len(votes)), 0.99999)  # sensitivity, specificity
    for _ in range(MOST_ROUNDS):
        (hit, right), (miss, wrong) = np.log(rates), np.log1p(-rates)
        log_odds = prior + patterns.T @ (hit - wrong) + ~patterns.T @ (miss - right)
        probability = 1 / (1 + np.exp(np.clip(-log_odds, -700, 700)))
        inside, outside = probability * counts, (1 - probability) * counts
        found = np.stack([patterns @ inside / inside.sum(), ~patterns @ outside / outside.sum()])
        found = np.clip(found, 1e-9, 1 - 1e-9)  # a rater that is never wrong would silence the others for good
        change, rates = np.abs(found - rates).max(), found
        if change < LEAST_CHANGE:
            break
    return probability[which.ravel()].reshape(votes.shape[1:]).astype(np.float32)


def uncertainty(samples: np.ndarray) -> np.ndarray:
    """The samples' variance, pixel by pixel (Wolleb et al. 2022, arXiv 2112.03145, section 2.3): (n, *shape) in 0..1 ->
    float32 (*shape), from 0, all alike, to 0.25, half of them at either end."""
    return np.asarray(samples).var(axis=0, dtype=np.float64).astype(np.float32)
