"""Where a run's figures go besides its CSV files: TensorBoard and Weights & Biases, where they are installed and asked for."""

import importlib
import pathlib
from collections.abc import Callable

Mirror = Callable[[int, dict[str, float]], None]


def open_mirror(name: str, out: pathlib.Path, recipe: dict) -> Mirror:
    """A function of (step, {name: value}) that shows figures elsewhere.

    name: "tensorboard" (event files in `out`, by the package tensorboardX) or "wandb" (a run called as the folder `out`,
    with `recipe` as its configuration). Raises ValueError for another name, and where the package is not installed.
    """
    packages = {"tensorboard": "tensorboardX", "wandb": "wandb"}
    if name not in packages:
        raise ValueError(f"--log must be one of {', '.join(packages)}; got {name}")
    try:
        package = importlib.import_module(packages[name])
    except ImportError:
        raise ValueError(f"--log {name} needs a package: pip install {packages[name]}") from None
    if name == "tensorboard":
        writer = package.SummaryWriter(str(out))

        def show(step, values):
            for key, value in values.items():
                writer.add_scalar(key, value, step)
            writer.flush()

        return show
    run = package.init(project="medseg-laptop", name=out.name, config=recipe, resume="allow")
    return lambda step, values: run.log(values, step=step)
