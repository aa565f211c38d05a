"""From a SAM's own weights to the model that adapts it, at another image size and number of classes."""

import pathlib

import jittor as jt
import numpy as np
from safetensors.numpy import load_file

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.resampling import resize_matrix
from models.samed.samed import Samed

REPLACED = ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")
"""Parts of keys that depend on the number of classes: they are trained anew, SAM's own tokens among them."""


def load_base(model: Samed, path: pathlib.Path) -> list[str]:
    """Fills a Samed from the safetensors of its base and returns the keys that it left as they were.

    Where all keys and shapes agree, all are loaded. Otherwise those of REPLACED are left out, and the positions and the
    global blocks' tables of relative positions are resampled linearly to the model's grid (SAMed, `load_from`). Raises
    ValueError that lists what else is missing or does not fit; then nothing is loaded.
    """
    arrays, wanted = load_file(path), model.base_state()
    shapes = {key: tuple(map(int, var.shape)) for key, var in wanted.items()}
    if {key: array.shape for key, array in arrays.items()} == shapes:
        taken = arrays
    else:
        keys = [key for key in shapes if not any(part in key for part in REPLACED)]
        taken = {key: _fitted(model, key, arrays[key]) for key in keys if key in arrays}
        wrong = [f"missing {key}" for key in keys if key not in arrays]
        wrong += [f"{key} is {list(arrays[key].shape)}, not {list(shapes[key])}" for key, array in taken.items()
                  if array.shape != shapes[key]]
        if wrong:
            raise ValueError(f"{path}: must be weights of {model.config.base}: {'; '.join(wrong[:8])}"
                             + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""))
    for key, array in taken.items():
        wanted[key].assign(jt.array(array.astype(np.float32)))
    return [key for key in wanted if key not in taken]


def _fitted(model, key, array):
    """An array of positions for the model's grid; any other as it is."""
    encoder = model.config.sam.encoder
    tables = [f"image_encoder.blocks.{block}.attn.rel_pos_{axis}" for block in encoder.global_blocks for axis in "hw"]
    if key == "image_encoder.pos_embed" and array.ndim == 4 and array.shape[1:3] != (encoder.grid, encoder.grid):
        rows, columns = (resize_matrix(old, encoder.grid, "linear") for old in array.shape[1:3])
        return np.einsum("yi,nijc,xj->nyxc", rows, array, columns)
    if key in tables and array.ndim == 2 and len(array) != 2 * encoder.grid - 1:
        return resize_matrix(len(array), 2 * encoder.grid - 1, "linear") @ array
    return array
