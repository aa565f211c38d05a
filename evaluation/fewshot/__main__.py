"""`python -m evaluation.fewshot`: see `--help`."""

import argparse
import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.drawing import save
from evaluation.fewshot import montage
from evaluation.fewshot.data import CaseFiles, FewShotCase, FewShotError, find_cases, read_case
from evaluation.fewshot.picture import picture_of
from evaluation.fewshot.protocols import PROTOCOLS, copied, follow, supports_shown
from evaluation.fewshot.results import Row, Total, read_rows, row_of, to_csv, to_markdown, totals, write_rows
from evaluation.rows import keep_settings
from inference.case import printable
from inference.engines import BACKENDS, ENGINES, EngineError
from inference.files import write_whole
from inference.segment.propagate import Sequence, open_tracker
from inference.weights import WeightsError, find_model

DONE, SOME_FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
BASELINES = ("copy",)

_DESCRIPTION = """\
Few-shot segmentation by tracking (FS-MedSAM2): a slice of another scan with its mask is the prompt, the slices of a volume
are the frames. DIR holds <label>_<sample>_case_<scan>_z<slice>.npz, as `python -m training.prepare fewshot` makes them.

  slice   all supports of the case (up to three), then one query; anew for each query
  top     the support of the middle third, then all queries from the first to the last
  middle  that support between the two halves of the queries, followed both ways

OUT/<protocol>.csv: model_cfg, label_id, tp, fp, fn, dice, of all slices of all cases of a label. OUT/<protocol>/<method>/
has for each case a CSV, a row a slice, and a picture. Cases whose files are there already are not done again.
Times are those of propagation alone: from asking the tracker for a slice's mask to having it. Opening a sequence and giving
it the prompts is counted apart; reading and scoring not at all. The first slices of a run hold what the engine compiles.
Exit status: 0 all done, 1 some case failed, 2 bad arguments."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m evaluation.fewshot", description=_DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME", help="a tracker of the manifest, such as sam2-nano")
    parser.add_argument("--engine", choices=ENGINES, default="openvino", help="what runs the networks (openvino)")
    parser.add_argument("--backend", choices=BACKENDS, default="cpu", help="gpu takes --engine jittor")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of npz files")
    parser.add_argument("--protocol", choices=(*PROTOCOLS, "all"), default="all", help="(all)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for tables and pictures")
    parser.add_argument("--baseline", choices=BASELINES,
                        help="copy: also give each query the mask of the nearest support that the protocol shows")
    parser.add_argument("--overwrite", action="store_true", help="do cases anew that are done already")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        if not args.data.is_dir():
            raise FewShotError(f"--data must be a folder; got {args.data}")
        cases = find_cases(args.data)
        files = find_model(args.model)
        paths = [files.folder / path for path in files.files.values()]
        newest_ns = max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)
        open_sequence = _open(args)
        args.out.mkdir(parents=True, exist_ok=True)
        _check_settings(args)
    except (FewShotError, WeightsError, EngineError, OSError, KeyError, ValueError) as error:
        print(f"evaluation.fewshot: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        return _run(args, cases, open_sequence, newest_ns)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _open(args: argparse.Namespace) -> Callable:
    """From a list of images to a sequence of the model's."""
    tracker = open_tracker(args.model, args.engine, args.backend)
    return partial(Sequence, tracker, picture=picture_of(tracker.frame))


def _check_settings(args: argparse.Namespace) -> None:
    """Keeps the settings in the folder of results; refuses to mix those of two."""
    settings = {"model": args.model, "engine": args.engine, "backend": args.backend, "data": str(args.data.resolve())}
    keep_settings(args.out / "settings.json", settings, args.overwrite)


def _run(args: argparse.Namespace, cases: list[CaseFiles], open_sequence: Callable, newest_ns: int) -> int:
    """Does, writes and prints; returns the exit status. newest_ns: when the model was last written."""
    protocols = PROTOCOLS if args.protocol == "all" else (args.protocol,)
    methods = {args.model: partial(follow, open_sequence=open_sequence)} | ({"copy": copied} if args.baseline else {})
    failed = 0
    total = sum(len(files.slices) for files in cases) * len(protocols) * len(methods)
    with tqdm(total=total, desc="segmenting", unit="slice", disable=not sys.stderr.isatty()) as bar:
        for protocol in protocols:
            found: list[Total] = []
            for method, answer in methods.items():
                folder = args.out / protocol / method
                folder.mkdir(parents=True, exist_ok=True)
                rows = []
                for files in cases:
                    done = None if args.overwrite else _kept(folder / f"{files.name}.csv", files, newest_ns)
                    end = bar.n + len(files.slices)
                    try:
                        rows.append(done or _do_case(files, protocol, method, answer, folder, bar))
                    except Exception as error:  # whatever it is, the other cases are still to be done
                        kind = "" if isinstance(error, (FewShotError, EngineError)) else f"{type(error).__name__}: "
                        line = " ".join(str(error).split())
                        tqdm.write(f"{printable(files.name)}, {protocol}, {method}: {kind}{line}", file=sys.stderr)
                        failed += 1
                    bar.update(end - bar.n)
                found += totals(method, rows)
            write_whole(args.out / f"{protocol}.csv", to_csv(found).encode())
            tqdm.write(to_markdown(protocol, found), file=sys.stdout)
    print(f"{len(cases) * len(protocols) * len(methods) - failed} done, {failed} failed; tables: {args.out}")
    return SOME_FAILED if failed else DONE


def _kept(path: Path, files: CaseFiles, newest_ns: int) -> list[Row] | None:
    """What an earlier run found, where it is whole and newer than the case and the model."""
    try:
        newest_ns = max(newest_ns, *(source.stat().st_mtime_ns for source in files.paths))
        rows = read_rows(path)
        return rows if path.stat().st_mtime_ns >= newest_ns and tuple(row.slice for row in rows) == files.slices else None
    except (OSError, FewShotError):
        return None


def _do_case(files: CaseFiles, protocol: str, method: str, answer: Callable, folder: Path, bar: tqdm) -> list[Row]:
    """Reads, segments, draws and writes a case; its table last, for by that it counts as done."""
    case = read_case(files)
    masks = np.zeros((len(case.queries), *case.queries[0].mask.shape), bool)
    rows: list[Row | None] = [None] * len(case.queries)
    for found in answer(case, protocol):
        rows[found.query], masks[found.query] = row_of(case, found), found.mask
        bar.update()
    if None in rows:
        raise FewShotError(f"the tracker must answer all {len(rows)} slices; got {len(rows) - rows.count(None)}")
    dice, = (total.dice for total in totals(method, [rows]))
    caption = f"{method}, {protocol}  ·  Dice of all {len(rows)} slices {dice:.3f}"
    write_whole(folder / f"{files.name}.png", _picture(case, masks, protocol, caption))
    write_rows(folder / f"{files.name}.csv", rows)
    return rows


def _picture(case: FewShotCase, masks: np.ndarray, protocol: str, caption: str) -> bytes:
    """A PNG."""
    png = io.BytesIO()
    save(montage.draw(case, masks, supports_shown(case, protocol), caption), png)
    return png.getvalue()


if __name__ == "__main__":
    sys.exit(main())
