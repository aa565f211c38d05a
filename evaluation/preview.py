"""python -m evaluation.preview IMGS SEGS -o DIR: look at predictions, with their boxes and, if known, the truth."""
import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from evaluation.drawing import draw, save
from evaluation.folder import PREDICTION, CaseResult, Folders, in_processes
from evaluation.labels import LabelError, read_segs, read_truth
from evaluation.origins import Origin
from evaluation.scoring import score_case
from inference.case import Case, CaseError, printable, read_case


@dataclass(frozen=True)
class Picture:
    """One picture to draw: the files it is made of and the PNG that it becomes."""

    imgs: Path
    segs: Path
    gts: Path | None
    png: Path


def preview_folder(folders: Folders, results: list[CaseResult], origins: dict[str, Origin], out: Path,
                   most: int | None, workers: int) -> Iterator[str]:
    """Draw scored cases into `out`, `most` of every dataset (None: all); yields a line for each that failed."""
    files = [f"{result.name}.npz" for result in chosen(results, origins, most)]
    yield from draw_all([Picture(folders.imgs / file, folders.segs / file, folders.gts / file,
                                 out / f"{file.removesuffix('.npz')}.png") for file in files], workers)


def chosen(results: list[CaseResult], origins: dict[str, Origin], most: int | None) -> list[CaseResult]:
    """At most `most` scored cases of every dataset, at even ranks of the strict DSC from the worst to the best."""
    groups = defaultdict(list)
    for result in results:
        if result.scores:
            groups[origins[result.name]].append(result)
    picked = []
    for group in groups.values():
        group.sort(key=lambda result: np.nan_to_num(result.scores[PREDICTION].dsc_strict))
        ranks = np.linspace(0, len(group) - 1, min(most or len(group), len(group)))
        picked += [group[rank] for rank in ranks.round().astype(int)]
    return picked


def draw_all(pictures: list[Picture], workers: int) -> Iterator[str]:
    """Draw pictures in `workers` processes; yields a line for each that cannot be drawn."""
    drawn = in_processes(draw_file, pictures, workers)
    for problem in tqdm(drawn, "drawing", len(pictures), unit="picture", disable=None):
        if problem:
            yield problem


def draw_file(picture: Picture) -> str | None:
    """Draw one picture; what was wrong, in a line, or None. With a truth, a missing prediction is drawn as such."""
    try:
        case = read_case(picture.imgs)
        gts, spacing_xyz_mm = read_truth(picture.gts) if picture.gts else (None, None)
        check_fits(case, gts, "gts")
        segs, missing = None, ""
        try:
            segs = read_segs(picture.segs)
            check_fits(case, segs, "segs")
        except LabelError:
            if gts is None:
                raise
            segs, missing = None, "no usable prediction"
        save(draw(case, segs, gts, missing or caption(case, segs, gts, spacing_xyz_mm)), picture.png)
    except (CaseError, LabelError) as error:
        return f"{error}: not drawn"
    except OSError as error:
        return f"{printable(picture.png.name)}: cannot be written; {error.strerror or error}"
    return None


def check_fits(case: Case, labels: np.ndarray | None, field: str) -> None:
    """Raise LabelError unless `labels` (None: nothing to check) has the shape of the case's image."""
    shape = case.image.shape[: case.ndim]
    if labels is not None and labels.shape != shape:
        raise LabelError(f"{printable(case.name)}.npz: {field} must have the shape of imgs {shape}; got {labels.shape}")


def caption(case: Case, segs: np.ndarray, gts: np.ndarray | None, spacing_xyz_mm) -> str:
    """Scores, where there is a truth, and the number of boxes."""
    count = f"{len(case.boxes)} {'box' if len(case.boxes) == 1 else 'boxes'}"
    if gts is None:
        return count
    score = score_case(gts, segs, spacing_xyz_mm)
    return f"DSC {score.dsc:.3f}  ·  NSD {score.nsd:.3f}  ·  {count}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 all drawn, 1 some case failed, 2 bad arguments."""
    parser = argparse.ArgumentParser("python -m evaluation.preview", description=__doc__)
    parser.add_argument("imgs", type=Path, metavar="IMGS", help="folder of images with boxes, as given to inference")
    parser.add_argument("segs", type=Path, metavar="SEGS", help="folder of predictions")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the pictures (PNG)")
    parser.add_argument("--truth", type=Path, metavar="GTS", help="folder of truths to draw beside the predictions")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N",
                        help="processes (default: all cores)")
    arguments = parser.parse_args(argv)
    for folder in filter(None, (arguments.imgs, arguments.segs, arguments.truth)):
        if not folder.is_dir():
            print(f"preview: must be a folder: {folder}", file=sys.stderr)
            return 2
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"preview: {error}", file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    files = sorted(path.name for path in arguments.imgs.glob("*.npz"))
    truth = arguments.truth
    problems = list(draw_all([Picture(arguments.imgs / file, arguments.segs / file, truth and truth / file,
                                      arguments.out / f"{file.removesuffix('.npz')}.png") for file in files],
                             max(arguments.workers, 1)))
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{len(files) - len(problems)} of {len(files)} pictures drawn in {arguments.out}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
