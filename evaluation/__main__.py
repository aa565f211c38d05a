"""python -m evaluation SEGS GTS --csv FILE: score a folder of predictions against their truth."""
import argparse
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
from tqdm import tqdm

from evaluation.folder import Folders, score_folder
from evaluation.origins import origin_of, read_table
from evaluation.preview import preview_folder
from evaluation.table import summarise, to_csv, to_json, to_markdown

DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2

DESCRIPTION = """\
Score the masks in SEGS (npz, key segs) against those of the same name in GTS (npz, key gts, in 3-D also spacing).
FILE gets a row per case: case, dsc and nsd by the rule of the CVPR 2024 "MedSAM on Laptop" challenge (tolerance 2),
then strict dsc and nsd, IoU, HD95. Means per dataset and modality are printed, and written beside it as .md and .json.
A prediction that is missing or unusable scores 0. Exit status: 0 all scored, 1 some case failed, 2 bad arguments."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m evaluation", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segs", type=Path, metavar="SEGS", help="folder of predictions")
    parser.add_argument("gts", type=Path, metavar="GTS", help="folder of truths")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="table to write, a row per case")
    parser.add_argument("--strict", action="store_true",
                        help="also print the strict DSC* and NSD*: labels of the truth only, NSD always computed, "
                             "spacing in the order of the axes, contours in 2-D (the CSV always has them)")
    parser.add_argument("--boxes", type=Path, metavar="IMGS", help="folder of images with boxes, as given to inference")
    parser.add_argument("--baselines", action="store_true",
                        help="also score the boxes' inscribed ellipses and GrabCut (needs --boxes)")
    parser.add_argument("--baseline-dir", type=Path, metavar="DIR", help="keep the baselines' masks here between runs")
    parser.add_argument("--preview", type=Path, metavar="DIR", help="draw a picture of every case (needs --boxes)")
    parser.add_argument("--preview-most", type=int, metavar="N",
                        help="draw N cases of a dataset, evenly ranked by DSC; 3: the worst, the median, the best")
    parser.add_argument("--cases", type=Path, metavar="FILE",
                        help="CSV with the columns modality, dataset, case that says where cases belong; without it, a "
                             "case is named 2DBox_<modality>_<dataset>_<case>, and <case> holds no underscore")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N",
                        help="processes (default: all cores)")
    return parser


def check(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the arguments, in a line; None where nothing is."""
    for option, folder in (("SEGS", arguments.segs), ("GTS", arguments.gts), ("--boxes", arguments.boxes)):
        if folder is not None and not folder.is_dir():
            return f"{option} must be a folder; got {folder}"
    if not any(arguments.gts.glob("*.npz")):
        return f"GTS must hold npz files; found none in {arguments.gts}"
    for option in ("baselines", "preview"):
        if getattr(arguments, option) and arguments.boxes is None:
            return f"--{option} needs --boxes IMGS, the folder of images with boxes"
    for option in ("workers", "preview_most"):
        if (count := getattr(arguments, option)) is not None and count < 1:
            return f"--{option.replace('_', '-')} must be at least 1; got {count}"
    if arguments.csv.suffix in (".md", ".json") or arguments.csv.is_dir():
        return f"--csv must be a file whose name does not end in .md or .json; got {arguments.csv}"
    return None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        if wrong := check(arguments):
            raise ValueError(wrong)
        table = read_table(arguments.cases) if arguments.cases else {}
        for folder in filter(None, (arguments.csv.parent, arguments.baseline_dir, arguments.preview)):
            folder.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    cv2.setNumThreads(1)
    try:
        return run(arguments, table)
    except (OSError, BrokenProcessPool) as error:  # the latter: a process was killed, most likely for its memory
        print(f"evaluation: {error}", file=sys.stderr)
        return SOME_FAILED


def run(arguments: argparse.Namespace, table: dict) -> int:
    """Score, write, print and draw; returns the exit status."""
    folders = Folders(arguments.segs, arguments.gts, arguments.boxes, arguments.baselines, arguments.baseline_dir)
    total = sum(1 for _ in arguments.gts.glob("*.npz"))
    results = []
    for result in tqdm(score_folder(folders, arguments.workers), "scoring", total, unit="case", disable=None):
        for problem in result.problems:
            tqdm.write(problem, file=sys.stderr)
        results.append(result)
    origins = {result.name: origin_of(result.name, table) for result in results}
    summary = summarise(results, origins)
    table_text = to_markdown(summary, arguments.strict)
    write(arguments.csv, to_csv(results, origins, summary.methods))
    write(arguments.csv.with_suffix(".json"), to_json(summary))
    write(arguments.csv.with_suffix(".md"), table_text)
    print(table_text, end="")
    report_counts(arguments, summary, len(results))
    failed = summary.failed
    if arguments.preview:
        for problem in preview_folder(folders, results, origins, arguments.preview, arguments.preview_most,
                                      arguments.workers):
            print(problem, file=sys.stderr)
            failed += 1
    return SOME_FAILED if failed else DONE


def report_counts(arguments: argparse.Namespace, summary, total: int) -> None:
    """Say what the table does not: cases that failed or count for nothing, and predictions without a truth."""
    if summary.failed:
        print(f"{summary.failed} of {total} cases had problems; each is named above and in the CSV's column note")
    if summary.undefined:
        print(f"{summary.undefined} of {total} cases have no DSC by the challenge's rule, for a label below the "
              "highest one is in neither gts nor segs; they are left out of the mean DSC")
    gts = {path.name for path in arguments.gts.glob("*.npz")}
    extra = sum(path.name not in gts for path in arguments.segs.glob("*.npz"))
    if extra:
        print(f"{extra} predictions have no truth and were passed over")
    print(f"rows of all cases: {arguments.csv}")


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
