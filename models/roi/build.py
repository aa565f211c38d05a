"""Named roi networks and their weights on disk."""

import dataclasses
import os
import pathlib

import jittor as jt
from safetensors import safe_open
from safetensors.numpy import save_file

import models  # noqa: F401  (sets Jittor's environment first)
from models.roi.config import CONFIGS
from models.roi.roi import Roi


def build(name: str, **changes) -> Roi:
    """A freshly initialised network in eval mode. name: a key of CONFIGS; changes: fields of RoiConfig to replace."""
    if name not in CONFIGS:
        raise ValueError(f"model: no roi network is called {name!r}; known: {', '.join(CONFIGS)}")
    net = Roi(dataclasses.replace(CONFIGS[name], **changes))
    net.eval()
    return net


def save_weights(net: Roi, path: pathlib.Path):
    """The network's parameters, running statistics and facts as safetensors, written aside and renamed."""
    path = pathlib.Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    save_file({key: value.numpy() for key, value in net.state_dict().items()}, aside, net.facts())
    os.replace(aside, path)


def load_weights(net: Roi, path: pathlib.Path) -> dict[str, str]:
    """Fills the network from safetensors and returns the file's facts.

    Raises ValueError that lists missing, unexpected and mis-shaped keys: nothing is loaded by halves.
    """
    with safe_open(path, framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}
        facts = dict(file.metadata() or {})
    wanted = net.state_dict()
    wrong = [f"missing {key}" for key in wanted if key not in arrays]
    wrong += [f"unexpected {key}" for key in arrays if key not in wanted]
    wrong += [f"{key} is {list(arrays[key].shape)}, not {list(var.shape)}" for key, var in wanted.items()
              if key in arrays and list(arrays[key].shape) != list(var.shape)]
    if wrong:
        raise ValueError(f"{path}: does not fit {net.config.name}: {'; '.join(wrong[:8])}"
                         + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""))
    for key, var in wanted.items():
        var.assign(jt.array(arrays[key]))
    return facts
