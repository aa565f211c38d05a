"""A checkpoint's tensors under our names, checked against a model to the last key, and written as safetensors."""

import hashlib
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from models.checkpoints.errors import CheckpointError, brief, listed, printable
from models.checkpoints.tensors import Tensor

# Where training programs keep the state dict beside their counters: Lightning and many others, MedSAM.
WRAPPERS = ("state_dict", "model")
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Rules:
    """How keys of a checkpoint become ours.

    prefixes  (old, new) in the order in which they are tried, each once per key; new None leaves the key out
    dropped   last parts of keys that our models do not have, such as num_batches_tracked
    """

    prefixes: tuple[tuple[str, str | None], ...] = (("module.", ""),)
    dropped: tuple[str, ...] = ("num_batches_tracked",)


def state_of(tree: object) -> dict[str, Tensor]:
    """The state dict in what a checkpoint holds: the dict itself, or what it keeps under one of WRAPPERS.

    Raises CheckpointError where there is none, or where it holds anything but tensors under names.
    """
    if not isinstance(tree, dict):
        raise CheckpointError(f"must hold a dict; got {brief(tree)}")
    if not any(isinstance(value, Tensor) for value in tree.values()):
        inner = [tree[name] for name in WRAPPERS if isinstance(tree.get(name), dict)]
        if not inner:
            raise CheckpointError(f"must hold a state dict, or one under {' or '.join(WRAPPERS)}; got "
                                  f"{listed(map(brief, tree), 8) or 'nothing'}")
        tree = inner[0]
    for key, value in tree.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"its state dict must hold tensors under names; got {brief(value)} under {brief(key)}")
    return tree


def renamed(state: dict[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], Counter]:
    """(tensors under our keys, how many keys were left out by what they begin or end with)."""
    ours, left_out = {}, Counter()
    for key, tensor in state.items():
        new = _new_key(key, rules, left_out)
        if new in ours:
            raise CheckpointError(f"must have one key for {new}; got two, {brief(key)} the second")
        if new is not None:
            ours[new] = tensor
    return ours, left_out


def _new_key(key: str, rules: Rules, left_out: Counter) -> str | None:
    for old, new in rules.prefixes:
        if key.startswith(old):
            if new is None:
                left_out[f"{old}*"] += 1
                return None
            key = new + key.removeprefix(old)
    last = key.rpartition(".")[2]
    if last in rules.dropped:
        left_out[f"*.{last}"] += 1
        return None
    return key


def add_parts(state: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` and those parts (image_encoder, mask_decoder, ...) of `other` of which it has nothing at all."""
    held = {key.partition(".")[0] for key in state}
    return state | {key: tensor for key, tensor in other.items() if key.partition(".")[0] not in held}


def check_fit(state: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], model: str) -> None:
    """Raises CheckpointError that lists every kind of difference from the model's own keys and shapes."""
    missing = [key for key in shapes if key not in state]
    unexpected = [printable(key) for key in state if key not in shapes]
    misshaped = [f"{key} {list(state[key].shape)} for {list(shape)}" for key, shape in shapes.items()
                 if key in state and state[key].shape != tuple(shape)]
    wrong = [f"  {len(keys)} {kind}: {listed(keys)}" for kind, keys in
             (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped)) if keys]
    if wrong:
        raise CheckpointError("\n".join([f"does not fit {model}, whose {len(shapes)} keys must all be there and no other:",
                                         *wrong]))


def arrays_of(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The tensors as arrays. Half precisions become float32, which is exact, for the models compute in it and numpy knows
    no bfloat16; every other dtype is kept. A bar on stderr where that is a terminal."""
    arrays = {}
    with tqdm(total=sum(tensor.nbytes for tensor in state.values()), desc="converting", unit="B", unit_scale=True,
              disable=not sys.stderr.isatty()) as bar:
        for key, tensor in state.items():
            array = tensor.array()
            arrays[key] = array.astype(np.float32) if array.dtype == np.float16 else array
            bar.update(tensor.nbytes)
    return arrays


def sha256_of(path: Path) -> str:
    """Hex digest of a file, with a bar on stderr where that is a terminal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file, tqdm(total=path.stat().st_size, desc=f"hashing {printable(path.name)}", unit="B",
                                        unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
