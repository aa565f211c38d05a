"""The same augmented image in the teacher's frame and in the student's, or beside the teacher's embedding on the disk."""

import dataclasses
import pathlib
import zlib

import numpy as np

from models.sam.config import CONFIGS
from training import data
from training.recipe import Recipe
from training.sam.samples import frame_of, rank  # noqa: F401

IMAGES_PER_DATASET = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilRecipe(Recipe):
    """teacher: a model whose embeddings have the student's shape; teacher_weights: its safetensors. embeddings: a folder
    that `python -m training.distil RECIPE` fills with the teacher's embeddings, of each image in its four mirrorings; then
    the teacher does not run while the student learns. "" for none.
    """

    teacher: str
    teacher_weights: str
    embeddings: str = ""

    def check(self):
        super().check()
        if self.teacher not in CONFIGS:
            raise ValueError(f"teacher must be one of {', '.join(CONFIGS)}; got {self.teacher!r}")


RECIPE = DistilRecipe


def embedding_path(recipe: DistilRecipe, name: str, z: int | None, mirrored: tuple[bool, bool]) -> pathlib.Path:
    """Where the embedding of a case, of slice z of a volume, mirrored in y and x, lies: float16 npy."""
    slice_name = "" if z is None else f"_{z:03d}"
    return pathlib.Path(recipe.embeddings) / f"{name}{slice_name}_{mirrored[0]:d}{mirrored[1]:d}.npy"


def make_sample(recipe: DistilRecipe, datasets, step: int, index: int):
    """Sample `index` of batch `step`: the image for the student, float32 (3, s, s), and for the teacher, (3, S, S), or its
    embedding (C, h, w) where the recipe has a folder of them."""
    rng = np.random.default_rng([recipe.seed, step, index])
    dataset = datasets[rng.choice(len(datasets), p=data.dataset_chances(datasets))]
    item = dataset.train[rng.integers(len(dataset.train))]
    return _pair(recipe, item, labelled_z(item, rng), tuple(rng.random(2) < 0.5))


def labelled_z(item: data.Item, rng) -> int | None:
    """A random labelled slice of a volume, None of an image."""
    planes = item.planes()
    return planes[rng.integers(len(planes))]


def mirrored_image(item: data.Item, z: int | None, mirrored: tuple[bool, bool]) -> np.ndarray:
    """The image (H, W) or (H, W, 3) of a case, or its slice z, mirrored in y and x."""
    return np.flip(item.plane(z)[0], [axis for axis in range(2) if mirrored[axis]])


def _pair(recipe, item, z, mirrored):
    image = mirrored_image(item, z, mirrored)
    student = frame_of(recipe.model).picture(image)
    if recipe.embeddings:
        path = embedding_path(recipe, item.name, z, mirrored)
        return student, np.load(path, allow_pickle=False).astype(np.float32)
    return student, frame_of(recipe.teacher).picture(image)


def make_validation(recipe: DistilRecipe, datasets):
    """A list of (modality, dataset, student's image, teacher's image or embedding) of held-out cases."""
    samples = []
    for dataset in datasets:
        rng = np.random.default_rng(zlib.crc32(dataset.name.encode()))
        for index in rng.permutation(len(dataset.held_out))[:IMAGES_PER_DATASET]:
            item = dataset.held_out[index]
            plain = dataclasses.replace(recipe, embeddings="")
            samples.append((dataset.modality, dataset.name, *_pair(plain, item, labelled_z(item, rng), (False, False))))
    return samples
