"""Boxes for files that hold none: NAME.boxes.json beside the case NAME.

    {"boxes": [[x_min, y_min, x_max, y_max], ...]}                   an image, px
    {"boxes": [[x_min, y_min, z_min, x_max, y_max, z_max], ...]}     a volume, voxel

Bounds are inclusive, from 0, along the axes of the array as the file stores it: what a viewer that shows voxel indices shows.
"""

import json
from pathlib import Path

import numpy as np

from inference.case import MAX_BYTES, CaseError, check_overlap, checked_boxes, printable


def read_boxes(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """int32 (N, 2 * rank), bounds inclusive, x first, as `Case.boxes`; None where there is no such file.

    shape: of the stored array, (ny, nx) or (nz, ny, nx). Raises CaseError, whose text begins with the file's name.
    """
    try:
        if not path.exists():
            return None
        boxes = checked_boxes(_numbers(path), len(shape))
        check_overlap(boxes, shape)
    except CaseError as error:
        raise CaseError(f"{printable(path.name)}: {error}") from error.__cause__
    return boxes


def _numbers(path: Path) -> np.ndarray:
    size = path.stat().st_size if path.is_file() else None  # a pipe would never end
    if size is None or size > MAX_BYTES["boxes"]:
        raise CaseError(f"must be a file of at most {MAX_BYTES['boxes']:,} bytes; "
                        f"got {'no file' if size is None else f'{size:,}'}")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise CaseError(f"must be a file that can be read; got {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CaseError(f"must be JSON; got {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or list(content) != ["boxes"]:
        got = ", ".join(map(repr, list(content)[:8])) or "nothing" if isinstance(content, dict) else type(content).__name__
        raise CaseError(f'must be {{"boxes": [...]}} and no other key; got {printable(got)}')
    rows = content["boxes"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise CaseError("boxes must be a list of boxes, each a list of numbers")
    for index, row in enumerate(rows):
        if len(row) != len(rows[0]) or not all(type(number) in (int, float) for number in row):
            raise CaseError(f"boxes[{index}] must be {len(rows[0])} numbers as boxes[0]; got {printable(str(row)[:80])}")
    try:
        return np.array(rows, np.float64)
    except OverflowError as error:
        raise CaseError("boxes must hold numbers that a float can hold") from error
