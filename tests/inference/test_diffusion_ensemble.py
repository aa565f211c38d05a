"""Fusing samples: by hand, and STAPLE against SimpleITK's, which its authors' group wrote."""

import numpy as np
import pytest

from inference.diffusion.ensemble import Ensemble, fuse, staple, uncertainty

SAMPLES = np.array([[[0.9, 0.6, 0.1]], [[0.8, 0.4, 0.2]], [[0.7, 0.4, 0.7]], [[0.6, 0.6, 0.0]]])


def test_mean_and_majority():
    assert np.allclose(fuse(SAMPLES), [[0.75, 0.5, 0.25]])
    assert np.allclose(fuse(SAMPLES, "majority"), [[1, 0.5, 0.25]])
    for how in ("mean", "majority"):
        assert fuse(SAMPLES, how).dtype == np.float32


def test_uncertainty():
    votes = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]], float)[:, None]
    assert np.allclose(uncertainty(votes), [[0, 0.25, 0.25, 0]])
    assert np.allclose(uncertainty(SAMPLES)[0, 0], 0.0125)


def raters():
    """Of a disc: two good ones, three that miss most of it."""
    rng = np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-16:16, -16:16]) < 9
    flips = ((0.03, 0.01), (0.02, 0.02), (0.7, 0.01), (0.7, 0.02), (0.7, 0.01))
    return disc, np.array([disc ^ (rng.random(disc.shape) < np.where(disc, miss, false)) for miss, false in flips])


def test_staple_is_that_of_its_authors():
    itk = pytest.importorskip("SimpleITK", reason="compares with SimpleITK, which is not installed")
    disc, votes = raters()
    filter_ = itk.STAPLEImageFilter()
    filter_.SetForegroundValue(1)
    expected = itk.GetArrayFromImage(filter_.Execute([itk.GetImageFromArray(vote.astype(np.uint8)) for vote in votes]))
    found = fuse(votes.astype(float), "staple")
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-3
    assert ((found > 0.5) != disc).sum() < ((votes.mean(axis=0) > 0.5) != disc).sum() / 2  # than a vote
    volume = np.stack([votes, votes[:, ::-1]], axis=1)
    assert staple(volume).shape == (2, 32, 32)


def test_staple_of_raters_that_agree_or_have_nothing_in_common():
    disc, _ = raters()
    for votes in (disc, np.zeros_like(disc), np.ones_like(disc)):
        assert (fuse(np.stack([votes] * 3).astype(float), "staple") == votes).all()
    assert (staple(disc[None]) == disc).all()
    assert np.isfinite(staple(np.stack([disc, ~disc]))).all()


@pytest.mark.parametrize("samples, fusion, message", [
    (SAMPLES, "median", "fusion must be one of mean, majority, staple; got 'median'"),
    (SAMPLES[:0], "mean", r"samples must be \(n, \*shape\) with n of 1 or more; got \(0, 1, 3\)"),
])
def test_bad_arguments(samples, fusion, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        fuse(samples, fusion)


def test_an_ensemble_has_samples_of_steps_and_a_known_fusion():
    assert Ensemble() == Ensemble(10, 5, "mean")
    for arguments, message in (((0,), "steps must be 1 or more; got 0"), ((1, 0), "samples must be 1 or more; got 0"),
                               ((1, 1, "best"), "fusion must be one of mean, majority, staple; got 'best'")):
        with pytest.raises(ValueError, match=f"^{message}$"):
            Ensemble(*arguments)
