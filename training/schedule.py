"""The learning rate of every step, by the recipe's `schedule`."""

import math

SCHEDULES = ("cosine", "constant", "halving", "polynomial")


def learning_rate(recipe, step: int) -> float:
    """The rate of batch `step` (from 0): a linear warm-up to the peak, then

    cosine: half a period, down to 1 % of the peak at the last step.
    constant: MedSAM's.
    halving: half as much after every `period_steps` (MedficientSAM's distillation, torch's ExponentialLR with 0.5 an epoch).
    polynomial: (1 - t / period_steps) ^ power, t from the end of the warm-up (SAMed's; its period is longer than its run).
    """
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    return recipe.learning_rate * _SHARES[recipe.schedule](recipe, step - recipe.warmup_steps)


def _cosine(recipe, done):
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done / max(1, recipe.steps - recipe.warmup_steps))) / 2


_SHARES = {
    "cosine": _cosine,
    "constant": lambda recipe, done: 1.0,
    "halving": lambda recipe, done: 0.5 ** (done // recipe.period_steps),
    "polynomial": lambda recipe, done: max(0.0, 1 - done / recipe.period_steps) ** recipe.power,
}
