"""One case: an image and its labels to the npz files of the challenge."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inference.case import write_npz
from training.prepare import objects
from training.prepare.intensity import Percentiles, Window, to_uint8
from training.prepare.report import DONE, LEFT_OUT, Row
from training.prepare.volume import read_volume

TRAINING, VALIDATION = "train", "validation"
_TILT_WORTH_A_WORD_DEGREES = 1.0


@dataclass(frozen=True)
class Recipe:
    """What is done to every case of a data set.

    modality, dataset  where the case belongs: train_npz/<modality>/<dataset>/
    intensity          how grey values are made
    remove             labels that are not wanted
    tumour             the label whose connected components become objects of their own; None for none
    min_voxels, min_pixels  smaller objects, and smaller parts of an object in a slice, are dropped
    keep_slices        keep slices without labels too
    keep_orientation   keep the axes as the files store them
    boxes              put boxes into training files too; validation files always have them
    """

    modality: str
    dataset: str
    intensity: Window | Percentiles
    remove: tuple[int, ...] = ()
    tumour: int | None = None
    min_voxels: int = 100
    min_pixels: int = 10
    keep_slices: bool = False
    keep_orientation: bool = False
    boxes: bool = False


@dataclass(frozen=True)
class Source:
    """A case's two files and in which split it is. case: its name, free of the data set's."""

    case: str
    image: Path
    labels: Path
    split: str


def targets(source: Source, recipe: Recipe, out: Path) -> list[Path]:
    """The files of a case. Its last part has no underscore, by which evaluation/origins.py tells it from the data set."""
    name = f"3DBox_{recipe.modality}_{recipe.dataset}_{source.case.replace('_', '-')}.npz"
    if source.split == TRAINING:
        return [out / "train_npz" / recipe.modality / recipe.dataset / name]
    return [out / "validation-box" / folder / name for folder in ("imgs", "gts")]


def forget(source: Source, recipe: Recipe, out: Path) -> None:
    """Removes what an earlier run made of a case, in either split: a case in both would be tested on what it taught."""
    for split in (TRAINING, VALIDATION):
        for path in targets(replace(source, split=split), recipe, out):
            path.unlink(missing_ok=True)


def prepare(source: Source, recipe: Recipe, out: Path) -> Row:
    """Reads, cleans and writes a case; returns its row of the report. Raises ValueError or OSError.

    A training file has imgs uint8 (D, H, W), gts (D, H, W) with the source's labels, spacing (x, y, z) in mm. A validation
    case has imgs, spacing and boxes in imgs/, gts and spacing in gts/, with labels 1..K in the order of the boxes.
    """
    volume = read_volume(source.image, source.labels, not recipe.keep_orientation)
    row, dropped, labels = Row(source.case, split=source.split), objects.Dropped(), volume.labels
    row.slices, row.stored_orientation = len(labels), volume.stored
    row.spacing_xyz_mm = " ".join(f"{mm:g}" for mm in volume.spacing_xyz_mm)
    if volume.tilt_degrees > _TILT_WORTH_A_WORD_DEGREES:
        row.add_why(f"axes are tilted by {volume.tilt_degrees:.0f} degrees, not resampled")
    objects.remove_labels(labels, recipe.remove, dropped)
    if recipe.tumour is not None and (count := objects.split_instances(labels, recipe.tumour)):
        row.add_why(f"label {recipe.tumour} became {count} objects")
    objects.drop_small(labels, recipe.min_voxels, recipe.min_pixels, dropped)
    row.count(dropped)
    labelled = labels.any(axis=(1, 2))
    if not labelled.any():
        row.status = LEFT_OUT
        row.add_why("no label is left")
        return row
    kept = np.ones_like(labelled) if recipe.keep_slices else labelled
    if not kept.all():
        row.add_why(f"{int((~kept).sum())} slices without labels")
    # Grey values are those of the whole volume, as in the original: first stretched, then cut.
    image, labels = to_uint8(volume.image, recipe.intensity)[kept], labels[kept]
    names = objects.names_of(labels)
    _write(targets(source, recipe, out), source.split, image, labels, names, volume.spacing_xyz_mm, recipe.boxes)
    row.status, row.file = DONE, str(targets(source, recipe, out)[0].relative_to(out))
    row.slices_kept, row.voxels_kept = int(kept.sum()), int(np.count_nonzero(labels))
    row.labels_kept = " ".join(map(str, names))
    return row


def _write(paths: list[Path], split: str, image, labels, names, spacing_xyz_mm, boxes_too: bool) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    boxes, spacing = objects.boxes_of(labels, names), np.array(spacing_xyz_mm)
    if split == TRAINING:
        arrays = {"imgs": image, "gts": _small(labels), "spacing": spacing}
        write_npz(paths[0], arrays | ({"boxes": boxes} if boxes_too else {}))
    else:
        write_npz(paths[1], {"gts": _small(objects.renumbered(labels, names)), "spacing": spacing})
        # Last: a case counts as done once its first file is there.
        write_npz(paths[0], {"imgs": image, "boxes": boxes, "spacing": spacing})


def _small(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.uint8) if labels.max(initial=0) <= 255 else labels
