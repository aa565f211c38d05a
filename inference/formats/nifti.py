"""NIfTI: .nii and .nii.gz, versions 1 and 2, one volume or slice a file. Labels keep the image's grid to the bit."""

import gzip
import logging
import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from inference.case import MAX_BYTES, Case, CaseError, checked_segs, write_bytes
from inference.formats.orientation import placed_affine
from inference.formats.volume import to_case

# All that says where voxels lie.
_PLACE = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
          "qoffset_z", "srow_x", "srow_y", "srow_z")
_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}

# Otherwise nibabel tells what it repairs in a header.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


def read_nifti(path: Path, name: str, sidecar: Path, window: tuple[float, float] | None) -> tuple[Case, Callable]:
    """See `formats.read`."""
    opened = _open(path)
    shape = (*opened.shape, 1, 1)[:3]
    affine = placed_affine(opened)
    case, to_stored = to_case(name, _values(opened).reshape(shape), affine, _spacing_mm(opened.header), sidecar, window)

    def write(target: Path, segs: np.ndarray) -> None:
        write_labels(target, to_stored(segs).reshape(opened.shape), opened.header)

    return case, write


def write_labels(path: Path, labels: np.ndarray, header: nib.Nifti1Header) -> None:
    """Labels 0..65535 as .nii.gz with the grid of `header`: shape, affine, codes and units. Nothing else of the header is
    kept, for it may hold names. The same labels give the same bytes. Raises CaseError."""
    labels = checked_segs(path, labels)
    fresh = type(header)(endianness=header.endianness)
    fresh.set_data_shape(labels.shape)
    fresh.set_data_dtype(labels.dtype)
    fresh.set_intent("label")
    for field in _PLACE:
        fresh[field] = header[field]
    image = {nib.Nifti1Header: nib.Nifti1Image, nib.Nifti2Header: nib.Nifti2Image}[type(header)](labels, None, fresh)
    write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))


def grid_header(shape: tuple[int, int, int], affine: np.ndarray | None,
                spacing_mm: tuple[float, float, float]) -> nib.Nifti1Header:
    """A header whose codes say "scanner"; where slices are sheared, as by a tilted gantry, in sform alone, which can say so.
    Without an affine the codes are 0."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_zooms(spacing_mm)
    header.set_xyzt_units("mm")
    if affine is not None:
        directions = affine[:3, :3] / spacing_mm
        upright = np.allclose(directions.T @ directions, np.eye(3), atol=1e-3)
        header.set_sform(affine, "scanner")
        header.set_qform(affine, "scanner" if upright else "unknown")
    return header


def _open(path: Path) -> nib.Nifti1Image:
    """The header, checked; no voxel is read."""
    try:
        opened = nib.load(path, mmap=False)
    except Exception as error:  # nibabel's own, and whatever its decompressor raises
        raise CaseError(f"must be a NIfTI file; got {_line(error)}") from error
    if not isinstance(opened, nib.Nifti1Image):
        raise CaseError(f"must be a NIfTI volume; got {type(opened).__name__}")
    shape = opened.shape
    if not 2 <= len(shape) or 0 in shape or any(length != 1 for length in shape[3:]):
        raise CaseError(f"must be one volume of three axes, or a slice of two; got {shape}")
    dtype = opened.get_data_dtype()
    if dtype.kind not in "uif":
        raise CaseError(f"must hold real numbers; got {opened.header.get_value_label('datatype')}")
    claimed = math.prod(shape) * max(dtype.itemsize, 4 if _is_scaled(opened) else 0)
    if claimed > MAX_BYTES["imgs"]:
        raise CaseError(f"voxels must take at most {MAX_BYTES['imgs']:,} bytes; got {shape} of {dtype}, {claimed:,} bytes")
    return opened


def _is_scaled(opened: nib.Nifti1Image) -> bool:
    return (opened.dataobj.slope, opened.dataobj.inter) != (1, 0)


def _values(opened: nib.Nifti1Image) -> np.ndarray:
    """In the file's own type, float32 where it scales its values, which float32 has bits enough for."""
    try:
        values = opened.dataobj.get_unscaled()
    except Exception as error:  # whatever its decompressor raises
        raise CaseError(f"must be a whole file; got {_line(error)}") from error
    if _is_scaled(opened):
        values = values.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            values *= np.float32(opened.dataobj.slope)
            values += np.float32(opened.dataobj.inter)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise CaseError(f"must hold finite values; got {int((~np.isfinite(values)).sum()):,} that are not")
    return values


def _spacing_mm(header: nib.Nifti1Header) -> tuple[float, ...] | None:
    """Along the axes as stored; None where the header has no sizes."""
    spacing = [float(zoom) * _MM[header.get_xyzt_units()[0]] for zoom in (*header.get_zooms(), 1.0)[:3]]
    return tuple(spacing) if all(math.isfinite(mm) and mm > 0 for mm in spacing) else None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
