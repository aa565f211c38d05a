"""A DICOM series: a folder whose files hold a slice each. One slice is an image; labels become NIfTI with the series' affine.

Standard: DICOM PS3.3, C.7.6.2.1.1 (where a pixel lies), C.11.1 (rescaling); PS3.10, 7.1 (files).
"""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from inference.case import MAX_BYTES, Case, CaseError, printable
from inference.formats import dicom_files, nifti
from inference.formats.sidecar import read_boxes
from inference.formats.volume import to_case

_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_KEYWORDS = (*_GEOMETRY, "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SeriesInstanceUID", "Modality",
             "Rows", "Columns", "NumberOfFrames", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
             "ModalityLUTSequence")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_GREY = ("MONOCHROME1", "MONOCHROME2")
# How far a slice may lie from where the affine says, in steps from slice to slice. One that is missing is off by half a step.
_TOLERANCE = 0.2
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_series(folder: Path, name: str, sidecar: Path, window: tuple[float, float] | None) -> tuple[Case, Callable]:
    """See `formats.read`. Axes i, j, k of the series are its columns, its rows, and its slices in the direction of the
    normal (of axial slices: from the feet to the head). MONOCHROME1 is inverted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that do not keep to the standard; those that matter are checked
        slices = _slices(folder)
        slices, affine, spacing_mm = _placed(slices)
        first = slices[0][1]
        values = _values(slices)
    header = nifti.grid_header((first.Columns, first.Rows, len(slices)), affine, spacing_mm)
    if values.ndim == 4:
        case, to_stored = Case(name, values[0], read_boxes(sidecar, values.shape[1:3])), lambda segs: segs.T[..., None]
    else:
        case, to_stored = to_case(name, values.T, affine, spacing_mm, sidecar, window, first.get("Modality") == "CT")
    return case, lambda target, segs: nifti.write_labels(target, to_stored(segs), header)


def _slices(folder: Path) -> list[tuple[Path, pydicom.Dataset]]:
    """Files and headers of the one series in the folder, which fit together; no pixel is read."""
    slices = [(path, _dataset(path)) for path in sorted(dicom_files(folder))]
    if not slices:
        raise CaseError("must be a folder of DICOM files; got none")
    series = Counter(str(dataset.get("SeriesInstanceUID", "none")) for _, dataset in slices)
    if len(series) > 1:
        found = ", ".join(f"{printable(uid)} ({count} files)" for uid, count in series.most_common(4))
        raise CaseError(f"must hold one series, of one SeriesInstanceUID; got {len(series)}: {found}")
    for path, dataset in slices:
        if dataset.get("NumberOfFrames") not in (None, 1):
            raise CaseError(f"{printable(path.name)}: must hold one slice; got {dataset.NumberOfFrames} frames")
        kind = dataset.get("PhotometricInterpretation")
        if kind not in (_GREY if len(slices) > 1 else _GREY + _COLOUR):
            raise CaseError(f"{printable(path.name)}: PhotometricInterpretation must be {' or '.join(_GREY)}, or RGB in a "
                            f"single file; got {kind}")
        for keyword in ("Rows", "Columns", "PhotometricInterpretation"):
            if not dataset.get(keyword) or dataset[keyword].value != slices[0][1][keyword].value:
                raise CaseError(f"{printable(path.name)}: must have {keyword} as {printable(slices[0][0].name)} has; got "
                                f"{dataset.get(keyword)}")
    rows, columns = (int(_numbers(*slices[0], keyword, 1)[0]) for keyword in ("Rows", "Columns"))
    claimed = 4 * rows * columns * len(slices)
    if claimed > MAX_BYTES["imgs"]:
        raise CaseError(f"voxels must take at most {MAX_BYTES['imgs']:,} bytes as float32; got {len(slices)} x {rows} x "
                        f"{columns}, {claimed:,} bytes")
    return slices


def _dataset(path: Path) -> pydicom.Dataset:
    try:
        # Its header would be unpacked whole, whatever it unpacks to.
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise CaseError(f"{printable(path.name)}: must not be deflated")
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        for keyword in _KEYWORDS:  # pydicom reads a value when it is asked for
            dataset.get(keyword)
        return dataset
    except CaseError:
        raise
    except Exception as error:  # pydicom raises many kinds on broken bytes
        raise CaseError(f"{printable(path.name)}: must be a DICOM file; got {_line(error)}") from error


def _placed(slices: list) -> tuple[list, np.ndarray | None, tuple[float, float, float]]:
    """(slices in their order, affine (4, 4) of i, j, k to mm in nibabel's world, spacing along i, j, k in mm).

    A single slice that does not say where it lies has no affine."""
    if len(slices) == 1 and not all(keyword in slices[0][1] for keyword in _GEOMETRY):
        for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
            if slices[0][1].get(keyword):
                j_mm, i_mm = _numbers(*slices[0], keyword, 2)
                return slices, None, (i_mm, j_mm, 1.0)
        return slices, None, (1.0, 1.0, 1.0)
    origins_mm, orientation, pixel_mm = (np.array([_numbers(*one, keyword, count) for one in slices])
                                         for keyword, count in zip(_GEOMETRY, (3, 6, 2)))
    for numbers, keyword in ((orientation, "ImageOrientationPatient"), (pixel_mm, "PixelSpacing")):
        for index in np.flatnonzero((np.abs(numbers - numbers[0]) > 1e-3).any(axis=1))[:1]:
            raise CaseError(f"{printable(slices[index][0].name)}: must have {keyword} as {printable(slices[0][0].name)} has, "
                            f"{numbers[0].tolist()}; got {numbers[index].tolist()}")
    along_i, along_j = orientation[0].reshape(2, 3)
    if not np.allclose([along_i @ along_i, along_j @ along_j, along_i @ along_j], [1, 1, 0], atol=1e-2):
        raise CaseError("ImageOrientationPatient must be two directions at right angles, of length 1; got "
                        f"{orientation[0].tolist()}")
    j_mm, i_mm = pixel_mm[0]
    if not min(i_mm, j_mm) > 0:
        raise CaseError(f"PixelSpacing must be two sizes above 0; got {pixel_mm[0].tolist()}")
    normal = np.cross(along_i, along_j)
    order = np.argsort(origins_mm @ normal, kind="stable")
    slices, origins_mm = [slices[index] for index in order], origins_mm[order]
    step_mm = _step_mm(slices, origins_mm, normal) if len(slices) > 1 else normal * _thickness_mm(*slices[0])
    affine = np.eye(4)
    affine[:3] = np.stack([along_i * i_mm, along_j * j_mm, step_mm, origins_mm[0]], axis=1)
    return slices, _LPS_TO_RAS @ affine, (float(i_mm), float(j_mm), float(np.linalg.norm(step_mm)))


def _step_mm(slices: list, origins_mm: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(3,): from a slice to the next, the same for all."""
    gaps_mm = np.diff(origins_mm @ normal)
    names = [printable(path.name) for path, _ in slices]
    closest = int(np.argmin(gaps_mm))
    if gaps_mm[closest] < 1e-3:
        raise CaseError(f"must have one slice at each place; got {names[closest]} and {names[closest + 1]} at the same")
    step_mm = (origins_mm[-1] - origins_mm[0]) / (len(slices) - 1)
    expected_mm = origins_mm[0] + np.arange(len(slices))[:, None] * step_mm
    off_mm = origins_mm - expected_mm
    limit_mm = _TOLERANCE * np.linalg.norm(step_mm)
    if np.abs(off_mm @ normal).max() > limit_mm:
        usual_mm = float(np.median(gaps_mm))
        odd = int(np.argmax(np.abs(gaps_mm - usual_mm)))
        raise CaseError(f"slices must be equally far apart; got {names[odd]} and {names[odd + 1]} {gaps_mm[odd]:g} mm apart, "
                        f"others {usual_mm:g} mm")
    aside_mm = np.linalg.norm(off_mm - np.outer(off_mm @ normal, normal), axis=1)
    if aside_mm.max() > limit_mm:
        raise CaseError(f"slices must lie in a straight row; got {names[int(aside_mm.argmax())]} {aside_mm.max():g} mm aside")
    return step_mm


def _thickness_mm(path: Path, dataset: pydicom.Dataset) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if dataset.get(keyword) and (mm := _numbers(path, dataset, keyword, 1)[0]) > 0:
            return mm
    return 1.0


def _numbers(path: Path, dataset: pydicom.Dataset, keyword: str, count: int) -> list[float]:
    value = dataset.get(keyword)
    try:
        numbers = np.array(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise CaseError(f"{printable(path.name)}: must have {keyword}, {count} numbers; got {value}")
    return numbers.tolist()


def _values(slices: list) -> np.ndarray:
    """float32 (nk, nj, ni), or of a colour image uint8 (1, nj, ni, 3)."""
    first = slices[0][1]
    shape, kind = (int(first.Rows), int(first.Columns)), first.PhotometricInterpretation
    if kind in _COLOUR:
        return _pixels(*slices[0], (*shape, 3), np.uint8)[None]
    values = np.empty((len(slices), *shape), np.float32)
    for plane, (path, dataset) in zip(values, slices):
        plane[...] = apply_modality_lut(_pixels(path, dataset, shape), dataset)
    if not np.isfinite(values).all():
        raise CaseError("must hold finite values once they are rescaled; got some that are not")
    return values.max() + values.min() - values if kind == "MONOCHROME1" else values


def _pixels(path: Path, dataset: pydicom.Dataset, shape: tuple[int, ...], dtype: type | None = None) -> np.ndarray:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    try:
        decodable = syntax is not None and get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    if not decodable:
        raise CaseError(f"{printable(path.name)}: pixels must be coded in a way that can be read here; got "
                        f"{getattr(syntax, 'name', syntax)}: pip install python-gdcm, which knows more")
    try:
        pixels = pixel_array(path)
    except Exception as error:  # so do its decoders
        raise CaseError(f"{printable(path.name)}: must hold whole pixels; got {_line(error)}") from error
    if pixels.shape != shape or dtype and pixels.dtype != dtype:
        raise CaseError(f"{printable(path.name)}: must hold pixels of {shape}; got {pixels.shape} of {pixels.dtype}")
    return pixels


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
