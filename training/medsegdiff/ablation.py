"""`python -m training.medsegdiff.ablation RECIPE.toml --data DIR --out DIR`: trains by the recipe four times, with and without
the FF-Parser and dynamic encoding, and tabulates what the held-out images say (OUT/ablation.md). Given again, it goes on.

Exit status: 0 all trained, 1 some run failed or was interrupted, 2 bad arguments.
"""

import argparse
import math
import pathlib
import sys
import tomllib

from safetensors import safe_open

from inference.files import write_whole
from training.log import read_log
from training.medsegdiff.runs import run
from training.recipe import read_recipe

VARIANTS = {"neither": (False, False), "ff_parser": (True, False), "dynamic_encoding": (False, True), "both": (True, True)}
"""Whether there is an FF-Parser and whether there is dynamic encoding, by the name of the run's folder."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.medsegdiff.ablation",
                                     description="Train by one recipe with and without FF-Parser and dynamic encoding.")
    parser.add_argument("recipe", type=pathlib.Path, help="TOML file of the task medsegdiff")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="as of python -m training")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="gets a folder for each run, and ablation.md")
    parser.add_argument("--steps", type=int, help="batches, in place of the recipe's")
    args = parser.parse_args(argv)
    try:
        if read_recipe(args.recipe).task != "medsegdiff":
            raise ValueError(f"{args.recipe}: must be of the task medsegdiff")
    except ValueError as error:
        parser.error(str(error))
    base = tomllib.loads(args.recipe.read_text()) | ({"steps": args.steps} if args.steps else {})
    failed = 0
    for name, (ff_parser, dynamic_encoding) in VARIANTS.items():
        try:
            table = base | {"ff_parser": ff_parser, "dynamic_encoding": dynamic_encoding}
            failed += run(table, args.data, args.out / name) != 0
        except ValueError as error:
            print(error, file=sys.stderr)
            failed += 1
        except KeyboardInterrupt:
            return 1
    text = table_text(args.out)
    write_whole(args.out / "ablation.md", text.encode())
    print(text, end="")
    return 1 if failed else 0


def table_text(out: pathlib.Path) -> str:
    """Markdown: of each run that has validated its parameters, and the Dice of its best and of its last weights on the
    held-out images, at the network's resolution, one mask drawn for each."""
    lines = ["| run | FF-Parser | dynamic encoding | parameters | best Dice (at batch) | last Dice |",
             "| --- | --- | --- | --: | --- | --- |"]
    for name, parts in VARIANTS.items():
        rows = read_log(out / name / "validation.csv")
        if rows:
            best = max(rows, key=lambda row: float(row["macro"]))
            cells = [name, *("yes" if part else "no" for part in parts), f"{parameters(out / name / 'last.safetensors'):,}",
                     f"{float(best['macro']):.4f} ({best['step']})", f"{float(rows[-1]['macro']):.4f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def parameters(path: pathlib.Path) -> int:
    """How many numbers a safetensors file holds."""
    with safe_open(path, framework="numpy") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())


if __name__ == "__main__":
    sys.exit(main())
