"""Schedules against published numbers, samplers against what theory says of them."""

import json
import pathlib

import numpy as np
import pytest

from inference.diffusion.sampling import sample
from inference.diffusion.schedule import OBJECTIVES, Diffusion

GOLDENS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "reference" / "goldens" / "gold_msd.json"
AT = [0, 1, 49, 98, 99]
RNG = np.random.default_rng(0)
DISC = np.where(np.hypot(*np.mgrid[-8:8, -8:8]) < 5, 1.0, -1.0)


def posterior(diffusion):
    """Variance and the two coefficients of DDPM's posterior, (T,) each: Ho et al. 2020, eq. 7."""
    betas, abar = diffusion.betas, np.cumprod(1 - diffusion.betas)
    before = np.append(1.0, abar[:-1])
    return (betas * (1 - before) / (1 - abar), betas * np.sqrt(before) / (1 - abar),
            (1 - before) * np.sqrt(1 - betas) / (1 - abar))


def test_cosine_schedule_is_the_published_one():
    if not GOLDENS.exists():
        pytest.skip("gold_msd.json is not beside this checkout (../shared/reference/goldens)")
    expected = json.loads(GOLDENS.read_text())["sched"]
    diffusion = Diffusion(timesteps=100)
    steps = np.array([diffusion.step(t, t - 1, eta=1) for t in range(100)])
    found = {"betas": diffusion.betas, "alphas_cumprod": diffusion.alphas_cumprod, "posterior_variance": steps[:, 2]**2,
             "posterior_mean_coef1": steps[:, 0], "posterior_mean_coef2": steps[:, 1]}
    for name, values in found.items():
        assert np.allclose(values[AT], expected[name], rtol=2e-6, atol=1e-12), name


def test_linear_schedule():
    """1e-4 to 0.02 of a thousand steps, ten times as much of a hundred; all but nothing of the mask is left either way."""
    for timesteps, ends in ((1000, (1e-4, 0.02)), (100, (1e-3, 0.2))):
        diffusion = Diffusion(timesteps, "linear")
        assert np.allclose(diffusion.betas[[0, -1]], ends) and np.allclose(np.diff(diffusion.betas, 2), 0)
        assert len(diffusion.betas) == timesteps and diffusion.alphas_cumprod[-1] < 1e-4


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_full_steps_are_the_posterior_of_ddpm(schedule):
    diffusion = Diffusion(50, schedule)
    steps = np.array([diffusion.step(t, t - 1, eta=1) for t in range(50)])
    for got, expected in zip((steps[:, 2]**2, steps[:, 0], steps[:, 1]), posterior(diffusion)):
        assert np.allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eta", [0, 0.3, 1])
@pytest.mark.parametrize("time, then", [(99, 98), (99, 49), (60, 0), (5, -1), (0, -1)])
def test_steps_keep_the_marginals(eta, time, then):
    """Given x0, the next x has mean sqrt(abar) x0 and variance 1 - abar: the definition of what a step must do."""
    diffusion = Diffusion()
    c0, ct, sigma = diffusion.step(time, then, eta)
    now, next_ = diffusion.alphas_cumprod[time], diffusion.alphas_cumprod[then] if then >= 0 else 1.0
    assert np.isclose(c0 + ct * np.sqrt(now), np.sqrt(next_))
    assert np.isclose(ct**2 * (1 - now) + sigma**2, 1 - next_)
    assert then >= 0 or (c0, ct, sigma) == (1, 0, 0)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_right_prediction_gives_the_mask_back(objective):
    diffusion = Diffusion(objective=objective)
    x0, noise, time = RNG.uniform(-1, 1, (3, 1, 4, 4)), RNG.standard_normal((3, 1, 4, 4)), np.array([0, 50, 98])
    noisy = diffusion.noisy(x0, time, noise)
    a, b = diffusion.guess_weights(time)
    assert np.abs(a * noisy + b * diffusion.target(x0, time, noise) - x0).max() < 1e-9
    abar = np.prod(1 - diffusion.betas[:51])
    assert np.allclose(noisy[1], np.sqrt(abar) * x0[1] + np.sqrt(1 - abar) * noise[1])


