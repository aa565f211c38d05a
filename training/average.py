"""`python -m training.average A B ... -o OUT`: the mean of the weights of runs that started from the same ones.

Runs that were fine-tuned from one network lie in one valley of the loss, and their mean is as good as the best of them on
what each is best at (Wortsman et al. 2022, "Model soups", arXiv 2203.05482).
"""

import argparse
import pathlib
import sys

import numpy as np
from safetensors import SafetensorError, safe_open

from models.weights import write_weights


def average(paths: list[pathlib.Path]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by key, facts of the first file). Raises ValueError where keys, shapes or the kind of model differ."""
    sums, facts = {}, {}
    for number, path in enumerate(paths):
        try:
            with safe_open(path, framework="numpy") as file:
                arrays, found = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: must be a safetensors file; got {error}") from error
        if number == 0:
            facts, sums = found, {key: array.astype(np.float64) for key, array in arrays.items()}
            continue
        wrong = [key for key in sums.keys() | arrays.keys()
                 if key not in sums or key not in arrays or sums[key].shape != arrays[key].shape]
        if wrong or found.get("family") != facts.get("family"):
            raise ValueError(f"{path}: must be of the model of {paths[0]}; got {sorted(wrong)[:3] or found.get('family')}")
        sums = {key: value + arrays[key] for key, value in sums.items()}
    return {key: (value / len(paths)).astype(np.float32) for key, value in sums.items()}, facts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.average", description=__doc__.split("\n\n")[1])
    parser.add_argument("weights", nargs="+", type=pathlib.Path, help="safetensors files of one model")
    parser.add_argument("-o", "--out", type=pathlib.Path, required=True, help="safetensors file to write")
    args = parser.parse_args()
    try:
        write_weights(args.out, *average(args.weights))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
