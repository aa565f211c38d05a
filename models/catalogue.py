"""Every network of the project by name, and what an export or an engine must know of it. Free of Jittor until it is asked
for a builder."""

import dataclasses
import importlib
from types import ModuleType
from typing import Any

import numpy as np

BUILDERS = ("models.roi.build", "models.sam.build", "models.sam2.build", "models.samed.build", "models.medsegdiff.build")
"""Modules with CONFIGS (by model name), build(name), load_weights(model, path) and save_weights(model, path). Their models
have facts() -> dict of strings, and graphs() -> list of Graph."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """A part of a model that is exported on its own.

    name: empty where the model is one graph. module: the Jittor module. facts: what the runtime must know, as strings: they
    travel inside the exported files. cases: inputs by name to verify with, the first to trace with. dynamic: for each
    input the names of its dynamic axes.
    """

    name: str
    module: Any
    facts: dict[str, str]
    cases: list[dict[str, np.ndarray]]
    dynamic: dict[str, dict[int, str]]


def builder_of(name: str) -> ModuleType:
    """The module that builds the model called `name`. Raises ValueError."""
    known = []
    for path in BUILDERS:
        builder = importlib.import_module(path)
        if name in builder.CONFIGS:
            return builder
        known += builder.CONFIGS
    raise ValueError(f"model must be one of {', '.join(known)}; got {name}")
