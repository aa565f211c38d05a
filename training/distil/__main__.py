"""`python -m training.distil RECIPE --data DIR`: fills the recipe's folder with the teacher's embeddings; resumes."""

import argparse
import os
import pathlib
import sys

import numpy as np
from tqdm import tqdm

from training import tasks
from training.distil.samples import embedding_path, frame_of, mirrored_image
from training.recipe import RecipeError, read_recipe

MIRRORINGS = [(False, False), (False, True), (True, False), (True, True)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.distil", description="Store a teacher's embeddings, float16.")
    parser.add_argument("recipe", type=pathlib.Path, help="TOML file of the task distil with a folder `embeddings`")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with <Modality>/<dataset>/*.npz")
    args = parser.parse_args()
    try:
        recipe = read_recipe(args.recipe)
        if recipe.task != "distil" or not recipe.embeddings:
            raise RecipeError(f"{args.recipe}: must be of the task distil with embeddings = a folder")
        datasets = tasks.datasets(recipe, args.data)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    pathlib.Path(recipe.embeddings).mkdir(parents=True, exist_ok=True)
    wanted = [(item, z, mirrored) for dataset in datasets for item in dataset.train
              for z in item.planes() for mirrored in MIRRORINGS]

    import jittor as jt

    from models import cpu
    from training.distil.task import teacher

    frame = frame_of(recipe.teacher)
    with cpu.installed(bfloat16=True), jt.no_grad():
        for item, z, mirrored in tqdm(wanted, unit="image", disable=not sys.stderr.isatty()):
            path = embedding_path(recipe, item.name, z, mirrored)
            if path.exists():
                continue
            image = jt.array(frame.picture(mirrored_image(item, z, mirrored))[None])
            aside = path.with_name(f".{path.name}.tmp")
            with open(aside, "wb") as file:
                np.save(file, teacher(recipe).image_encoder(image).numpy()[0].astype(np.float16))
            os.replace(aside, path)
    print(f"{len(wanted)} embeddings in {recipe.embeddings}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
