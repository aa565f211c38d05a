"""Pictures: PNG and JPEG, grey or colour. Labels become a grey PNG whose pixel values are the labels."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from inference.case import Case, CaseError, checked_segs, write_bytes
from inference.formats.intensity import to_grey
from inference.formats.sidecar import read_boxes

_GREY = ("1", "L", "LA")
_DEEP = ("I;16", "I;16B", "I", "F")


def read_picture(path: Path, name: str, sidecar: Path, window: tuple[float, float] | None) -> tuple[Case, Callable]:
    """See `formats.read`. Pixels are those that viewers show: turned as the file's EXIF tag says. Transparency is dropped,
    a palette resolved, more than 8 bits of grey go through `intensity.to_grey`."""
    pixels = _pixels(path)
    image = pixels if pixels.dtype == np.uint8 else to_grey(pixels, window)
    return Case(name, image, read_boxes(sidecar, image.shape[:2])), write_labels


def write_labels(path: Path, segs: np.ndarray) -> None:
    """Labels (H, W), 0..65535, as a grey PNG of 8 bits, or of 16 where a label exceeds 255. Raises CaseError."""
    packed = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(checked_segs(path, segs))).save(packed, "PNG")
    write_bytes(path, packed.getbuffer())


def _pixels(path: Path) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3); (H, W) of another type where grey has more than 8 bits."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow refuses more than 179 million pixels by the header, before it takes memory for them.
            with Image.open(path, formats=("PNG", "JPEG")) as opened:
                picture = ImageOps.exif_transpose(opened)
                if picture.mode not in _DEEP:
                    picture = picture.convert("L" if picture.mode in _GREY else "RGB")
                return np.array(picture)
    except Exception as error:  # Pillow raises many kinds on broken bytes
        raise CaseError(f"must be a whole PNG or JPEG; got {type(error).__name__}: "
                        f"{' '.join(str(error).split())[:160]}") from error
