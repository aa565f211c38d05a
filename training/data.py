"""The training images, held in memory, and which of them a sample is drawn from.

Layout: DIR[/train_npz]/<Modality>/<dataset>/*.npz with `imgs` uint8 (H, W[, 3]) or (D, H, W) and `gts` integer labels
of the same spatial shape, 0 background. A fixed part of the cases, chosen by name, is held out for validation.
"""

import pathlib
import sys
import zlib
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

HELD_OUT_ONE_IN = 20


@dataclass(frozen=True)
class Item:
    """A case: image uint8 (H, W), (H, W, 3) or (D, H, W); gts (H, W) or (D, H, W); labels that occur in it."""

    name: str
    image: np.ndarray
    gts: np.ndarray
    labels: np.ndarray

    def planes(self) -> list[int | None]:
        """The labelled slices of a volume; of an image, which is its own only plane, [None]."""
        return [None] if self.gts.ndim == 2 else np.flatnonzero(self.gts.any(axis=(1, 2))).tolist()

    def plane(self, z: int | None) -> tuple[np.ndarray, np.ndarray]:
        """(image, gts) of one of `planes`: (H, W) or (H, W, 3), and (H, W)."""
        return (self.image, self.gts) if z is None else (self.image[z], self.gts[z])


@dataclass(frozen=True)
class Dataset:
    """One folder of cases. train and held_out share no case."""

    modality: str
    name: str
    train: list[Item]
    held_out: list[Item]


def read_item(path: pathlib.Path) -> Item:
    """One training case; a colour image whose channels are equal is kept as grey. Raises ValueError."""
    with np.load(path, allow_pickle=False) as stored:
        for key in ("imgs", "gts"):
            if key not in stored:
                raise ValueError(f"{path.name}: has no array {key!r}")
        image, gts = stored["imgs"], stored["gts"]
    if image.ndim == 3 and gts.ndim == 2 and (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all():
        image = np.ascontiguousarray(image[..., 0])
    if image.dtype != np.uint8 or image.shape[: gts.ndim] != gts.shape:
        raise ValueError(f"{path.name}: imgs must be uint8 with the spatial shape of gts {gts.shape}; "
                         f"got {image.dtype} {image.shape}")
    labels = np.unique(gts)
    return Item(path.stem, image, gts, labels[labels > 0])


def read_datasets(folder: pathlib.Path, rank: int) -> list[Dataset]:
    """Every dataset under `folder` with cases of at least `rank` spatial axes (a 2-D network also learns from slices)."""
    root = folder / "train_npz" if (folder / "train_npz").is_dir() else folder
    found: dict[tuple[str, str], list[pathlib.Path]] = {}
    for path in sorted(root.glob("*/*/*.npz")):
        if rank == 2 or path.name.startswith("3D"):
            found.setdefault((path.parts[-3], path.parts[-2]), []).append(path)
    if not found:
        raise ValueError(f"{folder}: no <Modality>/<dataset>/*.npz in it for a {rank}-D network")
    datasets = []
    with tqdm(total=sum(map(len, found.values())), desc="reading", unit="case", disable=not sys.stderr.isatty()) as bar:
        for (modality, name), paths in found.items():
            train, held_out = [], []
            for path in paths:
                item = read_item(path)
                bar.update()
                if item.gts.ndim >= rank and len(item.labels):
                    # A tiny dataset keeps all its cases: it is too small to say anything about the model.
                    held = len(paths) >= HELD_OUT_ONE_IN / 2 and zlib.crc32(item.name.encode()) % HELD_OUT_ONE_IN == 0
                    (held_out if held else train).append(item)
            if train:
                datasets.append(Dataset(modality, name, train, held_out))
    return datasets


def dataset_chances(datasets: list[Dataset], emphasised: tuple[str, ...] = (), emphasis: float = 1.0) -> np.ndarray:
    """Chance (len(datasets),) that a sample comes from each: equal over modalities; within one, by the fourth root of
    the number of cases: a large dataset leads without drowning a small one. Then those named in `emphasised` count
    `emphasis` times as much."""
    weights = np.array([len(dataset.train) ** 0.25 for dataset in datasets])
    modalities = np.array([dataset.modality for dataset in datasets])
    for modality in set(modalities):
        weights[modalities == modality] /= weights[modalities == modality].sum()
    weights[[dataset.name in emphasised for dataset in datasets]] *= emphasis
    return weights / weights.sum()


def draw_object(datasets: list[Dataset], chances: np.ndarray, rank: int, rng: np.random.Generator):
    """A random object: (image, mask). mask is boolean; a volume gives one of its slices to a 2-D network."""
    dataset = datasets[rng.choice(len(datasets), p=chances)]
    item = dataset.train[rng.integers(len(dataset.train))]
    return object_of(item, rng.choice(item.labels), rank, rng)


def object_of(item: Item, label: int, rank: int, rng: np.random.Generator):
    """(image, mask) of a label; of a volume, for rank 2, a random slice through the object."""
    image, mask = item.image, item.gts == label
    if mask.ndim > rank:
        z = rng.choice(np.flatnonzero(mask.any(axis=(1, 2))))
        image, mask = image[z], mask[z]
    return image, mask
