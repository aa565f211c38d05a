"""Diffusion of a mask: schedules, what a denoiser is trained to say, and the steps back. In float64.

Time steps run from 0, hardly noisy, to T - 1, all but noise. Masks are -1 (background) to 1. Notation of Ho et al. 2020 (arXiv
2006.11239): a mask x0 becomes x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise.
"""

import dataclasses
import functools

import numpy as np

OBJECTIVES = ("pred_noise", "pred_x0", "pred_v")
"""What a denoiser predicts: the noise, x0, or v = sqrt(abar) noise - sqrt(1 - abar) x0 (Salimans & Ho 2022, arXiv 2202.00512,
section 4)."""


def cosine_betas(timesteps: int) -> np.ndarray:
    """Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17, with at most 0.999."""
    f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


def linear_betas(timesteps: int) -> np.ndarray:
    """Ho et al. 2020, section 4: 1e-4 to 0.02 for 1000 steps; of fewer, each takes the part of many."""
    return np.minimum(np.linspace(0.1, 20, timesteps) / timesteps, 0.999)


SCHEDULES = {"cosine": cosine_betas, "linear": linear_betas}


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """timesteps: T. schedule: a key of SCHEDULES. objective: one of OBJECTIVES. Raises ValueError for others."""

    timesteps: int = 100
    schedule: str = "cosine"
    objective: str = "pred_noise"

    def __post_init__(self):
        for name, known in (("schedule", SCHEDULES), ("objective", OBJECTIVES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if self.timesteps < 1:
            raise ValueError(f"timesteps must be 1 or more; got {self.timesteps}")

    @functools.cached_property
    def betas(self) -> np.ndarray:
        """(T,): how much noise a step adds."""
        return SCHEDULES[self.schedule](self.timesteps)

    @functools.cached_property
    def alphas_cumprod(self) -> np.ndarray:
        """(T,): abar, how much of the mask's variance is left."""
        return np.cumprod(1 - self.betas)

    def noisy(self, x0, time, noise):
        """x_t of masks x0 and standard normal noise, both (N, 1, H, W), at the steps time (N,)."""
        abar = _of(self.alphas_cumprod, time)
        return np.sqrt(abar) * x0 + np.sqrt(1 - abar) * noise

    def target(self, x0, time, noise):
        """What the denoiser should say of `noisy(x0, time, noise)`."""
        abar = _of(self.alphas_cumprod, time)
        return {"pred_noise": noise, "pred_x0": x0, "pred_v": np.sqrt(abar) * noise - np.sqrt(1 - abar) * x0}[self.objective]

    def guess_weights(self, time) -> tuple[np.ndarray, np.ndarray]:
        """(a, b), each (N, 1, 1, 1): x0 = a x_t + b prediction."""
        abar = _of(self.alphas_cumprod, time)
        if self.objective == "pred_noise":
            return 1 / np.sqrt(abar), -np.sqrt(1 / abar - 1)
        if self.objective == "pred_x0":
            return np.zeros_like(abar), np.ones_like(abar)
        return np.sqrt(abar), -np.sqrt(1 - abar)

    def step(self, time: int, then: int, eta: float) -> tuple[float, float, float]:
        """(c0, ct, sigma): from x_t the mask at the earlier step `then` (-1: x0 itself) is c0 x0 + ct x_t + sigma noise.

        Song et al. 2021 (DDIM, arXiv 2010.02502), eq. 12 and 16, with the noise that leads from x0 to x_t put in. eta 0:
        no noise; eta 1 and then = time - 1: the posterior of DDPM (Ho et al. 2020, eq. 7), its variance the smaller one.
        """
        now, next_ = self.alphas_cumprod[time], self.alphas_cumprod[then] if then >= 0 else 1.0
        sigma = eta * np.sqrt((1 - now / next_) * (1 - next_) / (1 - now))
        ct = np.sqrt(np.maximum(1 - next_ - sigma**2, 0) / (1 - now))
        return np.sqrt(next_) - ct * np.sqrt(now), ct, sigma

    def times(self, steps: int | None = None) -> np.ndarray:
        """The steps that a mask is drawn by, descending, -1 the last; None for all T. Raises ValueError."""
        steps = self.timesteps if steps is None else steps
        if not 1 <= steps <= self.timesteps:
            raise ValueError(f"steps must be 1..{self.timesteps}; got {steps}")
        return np.linspace(-1, self.timesteps - 1, steps + 1).astype(int)[::-1]


def _of(table, time):
    return table[np.asarray(time)].reshape(-1, 1, 1, 1)
