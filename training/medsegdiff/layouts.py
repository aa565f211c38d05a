"""Folders of labelled images as data sets are handed out, read as `training.data` reads the project's own.

npz        DIR[/train_npz]/<Modality>/<dataset>/*.npz with imgs and gts
refuge2    DIR/Disc_Cup_Fovea_Illustration/NAME.jpg, DIR/Disc_Cup_Masks/NAME.png; object: grey values above 127 of the mask
ddti       DIR/images/NAME.PNG, DIR/masks/NAME.PNG; the same
brats2021  DIR/NAME/NAME_{t1,t1ce,t2,flair,seg}.nii.gz: the middle axial slice, four channels in this order, each from its
           least to its greatest value to 0..255; object: seg above 0
"""

import collections
import dataclasses
import functools
import pathlib
import sys
import zlib
from collections.abc import Callable

import cv2
import numpy as np
from tqdm import tqdm

from training.data import HELD_OUT_ONE_IN, Dataset, Item, read_item

CHANNELS = ("t1", "t1ce", "t2", "flair")
MASK_SUFFIXES = (".png", ".PNG", ".jpg", ".JPG", ".bmp")
LAYOUTS = {
    "npz": "<Modality>/<dataset>/*.npz",
    "refuge2": "Disc_Cup_Fovea_Illustration/*.jpg and Disc_Cup_Masks/*.png",
    "brats2021": "NAME/NAME_{t1,t1ce,t2,flair,seg}.nii.gz",
    "ddti": "images/*.PNG and masks/*.PNG",
}
"""What a folder holds."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A case that is not read yet. read() -> Item; it raises ValueError or OSError."""

    modality: str
    dataset: str
    name: str
    read: Callable[[], Item]


