"""Labelled slices with classes: cases of the project's own layout, or the flat folder of slices that SAMed publishes."""

import pathlib
import re
import zlib

import numpy as np

from evaluation.organs.classes import labels_of_case, to_classes
from training import data

SYNAPSE = "Synapse"
"""The name by which a recipe asks for a flat folder of slices."""

_SLICE = re.compile(r"(.+)_slice(\d+)")


class SliceFiles:
    """A case of the flat folder: `case0005_slice000.npz`, ..., each read when it is needed. A `data.Item` in what is used."""

    def __init__(self, name: str, paths: list[pathlib.Path]):
        self.name, self.paths = name, paths

    def plane(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """(image float32 (H, W) in 0..1, labels (H, W)) of the z-th slice. Raises ValueError that names the file."""
        path = self.paths[z]
        with np.load(path, allow_pickle=False) as stored:
            for key in ("image", "label"):
                if key not in stored:
                    raise ValueError(f"{path.name}: has no array {key!r}")
            image, labels = stored["image"].astype(np.float32), stored["label"]
        if image.ndim != 2 or labels.shape != image.shape or image.max(initial=0) > 3:
            raise ValueError(f"{path.name}: image must be (H, W) in 0..1 with labels of its shape; got {image.shape} up to "
                             f"{image.max(initial=0):g} and {labels.shape}")
        return image, labels


def planes_of(case) -> list[int | None]:
    """All slices of a case, labelled or not, for a network without prompts has to learn where there is nothing; of an image,
    which is its own only plane, [None]."""
    if isinstance(case, SliceFiles):
        return list(range(len(case.paths)))
    return [None] if case.gts.ndim == 2 else list(range(len(case.gts)))


def plane(recipe, case, z: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(image (H, W) or (H, W, 3), integers 0..255 or floats 0..1; classes uint8 (H, W)) of one of `planes_of`."""
    image, gts = case.plane(z)
    return image, to_classes(gts, _labels(recipe, case))


def _labels(recipe, case):
    """The label of each class; None where nobody can tell. A flat folder's are never renumbered."""
    return recipe.labels if isinstance(case, SliceFiles) else labels_of_case(case.labels, recipe.labels, recipe.gapless)


def read_datasets(folder: pathlib.Path, recipe) -> list[data.Dataset]:
    """The datasets that the recipe names, one that is called Synapse out of files FOLDER[/train_npz]/*_slice*.npz where there
    are some, and without the cases whose labels nobody can tell. Raises ValueError where one of them is not there."""
    root = folder / "train_npz" if (folder / "train_npz").is_dir() else folder
    flat = _flat(root) if SYNAPSE in recipe.datasets else None
    found = [flat] if flat else []
    if set(recipe.datasets) - {dataset.name for dataset in found}:
        found += data.read_datasets(folder, rank=2)
    return chosen(recipe, found)


def chosen(recipe, datasets: list[data.Dataset]) -> list[data.Dataset]:
    """See `read_datasets`."""
    if missing := set(recipe.datasets) - {dataset.name for dataset in datasets}:
        raise ValueError(f"datasets must be some of {', '.join(sorted(dataset.name for dataset in datasets))}; "
                         f"got {', '.join(sorted(missing))}")
    kept = []
    for dataset in datasets:
        if dataset.name in recipe.datasets:
            train, held_out = ([case for case in cases if _labels(recipe, case)] for cases in (dataset.train, dataset.held_out))
            if not train:
                raise ValueError(f"{dataset.name}: gapless does not say what the labels of any of its cases are")
            kept.append(data.Dataset(dataset.modality, dataset.name, train, held_out))
    return kept


def _flat(root) -> data.Dataset | None:
    """A case in twenty is held out, by its name, as in `data`."""
    paths: dict[str, list[pathlib.Path]] = {}
    for path in sorted(root.glob("*_slice*.npz")):
        if match := _SLICE.fullmatch(path.stem):
            paths.setdefault(match[1], []).append(path)
    if not paths:
        return None
    cases = [SliceFiles(name, found) for name, found in sorted(paths.items())]
    held = [zlib.crc32(case.name.encode()) % data.HELD_OUT_ONE_IN == 0 for case in cases]
    return data.Dataset("CT", SYNAPSE, [case for case, out in zip(cases, held) if not out],
                        [case for case, out in zip(cases, held) if out])
