"""python -m evaluation.boxes IMGS GTS -o DIR --loose SHARE: the same cases with other boxes, to see how much a model minds."""
import argparse
import sys
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.labels import LabelError, read_truth
from evaluation.preview import check_fits
from inference.case import Case, CaseError, read_case, write_npz
from inference.geometry import mask_box


def redrawn(case: Case, gts: np.ndarray, loose: float, rng: np.random.Generator) -> np.ndarray:
    """Boxes int32 like `case.boxes`, x first, inclusive, px or voxel: of the objects of `gts` (row i: label i + 1), each side
    in plane moved outwards by 0..loose of the object's extent there and kept inside the image. 0 gives the tight boxes;
    the slices of a volume's box are the object's. A label that does not occur keeps its box."""
    boxes = case.boxes.copy()
    axes = case.ndim
    last = np.array(gts.shape[:-3:-1]) - 1
    for index in range(len(boxes)):
        shares = rng.uniform(0, loose, (2, 2))
        box = mask_box(gts == index + 1)
        if box is None:
            continue
        low, high = box[:2], box[axes : axes + 2]
        extent = high - low + 1
        boxes[index] = box
        boxes[index, :2] = np.maximum(np.rint(low - shares[0] * extent), 0)
        boxes[index, axes : axes + 2] = np.minimum(np.rint(high + shares[1] * extent), last)
    return boxes


def redraw_file(imgs: Path, gts: Path, out: Path, loose: float):
    """The case of `imgs` with the boxes of `redrawn` as `out`. Raises CaseError, LabelError."""
    case = read_case(imgs)
    labels, _ = read_truth(gts)
    check_fits(case, labels, "gts")
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    arrays = {"imgs": case.image, "boxes": redrawn(case, labels, loose, rng)}
    if case.spacing_xyz_mm is not None:
        arrays["spacing"] = np.array(case.spacing_xyz_mm)
    write_npz(out, arrays)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 all written, 1 some case failed, 2 bad arguments."""
    parser = argparse.ArgumentParser("python -m evaluation.boxes", description=__doc__)
    parser.add_argument("imgs", type=Path, metavar="IMGS", help="folder of images with boxes, as given to inference")
    parser.add_argument("gts", type=Path, metavar="GTS", help="folder of truths")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the cases with other boxes")
    parser.add_argument("--loose", type=float, required=True, metavar="SHARE",
                        help="most that a side lies outside of the object, in shares of its extent; 0: tight boxes")
    arguments = parser.parse_args(argv)
    for folder in (arguments.imgs, arguments.gts):
        if not folder.is_dir():
            print(f"boxes: must be a folder: {folder}", file=sys.stderr)
            return 2
    if not 0 <= arguments.loose <= 1:
        print(f"boxes: --loose must be a share, 0..1; got {arguments.loose}", file=sys.stderr)
        return 2
    if arguments.out.resolve() in (arguments.imgs.resolve(), arguments.gts.resolve()):
        print(f"boxes: --out must be another folder than IMGS and GTS; got {arguments.out}", file=sys.stderr)
        return 2
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"boxes: {error}", file=sys.stderr)
        return 2
    files = sorted(path.name for path in arguments.imgs.glob("*.npz"))
    failed = 0
    for file in tqdm(files, "boxes", unit="case", disable=None):
        try:
            redraw_file(arguments.imgs / file, arguments.gts / file, arguments.out / file, arguments.loose)
        except (CaseError, LabelError) as error:
            tqdm.write(f"{error}: not written", file=sys.stderr)
            failed += 1
    print(f"{len(files) - failed} of {len(files)} cases written to {arguments.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
