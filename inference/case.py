"""One case: an image and its boxes read from an untrusted npz, its masks written back. `formats` has the other formats.

Layout of the files: the CVPR 2024 "Segment Anything In Medical Images On Laptop" bundle, github.com/bowang-lab/MedSAM,
branch LiteMedSAM. Inputs hold `imgs`, `boxes` and, for volumes, `spacing`; outputs hold `segs`.
"""

import io
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inference.files import write_whole
from inference.zipped import zipfile

# A label image of uint16 tells 65,535 objects apart.
MAX_BOXES = 65_535
# What an array may claim before anything is allocated for it. 2 GiB is a 2000-slice 1024 x 1024 uint8 volume, and
# leaves room for its masks in the 8 GB that the challenge gives a container.
MAX_BYTES = {"imgs": 2 << 30, "boxes": 8 << 20, "spacing": 1 << 10}
# Whole numbers up to here are exact in float32, in which networks are told the size of a box.
MAX_COORDINATE = 1 << 24

_HEADER_BYTES = 1 << 14
_AXES = {4: ("x", "y"), 6: ("x", "y", "z")}
_BOX_LAYOUT = {2: "(N, 4) xyxy px", 3: "(N, 6) xyzxyz voxel"}
_BT601_PER_MILLE = (299, 587, 114)


class CaseError(ValueError):
    """A case that cannot be read or written. The text names the file, the field, the rule and the value."""


class Case(NamedTuple):
    """An image or a volume with one box per object to segment.

    name            file name without `.npz`, `.nii.gz`, ...
    image           uint8, 0..255: (H, W) grey, (H, W, 3) RGB, or (D, H, W) a volume
    boxes           int32, bounds inclusive, min <= max on every axis, at least one box. (N, 4) is x_min, y_min,
                    x_max, y_max in px; (N, 6) is x_min, y_min, z_min, x_max, y_max, z_max in voxels. A box overlaps
                    the image but may stick out of it. Box i is label i + 1 of the masks. None: nobody has drawn any, the
                    model has to find its objects itself.
    spacing_xyz_mm  size of a voxel along x, y and z in mm, where the file says so; None for a 2-D image
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray | None
    spacing_xyz_mm: tuple[float, float, float] | None = None

    @property
    def ndim(self) -> int:
        """2 for an image, 3 for a volume."""
        if self.boxes is not None:
            return self.boxes.shape[1] // 2
        return 2 if self.image.ndim == 2 or self.image.shape[2] == 3 else 3


def read_case(path: str | os.PathLike, needs_boxes: bool = True) -> Case:
    """Read a case from an npz file that nobody vouches for; nothing in it is ever unpickled.

    A file name that begins with 2D or 3D says which it is; otherwise the columns of `boxes` do, without boxes the shape of
    `imgs`: (H, W), (H, W, 1), (H, W, 3) and (H, W, 4) are 2-D. needs_boxes: whether there must be boxes.
    imgs     2-D: (H, W), (H, W, 1), (H, W, 3), or (H, W, 4) whose alpha is dropped; 3-D: (D, H, W), (D, H, W, 1), or
             (D, H, W, 3) which becomes grey. Any integer or float type with values 0..255; floats are rounded.
    boxes    (N, 4) or (N, 6) of any integer or float type; fractions are rounded outwards. Each box must overlap the
             image.
    spacing  3-D only, optional: three positive numbers, x, y, z in mm.

    Raises CaseError on anything else.
    """
    path = Path(path)
    try:
        with _open_npz(path) as archive:
            ndim, boxes = _ndim_of_name(path.name), None
            if needs_boxes or "boxes.npy" in archive.namelist():
                boxes = checked_boxes(_read_array(archive, "boxes"), ndim)
                ndim = boxes.shape[1] // 2
            image = _read_array(archive, "imgs")
            ndim = ndim or _ndim_of_shape(image.shape)
            image = _checked_image(image, ndim)
            spacing_xyz_mm = None
            if ndim == 3 and "spacing.npy" in archive.namelist():
                spacing_xyz_mm = _checked_spacing(_read_array(archive, "spacing"))
        if boxes is not None:
            check_overlap(boxes, image.shape[:ndim])
        case = Case(path.name.removesuffix(".npz"), image, boxes, spacing_xyz_mm)
        check_ndim(case, ndim)
    except CaseError as error:
        raise CaseError(f"{printable(path.name)}: {error}") from error.__cause__
    return case


def write_segs(path: str | os.PathLike, segs: np.ndarray) -> None:
    """Write masks as a compressed npz with the one key `segs`, whole or not at all.

    segs  (H, W) or (D, H, W), integers 0..65535: 0 is background, i + 1 is box i. Stored as uint8 where no label
          exceeds 255, else as uint16.

    Raises CaseError when the file cannot be written (no such folder, no space left, ...).
    """
    path = Path(path)
    write_npz(path, {"segs": checked_segs(path, segs)})


def checked_segs(path: Path, segs: np.ndarray) -> np.ndarray:
    """`segs` as uint8, or as uint16 where a label exceeds 255. Raises CaseError, which names `path`, on what are no labels
    0..65535."""
    highest = int(segs.max(initial=0))
    if segs.dtype.kind not in "ui" or highest > MAX_BOXES or segs.min(initial=0) < 0:
        raise CaseError(f"{printable(path.name)}: segs must be integers 0..{MAX_BOXES}; got {segs.dtype} "
                        f"{segs.min(initial=0)}..{highest}")
    return segs.astype(np.uint8 if highest <= 255 else np.uint16, copy=False)


def write_npz(path: str | os.PathLike, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as a compressed npz, whole or not at all: aside in the same folder, fsync, rename.

    The same arrays give the same bytes. Raises CaseError when the file cannot be written.
    """
    write_bytes(Path(path), _packed(arrays))


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all. Raises CaseError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise CaseError(f"{printable(path.name)}: cannot be written to {printable(str(path.parent))}; got "
                        f"{error.strerror or error}") from error


