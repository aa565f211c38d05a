"""Reading label images: `segs` of a prediction, `gts` and `spacing` of its truth."""
import zipfile
import zlib
from pathlib import Path

import numpy as np

from inference.case import printable

# What numpy and zipfile raise on files that are truncated, no zip, pickled, or claim more than the memory holds.
BROKEN = (OSError, EOFError, ValueError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


class LabelError(ValueError):
    """A label file that cannot be used. The text names the file, the field, the rule and the value."""


def read_segs(path: Path) -> np.ndarray:
    """`segs` of an npz: labels (H, W) or (D, H, W), an integer dtype. Raises LabelError."""
    return read_arrays(path, ("segs",))["segs"]


def read_truth(path: Path) -> tuple[np.ndarray, tuple[float, float, float] | None]:
    """`gts` of an npz, labels (H, W) or (D, H, W) of an integer dtype, and for a volume its voxel size x, y, z in mm
    as stored (None for a 2-D image). Raises LabelError."""
    arrays = read_arrays(path, ("gts", "spacing"))
    gts = arrays["gts"]
    if gts.ndim == 2:
        return gts, None
    spacing = arrays.get("spacing")
    if spacing is None:
        raise LabelError(f"{printable(path.name)}: spacing is missing; a volume needs x, y, z in mm")
    if spacing.shape != (3,) or spacing.dtype.kind not in "iuf" or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise LabelError(f"{printable(path.name)}: spacing must be 3 positive numbers x, y, z in mm; "
                         f"got {spacing.tolist()}")
    return gts, tuple(float(step) for step in spacing)


def read_arrays(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of `keys` that an npz holds; the first one must be there and is checked as a label image."""
    name = printable(path.name)
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise LabelError(f"{name}: must be an npz (a zip of arrays); got a single npy array")
        with stored:
            arrays = {key: stored[key] for key in keys if key in stored.files}
            found = ", ".join(stored.files) or "nothing"
    except LabelError:
        raise
    except FileNotFoundError as error:
        raise LabelError(f"{name}: there is no such file in {printable(path.parent.name)}") from error
    except BROKEN as error:
        raise LabelError(f"{name}: cannot be read as npz; {' '.join(str(error).split())}") from error
    if keys[0] not in arrays:
        raise LabelError(f"{name}: must hold an array {keys[0]}; got {found}")
    arrays[keys[0]] = checked_labels(arrays[keys[0]], f"{name}: {keys[0]}")
    return arrays


def checked_labels(labels: np.ndarray, field: str) -> np.ndarray:
    """`labels` as integers; whole floats and booleans are taken as such. Raises LabelError."""
    if labels.ndim not in (2, 3):
        raise LabelError(f"{field} must be (H, W) or (D, H, W); got {labels.shape}")
    if labels.dtype.kind in "ui":
        return labels
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    # Not `labels.max() < 65536` alone: NaN and infinities do not compare.
    if labels.dtype.kind == "f" and ((labels >= 0) & (labels < 65536) & (labels == np.floor(labels))).all():
        return labels.astype(np.uint16)
    raise LabelError(f"{field} must be whole numbers; got {labels.dtype}")
