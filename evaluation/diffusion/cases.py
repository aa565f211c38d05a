"""The labelled images that a model is judged by."""

import functools
from pathlib import Path

import numpy as np

from evaluation.labels import read_truth
from evaluation.origins import origin_of
from inference.case import read_case
from training.data import Item
from training.medsegdiff import layouts
from training.medsegdiff.layouts import Source


def find(folder: Path, layout: str, datasets: tuple[str, ...]) -> list[Source]:
    """The images of a folder in order of their names; volumes are passed over. layout: see `layouts.find`; of npz the folder
    may also hold imgs/ and gts/ with cases of the same names. datasets: those to take; none: all. Raises ValueError."""
    if layout == "npz" and (folder / "imgs").is_dir() and (folder / "gts").is_dir():
        found = [source for source in map(functools.partial(_pair, folder), sorted((folder / "gts").glob("*.npz")))
                 if not datasets or source.dataset in datasets]
    else:
        found = layouts.find(layout, folder, datasets)
    found = [source for source in found if not source.name.startswith("3D")]
    if not found:
        raise ValueError(f"{folder}: has no image of {', '.join(datasets) or 'any dataset'}")
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{folder}: names must differ; {max(names, key=names.count)} is there more than once")
    return found


def _pair(folder, gts):
    origin = origin_of(gts.stem, {})
    return Source(origin.modality, origin.dataset, gts.stem, functools.partial(_read_pair, folder / "imgs" / gts.name, gts))


def _read_pair(imgs, gts):
    image, (truth, _) = read_case(imgs, needs_boxes=False).image, read_truth(gts)
    if image.shape[:2] != truth.shape:
        raise ValueError(f"{gts.name}: gts must have the shape of imgs {image.shape[:2]}; got {truth.shape}")
    return Item(gts.stem, image, truth, np.unique(truth[truth > 0]))