def printable(name: str) -> str:
    """A file name for a one-line message: as it is, or escaped where it holds line breaks or unprintable bytes."""
    return name if name.isprintable() else ascii(name)


def _packed(arrays: dict[str, np.ndarray]) -> memoryview:
    packed = io.BytesIO()
    # Masks are smooth: level 1 makes a file that is small too, in half the time of the usual 6.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)
    return packed.getbuffer()


def _open_npz(path: Path) -> zipfile.ZipFile:
    if path.exists() and not path.is_file():
        raise CaseError("must be a file; got something else of that name")
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise CaseError(f"must be a file that can be read; got {error.strerror or error}") from error
    except Exception as error:  # zipfile raises many kinds on broken bytes
        raise CaseError(f"must be an npz, a zip archive of arrays; got {path.stat().st_size:,} bytes that are none, or "
                        "not the whole of one") from error


def _read_array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """Array `key` of an npz, a new writable array. What its header claims is checked before memory is taken."""
    name = f"{key}.npy"
    try:
        member_bytes = archive.getinfo(name).file_size
    except KeyError as error:
        keys = ", ".join(printable(other.removesuffix(".npy")) for other in archive.namelist()[:8]) or "none"
        raise CaseError(f"must hold an array {key}; got {keys}") from error
    try:
        with archive.open(name) as stream:
            _check_header(key, stream.read(_HEADER_BYTES), member_bytes)
        with archive.open(name) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except CaseError:
        raise
    except Exception as error:  # so do its decompressors, and numpy
        raise CaseError(f"{key} must be a whole npy array; got {type(error).__name__}: "
                        f"{' '.join(str(error).split())}") from error


