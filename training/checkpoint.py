"""The state of a run on disk: one safetensors file, replaced atomically, that resumes bit-exactly."""

import json
import pathlib

import numpy as np
from safetensors import safe_open

from models.weights import write_weights


def load_arrays(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})


def save_state(path: pathlib.Path, groups: dict[str, dict[str, np.ndarray]], step: int, recipe: dict, best: float):
    """groups: e.g. {"net": {...}, "average": {...}, "first_moment": {...}}. step: batches done."""
    arrays = {f"{group}/{key}": value for group, values in groups.items() for key, value in values.items()}
    write_weights(path, arrays, {"step": str(step), "recipe": json.dumps(recipe, sort_keys=True), "best": repr(best)})


def load_state(path: pathlib.Path):
    """(groups, step, recipe, best) as given to save_state."""
    arrays, metadata = load_arrays(path)
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = value
    return groups, int(metadata["step"]), json.loads(metadata["recipe"]), float(metadata["best"])
