"""One mask of several samples, and how far they agree. NumPy; SimpleITK for STAPLE alone."""

import numpy as np

FUSIONS = ("mean", "majority", "staple")


def fuse(samples: np.ndarray, how: str = "mean") -> np.ndarray:
    """samples (n, *shape) in 0..1 -> float32 (*shape) in 0..1; above 0.5 is the object.

    mean: of the samples. majority: the share of the samples that are above 0.5. staple: the probability of the object by
    `staple` of the samples above 0.5. Raises ValueError.
    """
    samples = np.asarray(samples)
    if samples.ndim < 2 or not len(samples):
        raise ValueError(f"samples must be (n, *shape) with n of 1 or more; got {samples.shape}")
    if how not in FUSIONS:
        raise ValueError(f"how must be one of {', '.join(FUSIONS)}; got {how!r}")
    if how == "mean":
        return samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    votes = samples > 0.5
    return staple(votes) if how == "staple" else votes.mean(axis=0).astype(np.float32)


def staple(votes: np.ndarray) -> np.ndarray:
    """Simultaneous truth and performance level estimation (Warfield et al. 2004, IEEE TMI 23(7)): expectation maximisation
    of the object's probability and of each rater's sensitivity and specificity.

    votes: bool (n, *shape), 2-D or 3-D. Returns float32 (*shape). Where all raters agree everywhere, that is the answer.
    Raises ImportError where SimpleITK is missing.
    """
    votes = np.asarray(votes, bool)
    if (votes == votes[0]).all():
        return votes[0].astype(np.float32)  # SimpleITK divides by the number of voters for the rarer label
    try:
        import SimpleITK  # heavy, and only this needs it
    except ImportError as error:
        raise ImportError("staple needs SimpleITK: pip install SimpleITK") from error
    filter_ = SimpleITK.STAPLEImageFilter()
    filter_.SetForegroundValue(1)
    images = [SimpleITK.GetImageFromArray(vote.astype(np.uint8)) for vote in votes]
    return SimpleITK.GetArrayFromImage(filter_.Execute(images)).astype(np.float32)


def uncertainty(samples: np.ndarray) -> np.ndarray:
    """The samples' variance, pixel by pixel (Wolleb et al. 2022, arXiv 2112.03145, section 2.3): (n, *shape) in 0..1 ->
    float32 (*shape), from 0, all alike, to 0.25, half of them at either end."""
    return np.asarray(samples).var(axis=0, dtype=np.float64).astype(np.float32)