def oracle(diffusion, x0=DISC):
    """A denoiser that knows the mask."""
    def denoise(x, time, guess):
        assert x.dtype == guess.dtype == np.float32 and time.dtype == np.int32 and x.shape == guess.shape
        abar = diffusion.alphas_cumprod[time].reshape(-1, 1, 1, 1)
        return diffusion.target(x0, time, (x - np.sqrt(abar) * x0) / np.sqrt(1 - abar))
    return denoise


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("schedule, steps, eta", [("cosine", None, 1), ("linear", None, 1), ("cosine", 10, 1), ("cosine", 7, 0),
                                                  ("linear", 1, 0)])
def test_the_mask_is_drawn(objective, schedule, steps, eta):
    diffusion = Diffusion(100, schedule, objective)
    drawn = sample(oracle(diffusion), diffusion, (16, 16), [1, 2], steps, eta)
    assert drawn.shape == (2, 16, 16) and drawn.dtype == np.float32
    assert np.abs(drawn - (DISC + 1) / 2).max() < 1e-3


def test_every_step_is_taken_once_and_sees_the_last_guess():
    diffusion, seen = Diffusion(20), []

    def denoise(x, time, guess):
        seen.append((int(time[0]), guess.copy()))
        return np.full_like(x, 1e3)  # whatever it is, the guess stays within -1..1

    drawn = sample(denoise, diffusion, (4, 4), [0])
    assert [time for time, _ in seen] == list(range(19, -1, -1))
    assert not seen[0][1].any() and (seen[1][1] == -1).all() and not drawn.any()
    assert diffusion.times(5).tolist() == [19, 15, 11, 7, 3, -1]


def test_samples_of_a_gaussian_have_its_variance():
    """For pixels of a normal distribution of mean 0.1 and deviation 0.2 the best denoiser is known in closed form; what is
    drawn with it has that mean and deviation, by DDPM and by DDIM without noise. (Of few steps the last, which is a mean,
    takes some of the deviation.)"""
    diffusion = Diffusion(1000, "cosine", "pred_x0")

    def denoise(x, time, guess):
        abar = diffusion.alphas_cumprod[time].reshape(-1, 1, 1, 1)
        gain = 0.04 * np.sqrt(abar) / (0.04 * abar + 1 - abar)
        return 0.1 + gain * (x - np.sqrt(abar) * 0.1)

    for eta in (1, 0):
        drawn = 2 * sample(denoise, diffusion, (64, 64), [3, 4], eta=eta) - 1
        assert abs(drawn.mean() - 0.1) < 0.01 and abs(drawn.std() / 0.2 - 1) < 0.025


def test_a_sample_is_a_function_of_its_seed():
    diffusion = Diffusion(10)

    def denoise(x, time, guess):
        return 0.3 * x + guess

    both = sample(denoise, diffusion, (4, 4), [5, 6])
    assert np.array_equal(both[1], sample(denoise, diffusion, (4, 4), [6])[0]) and not np.array_equal(*both)


@pytest.mark.parametrize("arguments, message", [
    ((100, "sigmoid"), "schedule must be one of cosine, linear; got 'sigmoid'"),
    ((100, "cosine", "noise"), "objective must be one of pred_noise, pred_x0, pred_v; got 'noise'"),
    ((0,), "timesteps must be 1 or more; got 0"),
])
def test_unknown_settings(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Diffusion(*arguments)


@pytest.mark.parametrize("steps", [0, 101])
def test_numbers_of_steps(steps):
    with pytest.raises(ValueError, match=f"^steps must be 1..100; got {steps}$"):
        Diffusion().times(steps)
