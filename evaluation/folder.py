"""Scoring folders: every truth with the prediction of the same name and, if asked for, with what the baselines make."""
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from evaluation.baselines import BASELINES
from evaluation.labels import LabelError, read_segs, read_truth
from evaluation.scoring import Score, score_case, worst_score
from inference.case import CaseError, printable, read_case, write_segs

PREDICTION = "segs"


@dataclass(frozen=True)
class Folders:
    """Where the files lie; a case has the same file name in all of them.

    imgs (with boxes) is needed for the baselines only; baseline_cache keeps their masks from run to run.
    """

    segs: Path
    gts: Path
    imgs: Path | None = None
    baselines: bool = False
    baseline_cache: Path | None = None


@dataclass(frozen=True)
class CaseResult:
    """Scores of one case by method ("segs", "ellipse", "grabcut"). A prediction that is missing or unusable scores 0; a
    method that had nothing to work on is absent, as all are where the truth is unusable. `problems`: a line each."""

    name: str
    ndim: int
    objects: int
    scores: dict[str, Score]
    problems: tuple[str, ...] = ()


def score_folder(folders: Folders, workers: int = 1) -> Iterator[CaseResult]:
    """Results of all cases of folders.gts, in the order of their names, from `workers` processes."""
    names = sorted(path.name for path in folders.gts.glob("*.npz"))
    yield from in_processes(score_file, [(folders, name) for name in names], workers)


def in_processes(function, tasks: list[tuple], workers: int) -> Iterable:
    """function(task) of every task, in order; in this process where one worker is enough."""
    if min(workers, len(tasks)) <= 1:
        yield from map(function, tasks)
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(function, tasks)


def score_file(task: tuple[Folders, str]) -> CaseResult:
    """Result of one case; never raises for what is wrong with its files."""
    folders, file_name = task
    name = file_name.removesuffix(".npz")
    try:
        gts, spacing_xyz_mm = read_truth(folders.gts / file_name)
    except LabelError as error:
        return CaseResult(name, 0, 0, {}, (f"{error}: not scored",))
    problems, scores = [], {}
    try:
        scores[PREDICTION] = score_case(gts, read_segs(folders.segs / file_name), spacing_xyz_mm)
    except LabelError as error:
        problems.append(f"{error}: scored 0")
    except ValueError as error:
        problems.append(f"{printable(file_name)}: {error}: scored 0")
    scores.setdefault(PREDICTION, worst_score(gts, spacing_xyz_mm))
    if folders.baselines:
        try:
            for method, segs in baseline_segs(folders, file_name):
                scores[method] = score_case(gts, segs, spacing_xyz_mm)
        except CaseError as error:
            problems.append(f"{error}: no baselines")
        except ValueError as error:
            problems.append(f"{printable(file_name)}: imgs do not fit gts ({error}): no baselines")
    return CaseResult(name, gts.ndim, int(gts.max(initial=0)), scores, tuple(problems))


def baseline_segs(folders: Folders, file_name: str) -> Iterator[tuple[str, np.ndarray]]:
    """(method, segs) of every baseline, from the cache where it holds them and the image is not newer.

    Raises CaseError when the image cannot be read or the cache not be written.
    """
    source = folders.imgs / file_name
    case = None
    for method, segment in BASELINES.items():
        kept = folders.baseline_cache / method / file_name if folders.baseline_cache else None
        segs = read_kept(kept, source) if kept else None
        if segs is None:
            case = case or read_case(source)
            segs = segment(case)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_segs(kept, segs)
        yield method, segs


def read_kept(kept: Path, source: Path) -> np.ndarray | None:
    """Masks of the cache; None where there are none, they are older than their image, or cannot be read."""
    try:
        return read_segs(kept) if kept.stat().st_mtime_ns >= source.stat().st_mtime_ns else None
    except (OSError, LabelError):
        return None
