"""How masks are drawn with a denoiser: by DDPM (Ho et al. 2020, arXiv 2006.11239) and DDIM (Song et al. 2021, arXiv
2010.02502)."""

from collections.abc import Callable, Sequence

import numpy as np

from inference.diffusion.schedule import Diffusion


def sample(denoise: Callable, diffusion: Diffusion, shape: tuple[int, int], seeds: Sequence, steps: int | None = None,
           eta: float = 1.0) -> np.ndarray:
    """Draws len(seeds) masks at once, float32 (N, H, W) in 0..1; a mask depends on its seed and not on its neighbours.

    denoise: (x_t float32 (N, 1, H, W), time int32 (N,), guess float32 like x_t) -> its prediction, like x_t; the guess is the
    x0 of the step before, zeros at first. steps None: DDPM, all T steps; fewer: DDIM. shape: (H, W).

    Each guess of x0 is clipped to -1..1, and the noise is taken to be what leads from there to x_t, whatever the objective.
    """
    sources = [np.random.default_rng(seed) for seed in seeds]

    def noise():
        return np.stack([source.standard_normal((1, *shape)) for source in sources])

    x, guess = noise(), np.zeros((len(seeds), 1, *shape))
    times = diffusion.times(steps)
    for time, then in zip(times, times[1:]):
        now = np.full(len(seeds), time, np.int32)
        prediction = denoise(x.astype(np.float32), now, guess.astype(np.float32))
        a, b = diffusion.guess_weights(now)
        guess = np.clip(a * x + b * prediction, -1, 1)
        c0, ct, sigma = diffusion.step(time, then, eta)
        x = c0 * guess + ct * x
        if sigma:
            x = x + sigma * noise()
    return ((x[:, 0] + 1) / 2).astype(np.float32)
