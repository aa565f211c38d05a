"""Named models of the SAM family and their weights on disk."""

import dataclasses
import os
import pathlib

import jittor as jt
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.config import CONFIGS
from models.sam.sam import Sam

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


def save_weights(model: Sam, path: pathlib.Path):
    """The model's parameters, buffers and facts as safetensors: written aside, flushed to the disk, renamed."""
    path = pathlib.Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    save_file({key: value.numpy() for key, value in model.state_dict().items()}, aside, model.facts())
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)


def load_weights(model: Sam, path: pathlib.Path) -> dict[str, str]:
    """Fills the model from safetensors and returns the file's facts.

    Raises ValueError that lists all missing, unexpected and mis-shaped keys; then nothing is loaded. The counters
    `num_batches_tracked` of other frameworks' batch norms are unexpected too: the converter of checkpoints drops them.
    """
    wanted = model.state_dict()
    with safe_open(path, framework="numpy") as file:
        _refuse_other_keys(path, model.config.name, wanted,
                           {key: file.get_slice(key).get_shape() for key in file.keys()})
        # One by one: a large model is not held in memory twice.
        for key, var in wanted.items():
            var.assign(jt.array(file.get_tensor(key).astype(np.float32)))
            var.sync()
        return dict(file.metadata() or {})


def _refuse_other_keys(path, name, wanted, shapes):
    wrong = [f"missing {key}" for key in wanted if key not in shapes]
    wrong += [f"unexpected {key}" for key in shapes if key not in wanted]
    wrong += [f"{key} is {list(shapes[key])}, not {list(var.shape)}" for key, var in wanted.items()
              if key in shapes and list(shapes[key]) != list(var.shape)]
    if wrong:
        raise ValueError(f"{path}: does not fit {name}: {'; '.join(wrong)}")
