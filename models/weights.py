"""Weights on disk: safetensors, written whole or not at all, read strictly."""

import os
import pathlib

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file


def write_weights(path: pathlib.Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """A safetensors file: aside in the same folder, fsync, rename. Raises OSError."""
    path = pathlib.Path(path)
    aside = path.with_name(f".writing-{os.urandom(8).hex()}.tmp")
    try:
        aside.touch()
        mode = aside.stat().st_mode
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, aside, metadata)
        aside.chmod(mode)  # safetensors makes files that their owner alone may read
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def save_model(model, path: pathlib.Path) -> None:
    """A Jittor module's state dict and facts."""
    write_weights(path, {key: value.numpy() for key, value in model.state_dict().items()}, model.facts())


def load_model(model, path: pathlib.Path) -> dict[str, str]:
    """Fills a Jittor module from safetensors and returns the file's facts.

    Raises ValueError that lists the missing, unexpected and mis-shaped keys; then nothing is loaded. The counters
    `num_batches_tracked` of other frameworks' batch norms are unexpected too: the converter of checkpoints drops them.
    """
    import jittor as jt

    wanted = model.state_dict()
    with safe_open(path, framework="numpy") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
        wrong = [f"missing {key}" for key in wanted if key not in shapes]
        wrong += [f"unexpected {key}" for key in shapes if key not in wanted]
        wrong += [f"{key} is {list(shapes[key])}, not {list(var.shape)}" for key, var in wanted.items()
                  if key in shapes and list(shapes[key]) != list(var.shape)]
        if wrong:
            raise ValueError(f"{path}: does not fit {model.config.name}: {'; '.join(wrong[:8])}"
                             + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""))
        # One by one: a large model is not held in memory twice.
        for key, var in wanted.items():
            var.assign(jt.array(file.get_tensor(key).astype(np.float32)))
            var.sync()
        return dict(file.metadata() or {})
