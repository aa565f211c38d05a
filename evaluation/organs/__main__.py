"""`python -m evaluation.organs`: see `--help`."""

import argparse
import gzip
import hashlib
import io
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from evaluation import drawing
from evaluation.organs import measures, table
from evaluation.organs.classes import check_labels, labels_of_case, to_classes
from evaluation.organs.pictures import draw
from evaluation.organs.volumes import Grey, Source, Volume, find_volumes, read_volume
from evaluation.rows import keep_settings
from inference.case import printable
from inference.engines import ENGINES, EngineError, open_engine
from inference.files import write_whole
from inference.segment.semantic import SemanticSegmenter
from inference.weights import WeightsError, find_model

DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2
CHUNK = 16  # slices between two steps of the progress bar
_WEIGHTS = {"openvino": "openvino_bin", "onnxruntime": "onnxruntime", "jittor": "jittor"}

_DESCRIPTION = """\
Segment volumes slice by slice with a promptless model (the SAMed family) and score each of its classes against the truth.
Volumes: *.h5 (image 0..1 and label, as SAMed publishes its test set), *.npz (imgs and gts, images too), or pairs of NIfTI
such as img0001.nii.gz and label0001.nii.gz. OUT gets <case>_pred.nii.gz (classes 1, 2, ...), <case>.png, organs.csv with a
row for each case and organ, and organs.md, which is printed: DSC in per cent and HD95
- in voxels as SAMed's test program has them: no mask gives 0 and 0, a mask where the truth has none 100 and 0;
- strictly: HD95 in mm where the file has the spacing; a class that neither has does not count; one that only the truth or
  only the mask has is worth DSC 0 and, for HD95, the diagonal of the volume.
A run that was stopped goes on where it was. Exit status: 0 all done, 1 some case failed, 2 bad arguments."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m evaluation.organs", description=_DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME", help="a promptless model of weights/manifest.json")
    parser.add_argument("--engine", choices=ENGINES, default="openvino", help="what runs it (openvino)")
    parser.add_argument("--backend", choices=("cpu", "gpu"), default="cpu", help="gpu needs --engine jittor (cpu)")
    parser.add_argument("--volumes", type=Path, required=True, metavar="DIR")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="folder of the truth where the volumes' files have none")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--labels", type=int, nargs="+", metavar="L",
                        help="labels of the model's classes in the truth, in their order (1 2 3 ...); raw Synapse: 1 2 3 4 6 "
                             "7 8 11")
    parser.add_argument("--gapless", type=_list, nargs="+", default=[], metavar="L,L",
                        help="the truth was renumbered 1..N without gaps, case by case: the labels before, a list for each N "
                             "that tells, such as 2,3 1,2,3; other cases are left out")
    parser.add_argument("--window", type=float, nargs=2, default=list(Grey().window), metavar=("LOW", "HIGH"),
                        help="NIfTI: the values of black and white (-125 275, SAMed's Hounsfield units)")
    parser.add_argument("--percentiles", action="store_true", help="NIfTI that is not CT: percentiles 0.5 and 99.5 instead")
    parser.add_argument("--overwrite", action="store_true", help="do cases anew that are there already")
    return parser


def _list(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        for option in ("volumes", "truth"):
            folder = getattr(args, option)
            if folder is not None and not folder.is_dir():
                raise ValueError(f"--{option} must be a folder; got {folder}")
        if not args.percentiles and not args.window[0] < args.window[1]:
            raise ValueError(f"--window must be two numbers, the lower first; got {args.window[0]:g} {args.window[1]:g}")
        sources, problems = find_volumes(args.volumes, args.truth)
        segmenter, weights = _open(args)
        args.labels = args.labels or list(range(1, len(segmenter.classes) + 1))
        check_labels(args.labels, args.gapless, segmenter.classes)
        args.out.mkdir(parents=True, exist_ok=True)
        _check_settings(args, weights)
        before = {} if args.overwrite else table.read_rows(args.out / table.FILE)
    except (ValueError, OSError, EngineError) as error:
        print(f"evaluation.organs: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    failed, left_out = _run(args, segmenter, sources, problems, before)
    if left_out:
        print(f"{left_out} of {len(sources)} cases were left out: --gapless does not say what their labels are")
    return SOME_FAILED if failed else DONE


def _open(args) -> tuple[SemanticSegmenter, str]:
    """(the segmenter, the SHA-256 of its weights). Raises ValueError or EngineError."""
    files = find_model(args.model)
    if files.graphs:
        raise WeightsError(f"--model must be a promptless model; got {args.model}, which has prompts")
    try:
        segmenter = SemanticSegmenter(open_engine(args.engine, files, args.backend))
    except KeyError as error:
        raise WeightsError(f"--model must be a promptless model, with classes; got {args.model}") from error
    with open(files.path(_WEIGHTS[args.engine]), "rb") as file:
        return segmenter, hashlib.file_digest(file, "sha256").hexdigest()


def _check_settings(args, weights: str) -> None:
    """Keeps the settings beside the table; refuses to mix two settings in one folder."""
    settings = {"model": args.model, "engine": args.engine, "weights_sha256": weights, "labels": args.labels,
                "gapless": args.gapless, "window": None if args.percentiles else args.window}
    keep_settings(args.out / "organs.json", settings, args.overwrite)


def _run(args, segmenter, sources: list[Source], problems: dict[str, str], before: dict) -> tuple[int, int]:
    """(cases that failed, cases left out). The table is rewritten after each case."""
    rows: dict[str, list[table.Row]] = {}
    failed = left_out = 0
    for name, problem in problems.items():
        print(f"{printable(name)}: {problem}", file=sys.stderr)
        failed += 1
    for source in tqdm(sources, unit="case", disable=not sys.stderr.isatty()):
        if source.name in before and _prediction(args.out, source.name).exists():
            rows[source.name] = before[source.name]
            continue
        try:
            found = _case(args, segmenter, source)
        except Exception as error:  # whatever it is, the other cases are still to be done
            line = " ".join(str(error).split()) or type(error).__name__
            kind = "" if isinstance(error, (ValueError, EngineError)) else f"{type(error).__name__}: "
            tqdm.write(f"{printable(source.name)}: {kind}{line}", file=sys.stderr)
            failed += 1
            continue
        if found is None:
            left_out += 1
            continue
        rows[source.name] = found
        write_whole(args.out / table.FILE, table.to_csv([row for own in rows.values() for row in own]).encode())
    if rows:
        every = [row for own in rows.values() for row in own]
        units = {row.unit for row in every}
        text = table.to_markdown(table.means(every, segmenter.classes), " and ".join(sorted(units)))
        write_whole(args.out / table.FILE, table.to_csv(every).encode())
        write_whole(args.out / "organs.md", text.encode())
        print(text, end="")
    return failed, left_out


def _prediction(out: Path, name: str) -> Path:
    return out / f"{name}_pred.nii.gz"


def _case(args, segmenter, source: Source) -> list[table.Row] | None:
    """Segments, scores and writes a case; None where nobody can tell which label is which class."""
    volume = read_volume(source, Grey(None if args.percentiles else tuple(args.window)))
    present = np.unique(volume.truth[volume.truth > 0]).tolist()
    labels = labels_of_case(present, args.labels, args.gapless)
    if labels is None:
        return None
    truth = to_classes(volume.truth, labels)
    segs = _segment(segmenter, volume)
    rows = score(source.name, truth, segs, segmenter.classes, volume)
    strict = [row.dsc_strict for row in rows if row.dsc_strict == row.dsc_strict]
    caption = f"{args.model}  ·  DSC {np.mean(strict):.3f}" if strict else args.model
    picture = io.BytesIO()
    drawing.save(draw(source.name, volume, segs, truth, segmenter.classes, caption), picture)
    write_whole(args.out / f"{source.name}.png", picture.getvalue())
    write_whole(_prediction(args.out, source.name), nifti_of(segs, volume.affine))
    return rows


def _segment(segmenter, volume: Volume) -> np.ndarray:
    """uint8, shape of the truth."""
    slices = volume.image if volume.truth.ndim == 3 else volume.image[None]
    chunks = []
    with tqdm(total=len(slices), unit="slice", leave=False, disable=not sys.stderr.isatty()) as bar:
        for first in range(0, len(slices), CHUNK):
            chunks.append(segmenter.segment(slices[first : first + CHUNK]))
            bar.update(len(chunks[-1]))
    return np.concatenate(chunks).reshape(volume.truth.shape)


def score(name: str, truth: np.ndarray, segs: np.ndarray, organs: tuple[str, ...], volume: Volume) -> list[table.Row]:
    """A row for each organ. truth, segs: classes 0..len(organs), of one shape."""
    rows = []
    for number, organ in enumerate(organs, 1):
        masks = truth == number, segs == number
        rows.append(table.Row(name, organ, *measures.published(*masks), *measures.strict(*masks, volume.spacing), volume.unit,
                              *(int(mask.sum()) for mask in masks)))
    return rows


def nifti_of(segs: np.ndarray, affine: np.ndarray | None) -> bytes:
    """A .nii.gz of classes (D, H, W) or (H, W), its axes x, y, z."""
    planes = segs if segs.ndim == 3 else segs[None]
    image = nib.Nifti1Image(planes.transpose(2, 1, 0), np.eye(4) if affine is None else affine)
    return gzip.compress(image.to_bytes(), 6, mtime=0)


if __name__ == "__main__":
    sys.exit(main())
