"""What can be trained. A task is a package with two modules:

samples   free of Jittor, for the processes that make batches: RECIPE (its class of recipe), CONFIGS (models by name),
          rank(recipe) of the cases it reads, make_sample(recipe, datasets, step, index) -> tuple of arrays, and
          make_validation(recipe, datasets) -> the fixed samples that the run is judged by; and, where cases are not all those
          of a folder in the project's layout, read_datasets(folder, recipe)
task      in Jittor: build(recipe) -> network, losses(network, recipe, *batch) -> {name: Var} that are added up,
          score(network, samples, recipe) -> {"macro": ..., ...}, save(network, path), load(network, path), and
          trained(network, recipe) -> the parameters that are trained
"""

import importlib
import pathlib
from types import ModuleType

from training import data

TASKS = ("roi", "sam", "distil", "sam2", "medsegdiff", "samed")


def samples(task: str) -> ModuleType:
    """The module of a task that makes samples."""
    return importlib.import_module(f"training.{task}.samples")


def datasets(recipe, folder: pathlib.Path) -> list:
    """The `data.Dataset`s that a recipe learns from and is validated on. Raises ValueError."""
    own = samples(recipe.task)
    if hasattr(own, "read_datasets"):
        found = own.read_datasets(folder, recipe)
    else:
        found = data.read_datasets(folder, own.rank(recipe))
    names = {dataset.name for dataset in found}
    if unknown := set(recipe.leave_out) - names:
        raise ValueError(f"leave_out must name some of {', '.join(sorted(names))}; got {', '.join(sorted(unknown))}")
    return [dataset for dataset in found if dataset.name not in recipe.leave_out]


def task(name: str) -> ModuleType:
    """The module of a task that trains; it imports Jittor."""
    return importlib.import_module(f"training.{name}.task")
