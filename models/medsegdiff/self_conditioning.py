"""How a denoiser that takes its own last guess is trained (Chen et al. 2022, arXiv 2208.04202, section 3.2)."""

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)


def predict(unet, noisy, time: np.ndarray, image, self_condition: bool):
    """A Unet's prediction for Vars noisy (N, 1, S, S) and image at the steps time int (N,).

    self_condition: first it guesses x0 without a guess, clipped to -1..1 as when masks are drawn; no gradient flows through
    that. In training one batch in two has it.
    """
    steps = jt.array(np.asarray(time, np.int32))
    guess = None
    if self_condition and unet.config.self_condition:
        a, b = (jt.array(weight.astype(np.float32)) for weight in unet.config.diffusion.guess_weights(time))
        with jt.no_grad():
            guess = jt.clamp(a * noisy + b * unet(noisy, steps, image), -1, 1).stop_grad()
    return unet(noisy, steps, image, guess)
