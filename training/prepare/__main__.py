"""`python -m training.prepare`: see `--help`."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from tqdm import tqdm

from inference.case import printable
from training.prepare import fewshot, flare, synapse
from training.prepare.cases import Recipe, Source, forget, prepare, targets
from training.prepare.intensity import Percentiles, Window, rule_of
from training.prepare.report import DONE, FAILED, LEFT_OUT, Row, read_rows, summary, write_rows

ALL_DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2
_MODALITIES = ("CT", "MR", "PET", "US")

_DESCRIPTION = """\
CT and MR volumes (NIfTI) to the npz files of the challenge: train_npz/<Modality>/<dataset>/*.npz, which
`python -m training` reads, and validation-box/{imgs,gts}/*.npz, which `make score` reads. Files that are there already are
kept, so a run that was stopped goes on where it was. OUT/prepare_<Modality>_<dataset>.csv says what was dropped and why.
Exit status: 0 all done, 1 some case failed, 2 bad arguments."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training.prepare", description=_DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="layout", required=True, metavar="LAYOUT")
    layout = commands.add_parser("flare", help="images/<case>_0000.nii.gz and labels/<case>.nii.gz, as FLARE22 has them",
                                 formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    layout.add_argument("--images", type=Path, required=True, metavar="DIR", default=argparse.SUPPRESS, help="NIfTI images")
    layout.add_argument("--labels", type=Path, required=True, metavar="DIR", default=argparse.SUPPRESS, help="NIfTI labels")
    layout.add_argument("--out", type=Path, required=True, metavar="DIR", default=argparse.SUPPRESS, help="data folder")
    layout.add_argument("--modality", required=True, choices=_MODALITIES, default=argparse.SUPPRESS,
                        help="CT is windowed, all others are stretched between percentiles")
    layout.add_argument("--dataset", default="FLARE22", metavar="NAME", help="folder and file names")
    layout.add_argument("--train", type=int, default=flare.TRAINING_CASES, metavar="N",
                        help="cases, in the order of their names, for training; the others are for validation")
    layout.add_argument("--window-level", type=float, default=Window.level, metavar="HU", help="CT: middle of the window")
    layout.add_argument("--window-width", type=float, default=Window.width, metavar="HU", help="CT: its width")
    layout.add_argument("--percentiles", type=float, nargs=2, default=[Percentiles.low, Percentiles.high],
                        metavar=("LOW", "HIGH"), help="not CT: of the values above 0, to black and white")
    layout.add_argument("--remove-labels", type=int, nargs="*", default=list(flare.REMOVED), metavar="L",
                        help="labels made background; give none to keep all")
    layout.add_argument("--tumour-label", type=int, metavar="L",
                        help="give each connected component of this label a label of its own, above the highest")
    layout.add_argument("--min-voxels", type=int, default=Recipe.min_voxels, metavar="N",
                        help="drop objects below N voxels (LiteMedSAM: 100, MedSAM: 1000)")
    layout.add_argument("--min-pixels", type=int, default=Recipe.min_pixels, metavar="N",
                        help="drop parts of an object in a slice below N pixels (LiteMedSAM: 10, MedSAM: 100)")
    layout.add_argument("--keep-slices", action="store_true", help="keep slices without labels")
    layout.add_argument("--keep-orientation", action="store_true",
                        help="keep the axes as stored; otherwise x, y, z point to the patient's left, back and head")
    layout.add_argument("--boxes", action="store_true", help="put boxes into training files too")
    layout.add_argument("--overwrite", action="store_true", help="make cases anew that are there already")
    fewshot.add_parser(commands)
    synapse.add_parser(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    if "run" in args:
        return args.run(args)
    try:
        recipe = _recipe(args)
        for option in ("images", "labels"):
            if not getattr(args, option).is_dir():
                raise ValueError(f"--{option} must be a folder; got {getattr(args, option)}")
        sources, problems = flare.find_cases(args.images, args.labels, args.dataset, args.train)
        args.out.mkdir(parents=True, exist_ok=True)
        report = args.out / f"prepare_{recipe.modality}_{recipe.dataset}.csv"
        before = {} if args.overwrite else read_rows(report)
        _check_settings(report.with_suffix(".json"), recipe, args.train, args.overwrite)
    except (ValueError, OSError) as error:
        print(f"training.prepare: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    rows, kept = _run(sources, problems, before, recipe, args, report)
    print(summary(rows, kept))
    print(f"a row per case: {report}")
    return SOME_FAILED if any(row.status == FAILED for row in rows) else ALL_DONE


def _recipe(args: argparse.Namespace) -> Recipe:
    """Raises ValueError that names the option."""
    low, high = args.percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"--percentiles must be two numbers 0..100, the lower first; got {low:g} {high:g}")
    if not args.window_width > 0:
        raise ValueError(f"--window-width must be above 0; got {args.window_width:g}")
    if args.train < 0 or args.min_voxels < 0 or args.min_pixels < 0:
        raise ValueError(f"--train, --min-voxels and --min-pixels must be at least 0; got {args.train}, {args.min_voxels}, "
                         f"{args.min_pixels}")
    if min([*args.remove_labels, 1 if args.tumour_label is None else args.tumour_label]) < 1:
        raise ValueError("--remove-labels and --tumour-label must be labels from 1")
    if args.tumour_label in args.remove_labels:
        raise ValueError(f"--tumour-label must not be removed; got {args.tumour_label} in --remove-labels too")
    if not args.dataset or {"/", os.sep, "\0"} & set(args.dataset) or args.dataset.startswith("."):
        raise ValueError(f"--dataset must be a folder's name; got {args.dataset!r}")
    intensity = rule_of(args.modality, Window(args.window_level, args.window_width), Percentiles(low, high))
    return Recipe(args.modality, args.dataset, intensity, tuple(sorted(set(args.remove_labels))), args.tumour_label,
                  args.min_voxels, args.min_pixels, args.keep_slices, args.keep_orientation, args.boxes)


def _check_settings(path: Path, recipe: Recipe, training_cases: int, overwrite: bool) -> None:
    """Keeps the settings beside the report; refuses to mix two settings in one folder."""
    settings = json.loads(json.dumps(dataclasses.asdict(recipe) | {"train": training_cases}))
    if path.exists() and not overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [key for key in settings if before.get(key) != settings[key]]:
            raise ValueError(f"{path}: the files there were made with other settings ({', '.join(changed)}); add --overwrite, "
                             "or choose another --out or --dataset")
    aside = path.with_name(f".{path.name}.writing")
    aside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)


def _run(sources: list[Source], problems: dict[str, str], before: dict[str, Row], recipe: Recipe, args,
         report: Path) -> tuple[list[Row], int]:
    """(a row per case in the order of their names, how many were there already). The report is rewritten after each.

    before: rows of an earlier run whose files may be kept.
    """
    kept = 0
    rows = {case: Row(case, why=why) for case, why in problems.items()}
    for case, why in problems.items():
        print(f"{printable(case)}: {why}", file=sys.stderr)
    for source in tqdm(sources, "preparing", unit="case", disable=not sys.stderr.isatty()):
        earlier = before.get(source.case)
        if earlier and earlier.split == source.split and (earlier.status == LEFT_OUT or earlier.status == DONE and all(
                path.exists() for path in targets(source, recipe, args.out))):
            rows[source.case] = earlier
            kept += 1
            continue
        try:
            forget(source, recipe, args.out)
            rows[source.case] = prepare(source, recipe, args.out)
        except (ValueError, OSError, MemoryError) as error:
            line = " ".join(str(error).split()) or type(error).__name__
            rows[source.case] = Row(source.case, split=source.split, why=line)
            tqdm.write(f"{printable(source.case)}: {line}", file=sys.stderr)
        write_rows(report, [rows[case] for case in sorted(rows)])
    write_rows(report, [rows[case] for case in sorted(rows)])
    return [rows[case] for case in sorted(rows)], kept


if __name__ == "__main__":
    sys.exit(main())
