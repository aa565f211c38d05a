"""Labels made fit for training: some removed, tumours told apart, crumbs dropped, boxes drawn.

Connected components are those of the library connected-components-3d. Thresholds and connectivity are those of
pre_CT_MR.py, github.com/bowang-lab/MedSAM: its branch LiteMedSAM drops objects below 100 voxels and slice parts below 10
pixels, its main branch below 1000 and 100.
"""

from collections import Counter
from dataclasses import dataclass, field

import cc3d
import numpy as np

from inference.geometry import mask_box


@dataclass
class Dropped:
    """What became of a case's labels. Voxels, objects and slice parts by label."""

    removed_voxels: Counter = field(default_factory=Counter)
    small_objects: Counter = field(default_factory=Counter)
    small_object_voxels: Counter = field(default_factory=Counter)
    small_parts: Counter = field(default_factory=Counter)
    small_part_voxels: Counter = field(default_factory=Counter)


def remove_labels(labels: np.ndarray, names: tuple[int, ...], dropped: Dropped) -> None:
    """Makes the voxels of these labels background, in place."""
    for name in names:
        mask = labels == name
        if count := int(mask.sum()):
            dropped.removed_voxels[name] += count
            labels[mask] = 0


def split_instances(labels: np.ndarray, name: int) -> int:
    """Gives each 26-connected component of a label its own, in place: the highest label of the volume plus 1, 2, ...

    Returns how many there are. Raises ValueError where labels would not fit into uint16.
    """
    mask = labels == name
    components, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    highest = int(labels.max())
    if highest + count > np.iinfo(labels.dtype).max:
        raise ValueError(f"label {name} must have at most {np.iinfo(labels.dtype).max - highest} components; got {count}")
    labels[mask] = components[mask] + highest
    return int(count)


def drop_small(labels: np.ndarray, min_voxels: int, min_pixels: int, dropped: Dropped) -> None:
    """Makes background, in place, first the 26-connected objects of (D, H, W) with fewer than min_voxels voxels, then in
    each slice the 8-connected parts with fewer than min_pixels pixels. Components never reach across labels."""
    for name, voxels in _drop_components(labels, min_voxels, 26):
        dropped.small_objects[name] += 1
        dropped.small_object_voxels[name] += voxels
    for plane in labels:
        for name, voxels in _drop_components(plane, min_pixels, 8):
            dropped.small_parts[name] += 1
            dropped.small_part_voxels[name] += voxels


def _drop_components(labels: np.ndarray, least: int, connectivity: int) -> list[tuple[int, int]]:
    """(label, voxels) of every component below `least`, which become background in place."""
    if least <= 1 or not labels.any():
        return []
    components, count = cc3d.connected_components(labels, connectivity=connectivity, return_N=True)
    voxels = np.bincount(components.ravel(), minlength=count + 1)
    small = voxels < least
    small[0] = False
    if not small.any():
        return []
    mask = small[components]
    names = np.zeros(count + 1, labels.dtype)
    names[components[mask]] = labels[mask]
    labels[mask] = 0
    return [(int(names[index]), int(voxels[index])) for index in np.flatnonzero(small)]


def names_of(labels: np.ndarray) -> list[int]:
    """The labels that occur, ascending, without background."""
    return [int(name) for name in np.flatnonzero(np.bincount(labels.ravel())) if name]


def renumbered(labels: np.ndarray, names: list[int]) -> np.ndarray:
    """names[i] becomes i + 1, as the challenge numbers the objects of a file with boxes."""
    table = np.zeros(max(names) + 1, labels.dtype)
    table[names] = np.arange(1, len(names) + 1)
    return table[labels]


def boxes_of(labels: np.ndarray, names: list[int]) -> np.ndarray:
    """int32 (len(names), 6): tight boxes x_min, y_min, z_min, x_max, y_max, z_max in voxels, bounds inclusive."""
    return np.array([mask_box(labels == name) for name in names], np.int32).reshape(-1, 6)
