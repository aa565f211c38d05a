"""The files that SAMed publishes and exchanges: the trained part of a model, in one flat dict.

w_a_000, w_b_000, w_a_001, ...: A and B of q and of v of each block of the encoder; prompt_encoder.*; mask_decoder.*, whose
transformer SAMed_s replaces by sa_, cti_ and cit_ (self-attention, tokens to image, image to tokens: layer by layer q and
v) and fati_ (the final one).
"""

import pathlib

import jittor as jt
import numpy as np
from safetensors.numpy import load_file

import models  # noqa: F401  (sets Jittor's environment first)
from models.checkpoints.convert import arrays_of, check_fit, state_of
from models.checkpoints.errors import naming
from models.checkpoints.files import read_checkpoint
from models.checkpoints.write import write_torch
from models.samed.samed import Samed
from models.weights import write_weights

_ATTENTIONS = {"sa": "self_attn", "cti": "cross_attn_token_to_image", "cit": "cross_attn_image_to_token"}


def lora_state(model: Samed) -> dict:
    """The Vars of the file by its keys."""
    sam, state = model.sam, {}
    for i, block in enumerate(sam.image_encoder.blocks):
        qkv = block.attn.qkv
        state |= _pair("w", 2 * i, qkv.linear_a_q, qkv.linear_b_q) | _pair("w", 2 * i + 1, qkv.linear_a_v, qkv.linear_b_v)
    if model.config.decoder_lora:
        transformer = sam.mask_decoder.transformer
        for prefix, name in _ATTENTIONS.items():
            for i, layer in enumerate(transformer.layers):
                q, v = getattr(layer, name).q_proj, getattr(layer, name).v_proj
                state |= _pair(prefix, 2 * i, q.w_a, q.w_b) | _pair(prefix, 2 * i + 1, v.w_a, v.w_b)
        final = transformer.final_attn_token_to_image
        state |= {"fati_qa": final.q_proj.w_a.weight, "fati_qb": final.q_proj.w_b.weight,
                  "fati_va": final.v_proj.w_a.weight, "fati_vb": final.v_proj.w_b.weight}
    for part in ("prompt_encoder", "mask_decoder"):
        state |= {f"{part}.{key}": var for key, var in getattr(sam, part).state_dict().items()
                  if not (model.config.decoder_lora and key.startswith("transformer."))}
    return state


def _pair(prefix, number, a, b):
    return {f"{prefix}_a_{number:03d}": a.weight, f"{prefix}_b_{number:03d}": b.weight}


def save_lora(model: Samed, path: pathlib.Path) -> None:
    """Writes the trained part: .pth as torch.save does, for the SAMed repository; .safetensors with the model's facts.

    Raises ValueError for other names.
    """
    path = pathlib.Path(path)
    arrays = {key: var.numpy() for key, var in lora_state(model).items()}
    if path.suffix == ".pth":
        write_torch(path, arrays)
    elif path.suffix == ".safetensors":
        write_weights(path, arrays, model.facts())
    else:
        raise ValueError(f"{path}: must end in .pth or .safetensors")


def load_lora(model: Samed, path: pathlib.Path) -> None:
    """Fills the trained part of a model, whose base `load_base` has filled, from a file as `save_lora` or SAMed writes it.

    Raises CheckpointError, a ValueError, that lists the missing, unexpected and mis-shaped keys; then nothing is loaded.
    ValueError while the model is merged.
    """
    path = pathlib.Path(path)
    if model.is_merged:
        raise ValueError(f"{path}: {model.config.name} must be unmerged to take another LoRA")
    wanted = lora_state(model)
    with naming(path):
        state = load_file(path) if path.suffix == ".safetensors" else state_of(read_checkpoint(path))
        check_fit(state, {key: tuple(map(int, var.shape)) for key, var in wanted.items()}, model.config.name)
        arrays = state if path.suffix == ".safetensors" else arrays_of(state)
    for key, var in wanted.items():
        var.assign(jt.array(arrays[key].astype(np.float32)))
