"""A recipe: every number of a training run, read from TOML. An unknown or missing key is an error."""

import dataclasses
import pathlib
import tomllib
import typing

from training import tasks
from training.schedule import SCHEDULES


class RecipeError(ValueError):
    """A recipe that cannot be used; the text names the file, the key and the rule."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What every task needs; each task's `samples.py` adds its own keys. A key with a default may be left out.

    task: a key of training.tasks.TASKS. model: a name in the task's CONFIGS. batch: samples a step, of all processes of an
    MPI run together. steps, warmup_steps, validate_every, checkpoint_every: in batches. learning_rate: the peak, reached
    after the warm-up; schedule, period_steps, power: what follows, see `training.schedule`. ema_decay: of the averaged
    weights, which are the ones that ship. seed: the whole run is a function of it. accumulate: parts that a batch is taken
    in, whose gradients are added: memory for time. clip_norm: longest gradient, 0 for any. freeze_norms_at: from this step
    on the batch norms use their averaged statistics, in training as when the model is used: a batch of many modalities, or
    of another crop shape, has statistics that no single picture has. bfloat16: whether convolutions multiply in it where
    the processor can (AMX). leave_out: names of datasets that are neither learnt from nor validated on. amp: automatic mixed
    precision, which Jittor does not train with on a CPU.
    """

    task: str
    model: str
    batch: int
    steps: int
    warmup_steps: int
    learning_rate: float
    weight_decay: float
    ema_decay: float
    seed: int
    validate_every: int
    checkpoint_every: int
    schedule: str = "cosine"
    period_steps: int = 0
    power: float = 0.9
    accumulate: int = 1
    clip_norm: float = 0.0
    freeze_norms_at: int = 2**31
    bfloat16: bool = True
    leave_out: tuple[str, ...] = ()
    amp: bool = False

    def check(self):
        """Raises ValueError with key and rule where values do not fit together. Tasks extend it."""
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}; got {self.schedule!r}")
        if self.schedule in ("halving", "polynomial") and self.period_steps < 1:
            raise ValueError(f"period_steps must be at least 1 for schedule {self.schedule}; got {self.period_steps}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch must be a multiple of accumulate; got {self.batch} and {self.accumulate}")
        if self.amp:
            raise ValueError("amp must be false: Jittor's mixed precision is for CUDA (its float16 kernels do not compile for "
                             "a CPU); on a CPU with AMX the convolutions take bfloat16 by themselves")


def read_recipe(path: pathlib.Path) -> Recipe:
    """The recipe in a TOML file, of its task's class. Raises RecipeError."""
    try:
        table = tomllib.loads(pathlib.Path(path).read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from None
    if table.get("task") not in tasks.TASKS:
        raise RecipeError(f"{path}: task must be one of {', '.join(tasks.TASKS)}; got {table.get('task')!r}")
    kind = tasks.samples(table["task"]).RECIPE
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    unknown, missing = sorted(set(table) - set(fields)), sorted(needed - set(table))
    if unknown:
        raise RecipeError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    if missing:
        raise RecipeError(f"{path}: missing key {missing[0]!r}")
    try:
        recipe = kind(**{key: _typed(key, value, fields[key].type) for key, value in table.items()})
        if recipe.model not in tasks.samples(recipe.task).CONFIGS:
            raise ValueError(f"model must be one of {', '.join(tasks.samples(recipe.task).CONFIGS)}; got {recipe.model!r}")
        recipe.check()
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from None
    return recipe


def _typed(key, value, kind):
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{key} must be a list; got {value!r}")
        return tuple(_typed(key, item, typing.get_args(kind)[0]) for item in value)
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"{key} must be {kind.__name__}; got {value!r}")
    return value
