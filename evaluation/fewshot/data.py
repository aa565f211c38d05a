"""The npz layout of FS-MedSAM2: a file a query slice and label, each with the support slice of its third of the volume.

Files are named <label counter>_<sample index>_case_<scan>_z<slice>.npz. Keys: sup_img_part (1, 3, H, W), sup_fgm_part
(1, H, W), query_images (1, 3, H, W), query_labels (1, H, W), labels (1,): the label's id. Images are real numbers of any
range, masks 0 and 1. sup_bgm_part and n_scan are there too, and not needed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.labels import BROKEN
from inference.case import printable

NAME = re.compile(r"(\d+)_(\d+)_case_([^_]+)_z(\d+)\.npz")
_KEYS = {"sup_img_part": 4, "sup_fgm_part": 3, "query_images": 4, "query_labels": 3, "labels": 1}


class FewShotError(ValueError):
    """A file or a case that cannot be used. The text names it, the field, the rule and the value."""


@dataclass(frozen=True)
class CaseFiles:
    """The files of one label of one scan, by slice. counter: the label's place among those evaluated, from 1."""

    counter: int
    scan: str
    slices: tuple[int, ...]
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """As the files' names begin and go on, without the sample."""
        return f"{self.counter}_case_{self.scan}"


@dataclass(frozen=True, eq=False)
class Support:
    """A slice whose mask is known. image float32 (H, W, 3); mask bool (H, W)."""

    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Query:
    """A slice to segment. z: its place in the scan; image float32 (H, W, 3); mask bool (H, W), the truth; support: which
    of the case's supports its file holds."""

    z: int
    image: np.ndarray
    mask: np.ndarray
    support: int


@dataclass(frozen=True, eq=False)
class FewShotCase:
    """One label of one scan. supports: one a sub-volume, in the order of the slices; queries: in the order of z."""

    name: str
    scan: str
    label_id: int
    supports: list[Support]
    queries: list[Query]


def find_cases(folder: Path) -> list[CaseFiles]:
    """The cases of a folder by counter and scan; numbers among the scans in their order. Files of other names are passed
    over. Raises FewShotError where there is none."""
    found: dict[tuple[int, str], list[tuple[int, int, Path]]] = {}
    for path in folder.glob("*.npz"):
        if match := NAME.fullmatch(path.name):
            counter, sample, scan, z = match.groups()
            found.setdefault((int(counter), scan), []).append((int(z), int(sample), path))
    if not found:
        raise FewShotError(f"{folder} must hold files <label>_<sample>_case_<scan>_z<slice>.npz; got none")
    cases = []
    for (counter, scan), files in sorted(found.items(), key=lambda item: (item[0][0], _natural(item[0][1]))):
        slices, _, paths = zip(*sorted(files))
        cases.append(CaseFiles(counter, scan, slices, paths))
    return cases


def _natural(scan: str) -> tuple[int, str]:
    return (int(scan), "") if scan.isdecimal() else (-1, scan)


def read_case(files: CaseFiles) -> FewShotCase:
    """Reads a case. Raises FewShotError.

    Files with one and the same support image are a sub-volume; sub-volumes are in the order of their first slices. (The
    original takes them as the folder lists its files, which is no order at all.)
    """
    supports, queries, of_image, label_id = [], [], {}, None
    for z, path in zip(files.slices, files.paths):
        arrays = _read(path)
        if label_id is None:
            label_id, shape = int(arrays["labels"][0]), arrays["query_labels"].shape
        if arrays["labels"][0] != label_id or arrays["query_labels"].shape != shape:
            raise FewShotError(f"{printable(path.name)}: labels and the size of slices must be those of the case's other "
                               f"files, {label_id} and {shape[1:]}; got {arrays['labels'][0]} and "
                               f"{arrays['query_labels'].shape[1:]}")
        key = arrays["sup_img_part"].tobytes()
        if key not in of_image:
            of_image[key] = len(supports)
            supports.append(Support(_planar(arrays["sup_img_part"]), arrays["sup_fgm_part"][0] == 1))
        queries.append(Query(z, _planar(arrays["query_images"]), arrays["query_labels"][0] == 1, of_image[key]))
    return FewShotCase(files.name, files.scan, label_id, supports, queries)


def _planar(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(image[0], 0, -1), np.float32)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays that are needed, checked."""
    name = printable(path.name)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in _KEYS if key in stored.files}
    except BROKEN as error:
        raise FewShotError(f"{name}: must be an npz that can be read; got {' '.join(str(error).split())}") from error
    for key, ndim in _KEYS.items():
        if key not in arrays:
            raise FewShotError(f"{name}: must hold an array {key}; got {', '.join(arrays) or 'none of those needed'}")
        array, axes = arrays[key], {4: "(1, 3, H, W)", 3: "(1, H, W)", 1: "(1,)"}[ndim]
        if array.ndim != ndim or array.shape[0] != 1 or ndim == 4 and array.shape[1] != 3 or not array.size:
            raise FewShotError(f"{name}: {key} must be {axes}; got {array.shape}")
        if array.dtype.kind not in ("ui" if ndim == 1 else "uif") or not np.isfinite(array).all():
            raise FewShotError(f"{name}: {key} must be {'an integer' if ndim == 1 else 'finite numbers'}; got {array.dtype} "
                               f"{array.min()}..{array.max()}")
        if ndim == 3 and not ((array == 0) | (array == 1)).all():
            raise FewShotError(f"{name}: {key} must hold 0 and 1 alone; got {array.min():g}..{array.max():g}")
    if len({array.shape[-2:] for array in arrays.values() if array.ndim > 1}) > 1:
        sizes = ", ".join(f"{key} {array.shape[-2:]}" for key, array in arrays.items() if array.ndim > 1)
        raise FewShotError(f"{name}: all images and masks must be of one size; got {sizes}")
    return arrays
