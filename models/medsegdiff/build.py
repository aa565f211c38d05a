"""Named MedSegDiffs."""

import dataclasses
import pathlib

from safetensors import safe_open

import models  # noqa: F401  (sets Jittor's environment first)
from models.medsegdiff.config import CONFIGS, MedSegDiffConfig, from_facts
from models.medsegdiff.unet import Unet
from models.sam.build import parameter_count  # noqa: F401
from models.weights import load_model
from models.weights import save_model as save_weights  # noqa: F401

SETTINGS = ("steps", "samples", "fusion")
"""Facts that are a matter of taste: weights go with any."""


def build(name: str, **changes) -> Unet:
    """A freshly initialised denoiser in eval mode. name: a key of CONFIGS; changes: fields of MedSegDiffConfig to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no MedSegDiff is called {name!r}; known: {', '.join(CONFIGS)}")
    return build_config(dataclasses.replace(CONFIGS[name], **changes))


def build_config(config: MedSegDiffConfig) -> Unet:
    """The same of a configuration."""
    model = Unet(config)
    model.eval()
    return model


def load_weights(model: Unet, path: pathlib.Path) -> dict[str, str]:
    """Fills the model from safetensors, strictly, and returns the file's facts. Raises ValueError, also where the file says
    that it was trained otherwise: shapes do not show which objective or schedule weights are for."""
    own = model.facts()
    wrong = [f"{key} {value}, not {own[key]}" for key, value in facts_of(path).items()
             if key in own and key not in SETTINGS and value != own[key]]
    if wrong:
        raise ValueError(f"{path}: does not fit {model.config.name}: it was made with {'; '.join(wrong)}")
    return load_model(model, path)


def open_file(path: pathlib.Path) -> Unet:
    """The denoiser that `save_weights` wrote to `path`, whatever was changed of the named one. Raises ValueError."""
    try:
        model = build_config(from_facts(facts_of(path)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    load_weights(model, path)
    return model


def facts_of(path: pathlib.Path) -> dict[str, str]:
    """The facts in a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})