def _check_header(key: str, head: bytes, member_bytes: int) -> None:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise CaseError(f"{key} must be npy format 1.0 or 2.0; got {version[0]}.{version[1]}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise CaseError(f"{key} must be numbers; got pickled Python objects, which are never unpickled")
    if dtype.kind not in "uif":
        raise CaseError(f"{key} must be integers or floats; got dtype {dtype}")
    if any(length < 0 for length in shape):
        raise CaseError(f"{key} must have a shape without negative lengths; got {shape}")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > MAX_BYTES[key]:
        raise CaseError(f"{key} must take at most {MAX_BYTES[key]:,} bytes; got {shape} of {dtype}, {claimed:,} bytes")
    held = member_bytes - stream.tell()
    if claimed != held:
        raise CaseError(f"{key} must hold as many bytes as its shape says, {claimed:,} for {shape} of {dtype}; "
                        f"got {held:,}")


def _ndim_of_name(name: str) -> int | None:
    return {"2D": 2, "3D": 3}.get(name[:2].upper())


def _ndim_of_shape(shape: tuple[int, ...]) -> int:
    return 2 if len(shape) == 2 or len(shape) == 3 and shape[2] in (1, 3, 4) else 3


def check_ndim(case: Case, ndim: int) -> None:
    """Raise CaseError where the case would be taken for another number of axes than the `ndim` that it has."""
    if case.ndim != ndim:
        raise CaseError(f"a volume without boxes must not be 3 wide, which would be RGB; got {case.image.shape}")


def checked_boxes(boxes: np.ndarray, ndim: int | None) -> np.ndarray:
    """Boxes (N, 4) or (N, 6) of any numbers as int32, rounded outwards. ndim: 2 or 3 where it is known, then they must be
    of its columns. Raises CaseError."""
    layout = _BOX_LAYOUT[ndim] if ndim else " or ".join(_BOX_LAYOUT.values())
    columns = (2 * ndim,) if ndim else (4, 6)
    if boxes.ndim > 0 and len(boxes) == 0:
        raise CaseError(f"boxes must hold at least one box, {layout}; got {boxes.shape}")
    if boxes.ndim != 2 or boxes.shape[1] not in columns:
        raise CaseError(f"boxes must be {layout}; got {boxes.shape}")
    if len(boxes) > MAX_BOXES:
        raise CaseError(f"boxes must hold at most {MAX_BOXES} boxes; got {len(boxes)}")
    boxes = boxes.astype(np.float64)
    # Not `> MAX_COORDINATE`, for NaN compares false with everything.
    for index, column in np.argwhere(~(np.abs(boxes) <= MAX_COORDINATE))[:1]:
        raise CaseError(f"boxes[{index}] must lie within -{MAX_COORDINATE}..{MAX_COORDINATE}; "
                        f"got {_column_names(boxes)[column]} {boxes[index, column]:g}")
    axes = boxes.shape[1] // 2
    boxes = np.concatenate([np.floor(boxes[:, :axes]), np.ceil(boxes[:, axes:])], axis=1).astype(np.int32)
    for index, axis in np.argwhere(boxes[:, :axes] > boxes[:, axes:])[:1]:
        low, high = _column_names(boxes)[axis::axes]
        raise CaseError(f"boxes[{index}] must have {low} <= {high}; "
                        f"got {low} {boxes[index, axis]}, {high} {boxes[index, axis + axes]}")
    return boxes


def check_overlap(boxes: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise CaseError where one of the boxes (N, 2 * rank), x first, lies outside an image of `shape` (rank,), z or y
    first."""
    axes = len(shape)
    length_per_axis = np.array(shape[::-1])  # boxes are x, y, z where arrays are z, y, x
    outside = (boxes[:, axes:] < 0) | (boxes[:, :axes] >= length_per_axis)
    for index, axis in np.argwhere(outside)[:1]:
        low, high = _column_names(boxes)[axis::axes]
        raise CaseError(f"boxes[{index}] must overlap the image, {low[0]} 0..{length_per_axis[axis] - 1}; "
                        f"got {low} {boxes[index, axis]}, {high} {boxes[index, axis + axes]}")


def _column_names(boxes: np.ndarray) -> list[str]:
    return [f"{axis}_{end}" for end in ("min", "max") for axis in _AXES[boxes.shape[1]]]


def _checked_image(image: np.ndarray, ndim: int) -> np.ndarray:
    channels = image.shape[ndim] if image.ndim == ndim + 1 else None
    known = {2: {None: "(H, W)", 1: "(H, W, 1)", 3: "(H, W, 3)", 4: "(H, W, 4)"},
             3: {None: "(D, H, W)", 1: "(D, H, W, 1)", 3: "(D, H, W, 3)"}}[ndim]
    if image.ndim not in (ndim, ndim + 1) or channels not in known:
        raise CaseError(f"imgs must be {' or '.join(known.values())}; got {image.shape}")
    if image.size == 0:
        raise CaseError(f"imgs must not be empty; got {image.shape}")
    image = np.ascontiguousarray(_as_uint8(image))
    if channels == 1:
        return image[..., 0]
    if channels == 4:
        return np.ascontiguousarray(image[..., :3])
    return _grey(image) if ndim == 3 and channels == 3 else image


def _as_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    low, high = image.min(), image.max()  # NaN, where there is one
    if not (low >= 0 and high <= 255):
        raise CaseError(f"imgs must hold values 0..255; got {low if not low >= 0 else high}")
    if image.dtype.kind == "f":
        if high <= 1 and ((image > 0) & (image < 1)).any():
            raise CaseError(f"imgs must hold values 0..255; got fractions 0..1, {low:g}..{high:g}: scale them by "
                            "255")
        np.rint(image, out=image)
    return image.astype(np.uint8)


def _grey(volume: np.ndarray) -> np.ndarray:
    """RGB volume (D, H, W, 3) to luma (D, H, W), uint8: ITU-R BT.601, section 2.5.1. Equal channels stay the same."""
    weights = np.array(_BT601_PER_MILLE, np.uint32)
    grey = np.empty(volume.shape[:3], np.uint8)
    for z, slice_rgb in enumerate(volume):  # by slices, for the products take four times the bytes
        grey[z] = (slice_rgb @ weights + 500) // 1000
    return grey


def _checked_spacing(spacing: np.ndarray) -> tuple[float, float, float]:
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise CaseError("spacing must be 3 positive numbers, x, y, z in mm; got "
                        + (f"{spacing.tolist()}" if spacing.shape == (3,) else f"{spacing.shape}"))
    x_mm, y_mm, z_mm = spacing.tolist()
    return x_mm, y_mm, z_mm
