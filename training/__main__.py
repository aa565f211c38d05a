"""`python -m training RECIPE.toml --data DIR --out DIR [--resume | --weights FILE]`: trains a network.

Exit code 2: bad arguments.
"""

import argparse
import dataclasses
import os
import pathlib
import sys

# The workers resample with small matrix products: a thread each is all they can use, and more would take the trainer's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from training import mpi, tasks
from training.checkpoint import load_state
from training.loader import Loader
from training.mirrors import open_mirror
from training.recipe import RecipeError, read_recipe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a network by a recipe.")
    parser.add_argument("recipe", type=pathlib.Path, help="TOML file, see training/recipes/")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with <Modality>/<dataset>/*.npz")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for checkpoints, logs and curves")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.safetensors")
    parser.add_argument("--weights", type=pathlib.Path, metavar="FILE", help="start from these weights, not from random ones")
    parser.add_argument("--log", action="append", default=[], metavar="WHERE",
                        help="besides the CSV files: tensorboard, wandb; may be given twice")
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches (default 1)")
    args = parser.parse_args()
    state = args.out / "state.safetensors"
    rank, world_size = mpi.share()
    try:
        recipe = read_recipe(args.recipe)
        if recipe.batch % (recipe.accumulate * world_size):
            raise ValueError(f"{args.recipe}: batch must be a multiple of accumulate times the {world_size} processes; "
                             f"got {recipe.batch} and {recipe.accumulate}")
        if args.resume and not state.exists():
            raise ValueError(f"{state}: there is nothing to resume")
        if state.exists() and not args.resume:
            raise ValueError(f"{state}: a run is there already; add --resume to go on, or choose another --out")
        if args.weights and not args.weights.is_file():
            raise ValueError(f"--weights: there is no file {args.weights}")
        datasets = tasks.datasets(recipe, args.data)
        args.out.mkdir(parents=True, exist_ok=True)
        mirrors = tuple(open_mirror(name, args.out, dataclasses.asdict(recipe)) for name in args.log if rank == 0)
    except (RecipeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    first_step = load_state(state)[1] if args.resume else 0
    samples = tasks.samples(recipe.task).make_validation(recipe, datasets)
    loader = Loader(recipe, datasets, first_step, args.workers, share=(rank, world_size))
    try:
        # Only now: Jittor starts threads, and the loader's processes must be forked before.
        from training.trainer import Trainer

        try:
            trainer = Trainer(recipe, args.out, mirrors)
            if args.resume:
                trainer.restore(state)
            elif args.weights:
                trainer.start_from(args.weights)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        return 0 if trainer.run(loader, samples) else 1
    finally:
        loader.close()


if __name__ == "__main__":
    sys.exit(main())