def find(layout: str, folder: pathlib.Path, datasets: tuple[str, ...] = ()) -> list[Source]:
    """The cases of a folder, in order of their names. layout: one of LAYOUTS. datasets: of npz the dataset folders to take;
    none: all. Raises ValueError where there is no case, or no such dataset."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")
    if datasets and layout != "npz":
        raise ValueError(f"datasets must be empty for layout {layout}, which is one dataset; got {', '.join(datasets)}")
    found = _FINDERS[layout](pathlib.Path(folder))
    if not found:
        raise ValueError(f"{folder}: no case of layout {layout} in it, {LAYOUTS[layout]}")
    known = {source.dataset for source in found}
    if missing := [name for name in datasets if name not in known]:
        raise ValueError(f"{folder}: has no dataset {missing[0]}; it has {', '.join(sorted(known))}")
    return [source for source in found if not datasets or source.dataset in datasets]


def read(sources: list[Source], labels: tuple[int, ...] = (), most_px: int = 512) -> list[Dataset]:
    """The cases by dataset, some held out as `training.data` does it; label 1 is the object, everything labelled or what has
    one of `labels`, and cases without it are left out: they teach little, and upset early training. Images whose longer side
    exceeds most_px are reduced to that. Raises ValueError."""
    parts: dict[tuple[str, str], tuple[list[Item], list[Item]]] = {}
    counts = collections.Counter((source.modality, source.dataset) for source in sources)
    for source in tqdm(sources, "reading", unit="case", disable=not sys.stderr.isatty()):
        item = source.read()
        gts = np.isin(item.gts, labels) if labels else item.gts > 0
        if gts.any():
            key = source.modality, source.dataset
            train, held_out = parts.setdefault(key, ([], []))
            held = is_held_out(source.name, counts[key])
            (held_out if held else train).append(reduced(item.name, item.image, gts, most_px))
    datasets = [Dataset(*key, train, held_out) for key, (train, held_out) in parts.items() if train]
    if not datasets:
        raise ValueError(f"none of {len(sources)} cases has {f'a label of {list(labels)}' if labels else 'a label'}")
    return datasets


def is_held_out(name: str, cases: int) -> bool:
    """Whether a case of a dataset of so many is held out: the rule of `training.data`."""
    return cases >= HELD_OUT_ONE_IN / 2 and zlib.crc32(name.encode()) % HELD_OUT_ONE_IN == 0


def reduced(name: str, image: np.ndarray, mask: np.ndarray, most_px: int) -> Item:
    """An Item with label 1 where the boolean mask is; an image with its longer side at most most_px, by mean grey values and
    nearest labels, a volume as it is."""
    gts = mask.astype(np.uint8)
    if mask.ndim == 2 and max(mask.shape) > most_px:
        scale = most_px / max(mask.shape)
        size = tuple(max(1, round(side * scale)) for side in mask.shape[::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        gts = cv2.resize(gts, size, interpolation=cv2.INTER_NEAREST)
    return Item(name, image, gts, np.array([1]))


def _find_npz(folder):
    root = folder / "train_npz" if (folder / "train_npz").is_dir() else folder
    return [Source(path.parts[-3], path.parts[-2], path.stem, functools.partial(read_item, path))
            for path in sorted(root.glob("*/*/*.npz"))]


def _find_refuge2(folder):
    return _find_pictures("Fundus", "refuge2", folder / "Disc_Cup_Fovea_Illustration", folder / "Disc_Cup_Masks")


def _find_ddti(folder):
    return _find_pictures("US", "ddti", folder / "images", folder / "masks")


def _find_pictures(modality, dataset, images, masks):
    return [Source(modality, dataset, path.stem, functools.partial(_read_picture, path, masks))
            for path in sorted(images.glob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp")]


def _read_picture(path, masks):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    beside = [masks / f"{path.stem}{suffix}" for suffix in MASK_SUFFIXES]
    mask_path = next((mask for mask in beside if mask.is_file()), None)
    if mask_path is None:
        raise ValueError(f"{path}: must have a mask {beside[0]} (or .jpg, .bmp); there is none")
    mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
    if image is None or mask is None:
        raise ValueError(f"{path if image is None else mask_path}: must be a picture that OpenCV reads")
    if image.shape[:2] != mask.shape:
        raise ValueError(f"{mask_path}: must have the size of its image {image.shape[:2]}; got {mask.shape}")
    return _item(path.stem, np.ascontiguousarray(image[..., ::-1]), mask > 127)


def _find_brats2021(folder):
    return [Source("MR", "brats2021", path.name, functools.partial(_read_brats, path))
            for path in sorted(folder.glob("*")) if (path / f"{path.name}_seg.nii.gz").is_file()]


def _read_brats(folder):
    planes = [middle_slice(folder / f"{folder.name}_{part}.nii.gz") for part in (*CHANNELS, "seg")]
    if len({plane.shape for plane in planes}) > 1:
        raise ValueError(f"{folder}: its volumes must be of one shape; got {', '.join(str(p.shape) for p in planes)}")
    return _item(folder.name, np.stack([stretched(plane) for plane in planes[:-1]], axis=-1), planes[-1] > 0)


def middle_slice(path: pathlib.Path) -> np.ndarray:
    """Float (H, W): slice D // 2 of a NIfTI volume, stored x, y, z; rows are y. Raises ValueError."""
    import nibabel  # takes a while to import

    try:
        volume = nibabel.load(path)
        return np.asarray(volume.dataobj[:, :, volume.shape[2] // 2], dtype=np.float32).T
    except (OSError, EOFError, IndexError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise ValueError(f"{path}: must be a NIfTI volume; {error}") from None


def stretched(plane: np.ndarray) -> np.ndarray:
    """uint8: least and greatest value to 0 and 255; zeros where they are equal."""
    low, high = plane.min(), plane.max()
    return np.rint((plane - low) / (high - low) * 255).astype(np.uint8) if high > low else np.zeros(plane.shape, np.uint8)


def _item(name, image, mask):
    gts = mask.astype(np.uint8)
    return Item(name, image, gts, np.array([1] if mask.any() else [], int))


_FINDERS = {"npz": _find_npz, "refuge2": _find_refuge2, "brats2021": _find_brats2021, "ddti": _find_ddti}
