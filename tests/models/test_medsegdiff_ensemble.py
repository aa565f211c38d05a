"""Fusing samples: by hand, and STAPLE against its authors' equations."""

import sys

import numpy as np
import pytest

from models.medsegdiff.ensemble import fuse, staple, uncertainty

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


def expectation_maximisation(votes):
    """Warfield et al. 2004, eqs. 16 to 19, in logarithms; the prior is the mean vote."""
    votes = votes.reshape(len(votes), -1)
    prior, p, q = votes.mean(), np.full(len(votes), 0.99999), np.full(len(votes), 0.99999)
    for _ in range(1000):
        a = np.log(prior) + np.where(votes, np.log(p)[:, None], np.log1p(-p)[:, None]).sum(axis=0)
        b = np.log1p(-prior) + np.where(votes, np.log1p(-q)[:, None], np.log(q)[:, None]).sum(axis=0)
        w = 1 / (1 + np.exp(np.clip(b - a, -700, 700)))
        p, q = (votes * w).sum(axis=1) / w.sum(), (~votes * (1 - w)).sum(axis=1) / (1 - w).sum()
    return w


def raters():
    """Of a disc: two good ones, three that miss most of it."""
    rng = np.random.default_rng(0)
    disc = np.hypot(*np.mgrid[-16:16, -16:16]) < 9
    flips = ((0.03, 0.01), (0.02, 0.02), (0.7, 0.01), (0.7, 0.02), (0.7, 0.01))
    return disc, np.array([disc ^ (rng.random(disc.shape) < np.where(disc, miss, false)) for miss, false in flips])


def test_staple_is_that_of_its_authors():
    pytest.importorskip("SimpleITK", reason="STAPLE needs SimpleITK, which is not installed")
    disc, votes = raters()
    found = fuse(votes.astype(float), "staple")
    assert np.abs(found.ravel() - expectation_maximisation(votes)).max() < 1e-3
    assert ((found > 0.5) != disc).sum() < ((votes.mean(axis=0) > 0.5) != disc).sum() / 2  # than a vote
    volume = np.stack([votes, votes[:, ::-1]], axis=1)
    assert staple(volume).shape == (2, 32, 32)


def test_staple_of_raters_that_agree():
    """No one is rarer right than the others; without SimpleITK."""
    disc, _ = raters()
    for votes in (disc, np.zeros_like(disc), np.ones_like(disc)):
        assert (fuse(np.stack([votes] * 3).astype(float), "staple") == votes).all()


def test_staple_without_simpleitk_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match="staple needs SimpleITK: pip install SimpleITK"):
        fuse(SAMPLES, "staple")


@pytest.mark.parametrize("samples, how, message", [
    (SAMPLES, "median", "how must be one of mean, majority, staple; got 'median'"),
    (SAMPLES[:0], "mean", r"samples must be \(n, \*shape\) with n of 1 or more; got \(0, 1, 3\)"),
])
def test_bad_arguments(samples, how, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        fuse(samples, how)
