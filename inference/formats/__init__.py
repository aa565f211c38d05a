"""Cases that are no npz: a module a format, imported when the first case of that format is read.

| format  | a case                                    | its masks   |
| nifti   | NAME.nii, NAME.nii.gz                     | NAME.nii.gz |
| picture | NAME.png, NAME.jpg, NAME.jpeg             | NAME.png    |
| dicom   | a folder NAME, its files those of a series | NAME.nii.gz |

None of them holds boxes: those are in NAME.boxes.json beside the case, see `sidecar`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# What a file's name ends with, in either case: what the name of its masks ends with.
_FILES = {".nii.gz": ".nii.gz", ".nii": ".nii.gz", ".png": ".png", ".jpg": ".png", ".jpeg": ".png"}
_SERIES = ".nii.gz"
# In a folder, files of these names are not looked into for being DICOM.
_NO_DICOM = (*_FILES, ".npz", ".npy", ".json", ".txt", ".csv", ".md")
_PIP_NAMES = {"PIL": "pillow"}


def find_cases(folder: Path) -> dict[Path, str]:
    """The cases in `folder`, each with the file name of its masks; `folder` itself is one where it holds DICOM files.

    Hidden files and folders are left out. Raises OSError where the folder cannot be read.
    """
    found = {}
    if any(dicom_files(folder)):
        series = folder.resolve()
        found[series] = series.name + _SERIES
    for entry in os.scandir(folder):
        if entry.name.startswith(".") or entry.name.endswith(".npz"):
            continue
        path = folder / entry.name
        if entry.is_dir():
            if any(dicom_files(path)):
                found[path] = entry.name + _SERIES
        elif suffix := _suffix(path):
            found[path] = entry.name[: -len(suffix)] + _FILES[suffix]
    return found


def read(path: Path, needs_boxes: bool = True, window: tuple[float, float] | None = None) -> tuple:
    """A case of one of `find_cases`: (Case, write), where write(path, segs) writes labels of the case's spatial shape as
    the file's own format has them, on the grid that the case was stored on, whole or not at all.

    needs_boxes: whether there must be boxes. window: level and width of the grey values, see `intensity.to_grey`.
    Raises CaseError, and so does `write`.
    """
    from inference.case import CaseError, printable

    suffix = "" if path.is_dir() else _suffix(path)
    name = path.name[: len(path.name) - len(suffix)]
    sidecar = path.with_name(f"{name}.boxes.json")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise CaseError("must be a file; got something else of that name")
        if needs_boxes and not sidecar.exists():
            raise CaseError(f"must have its boxes in {printable(sidecar.name)} beside it; there is no such file")
        return _reader(suffix)(path, name, sidecar, window)
    except ModuleNotFoundError as error:
        package = _PIP_NAMES.get(error.name, error.name)
        raise CaseError(f"{printable(path.name)}: is read with the Python package {package}, which is not installed here: "
                        f"pip install {package}") from error
    except CaseError as error:
        raise CaseError(f"{printable(path.name)}: {error}") from error.__cause__


def dicom_files(folder: Path) -> Iterator[Path]:
    """The files in `folder` that are called .dcm or begin as DICOM files do (part 10 of the standard, section 7.1), the
    catalogue DICOMDIR aside; none where the folder cannot be read."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        name = entry.name.lower()
        if entry.is_file() and not name.startswith(".") and name != "dicomdir" and (
                name.endswith(".dcm") or not name.endswith(_NO_DICOM) and _has_magic(entry.path)):
            yield Path(entry.path)


def _reader(suffix: str) -> Callable:
    if not suffix:
        from inference.formats.dicom import read_series
        return read_series
    if suffix.startswith(".nii"):
        from inference.formats.nifti import read_nifti
        return read_nifti
    from inference.formats.picture import read_picture
    return read_picture


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in _FILES if path.name.lower().endswith(suffix)), None)


def _has_magic(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
