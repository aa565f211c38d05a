"""Named models of the SAM family."""

import dataclasses

import jittor as jt
import numpy as np

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.config import CONFIGS
from models.sam.sam import Sam
from models.weights import load_model as load_weights  # noqa: F401
from models.weights import save_model as save_weights  # noqa: F401

BUFFERS = ("running_mean", "running_var", "positional_encoding_gaussian_matrix")
"""Last parts of the names of what the state dict holds but no optimiser changes."""


def build(name: str, **changes) -> Sam:
    """A freshly initialised model in eval mode. name: a key of CONFIGS; changes: fields of SamConfig to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no SAM is called {name!r}; known: {', '.join(CONFIGS)}")
    model = Sam(dataclasses.replace(CONFIGS[name], **changes))
    model.eval()
    return model


def parameter_count(module: jt.Module) -> int:
    """How many numbers of a module can be trained. Nothing is computed: a model that was only built costs no memory."""
    return sum(int(np.prod(var.shape)) for key, var in module.state_dict().items() if key.split(".")[-1] not in BUFFERS)
