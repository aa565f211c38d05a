"""Named models of the SAMed family."""

import dataclasses
import pathlib

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.build import parameter_count  # noqa: F401
from models.samed.config import CONFIGS
from models.samed.samed import Samed
from models.weights import load_model as load_weights  # noqa: F401
from models.weights import save_model


def build(name: str, **changes) -> Samed:
    """A freshly initialised model in eval mode. name: a key of CONFIGS; changes: fields of SamedConfig to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no SAMed is called {name!r}; known: {', '.join(CONFIGS)}")
    model = Samed(dataclasses.replace(CONFIGS[name], **changes))
    model.eval()
    return model


def save_weights(model: Samed, path: pathlib.Path) -> None:
    """The whole model, base and all. Raises ValueError while its LoRAs are merged: they would be added once more."""
    if model.is_merged:
        raise ValueError(f"{path}: {model.config.name} must be unmerged to be saved; its LoRAs are merged")
    save_model(model, path)
