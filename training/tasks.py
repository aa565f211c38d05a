"""What can be trained. A task is a package with two modules:

samples   free of Jittor, for the processes that make batches: RECIPE (its class of recipe), CONFIGS (models by name),
          rank(recipe) of the cases it reads, make_sample(recipe, datasets, step, index) -> tuple of arrays, and
          make_validation(recipe, datasets) -> the fixed samples that the run is judged by
task      in Jittor: build(recipe) -> network, losses(network, recipe, *batch) -> {name: Var} that are added up,
          score(network, samples, recipe) -> {"macro": ..., ...}, save(network, path), load(network, path), and
          trained(network, recipe) -> the parameters that are trained
"""

import importlib
from types import ModuleType

TASKS = ("roi", "sam", "distil", "sam2")


def samples(task: str) -> ModuleType:
    """The module of a task that makes samples."""
    return importlib.import_module(f"training.{task}.samples")


def task(name: str) -> ModuleType:
    """The module of a task that trains; it imports Jittor."""
    return importlib.import_module(f"training.{name}.task")
