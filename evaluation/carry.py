"""python -m evaluation.carry IMGS GTS --csv FILE: how well a model carries one mask through a volume.

The truth on the middle one of an object's slices is the prompt; a model of the SAM 2 family carries it to the object's first
and last slice. Its rival is the copied mask. The slice with the prompt does not count.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.labels import LabelError, read_segs, read_truth
from evaluation.metrics import dice
from evaluation.origins import origin_of
from evaluation.rows import to_csv
from inference.case import CaseError, printable, read_case
from inference.engines import EngineError
from inference.files import write_whole
from inference.segment.propagate import Sequence, Tracker, open_tracker
from inference.weights import WeightsError

DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2


@dataclass(frozen=True)
class Row:
    """Dice of an object over `slices` slices, all of its own but the prompted one: of the mask carried, of the mask copied, and
    of other predictions' masks (NaN where there are none)."""

    case: str
    label: int
    slices: int
    carried: float
    copied: float
    others: float


def carried(tracker: Tracker, volume: np.ndarray, middle: int, low: int, high: int, mask: np.ndarray) -> np.ndarray:
    """bool (high - low + 1, H, W): the object on slices low..high of `volume` (D, H, W), from its mask bool (H, W) on slice
    `middle`, upwards and downwards each by itself."""
    sequence = Sequence(tracker, volume)
    sequence.add_masks(middle, mask[None])
    found = {z: logits[0] > 0 for z, logits in sequence.propagate(middle, high)}
    sequence.forget_tracked()
    found |= {z: logits[0] > 0 for z, logits in sequence.propagate(middle, low)}
    return np.stack([found[z] for z in range(low, high + 1)])


def score_volume(tracker: Tracker, name: str, volume: np.ndarray, gts: np.ndarray, segs: np.ndarray | None) -> list[Row]:
    """A row for each label of gts (D, H, W) that is on two slices or more. segs: other masks with the same labels, or None."""
    rows = []
    for label in np.unique(gts[gts > 0]):
        truth = gts == label
        on = np.flatnonzero(truth.any(axis=(1, 2)))
        if len(on) < 2:
            continue
        low, high, middle = int(on[0]), int(on[-1]), int(on[len(on) // 2])
        counted = [z - low for z in range(low, high + 1) if z != middle]
        wanted = truth[low : high + 1][counted]
        found = carried(tracker, volume, middle, low, high, truth[middle])[counted]
        copied = np.broadcast_to(truth[middle], wanted.shape)
        others = np.nan if segs is None else dice(wanted, (segs == label)[low : high + 1][counted])
        rows.append(Row(name, int(label), len(counted), dice(wanted, found), dice(wanted, copied), others))
    return rows


def summary(rows: list[Row]) -> str:
    """Means over objects by dataset, one line each."""
    groups = defaultdict(list)
    for row in rows:
        groups[origin_of(row.case, {})].append((row.carried, row.copied, row.others))
    lines = [f"{'dataset':32} objects carried  copied  others"]
    for origin, values in sorted(groups.items()):
        means = "  ".join(f"{value:6.3f}" for value in np.mean(values, axis=0))
        lines.append(f"{f'{origin.modality} {origin.dataset}':32} {len(values):7d}  {means}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m evaluation.carry", description=__doc__.split(": ", 1)[1])
    parser.add_argument("imgs", type=Path, metavar="IMGS", help="folder of volumes; images are passed over")
    parser.add_argument("gts", type=Path, metavar="GTS", help="folder of their truths")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="table to write, a row per object")
    parser.add_argument("--model", default="sam2-nano", help="of the SAM 2 family (default %(default)s)")
    parser.add_argument("--engine", default="openvino", help="openvino, onnxruntime or jittor (default %(default)s)")
    parser.add_argument("--segs", type=Path, metavar="SEGS", help="other predictions to score on the same slices")
    arguments = parser.parse_args(argv)
    names = sorted(path.name for path in arguments.gts.glob("3D*.npz"))
    if not names or not arguments.imgs.is_dir():
        print(f"evaluation.carry: IMGS and GTS must be folders, GTS with volumes, 3D*.npz; got {arguments.imgs} and "
              f"{arguments.gts}", file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        tracker = open_tracker(arguments.model, arguments.engine)
        arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    except (WeightsError, EngineError, OSError) as error:
        print(f"evaluation.carry: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    rows, failed = [], 0
    for name in tqdm(names, unit="volume", disable=not sys.stderr.isatty()):
        try:
            gts, _ = read_truth(arguments.gts / name)
            volume = read_case(arguments.imgs / name).image
            if volume.shape != gts.shape:
                raise LabelError(f"{printable(name)}: gts must have the shape of imgs, {volume.shape}; got {gts.shape}")
            segs = read_segs(arguments.segs / name) if arguments.segs else None
            rows += score_volume(tracker, name.removesuffix(".npz"), volume, gts, segs)
        except (CaseError, LabelError) as error:
            failed += 1
            print(f"evaluation.carry: {error}", file=sys.stderr)
    write_whole(arguments.csv, to_csv(Row, rows).encode())
    print(summary(rows))
    return SOME_FAILED if failed else DONE


if __name__ == "__main__":
    sys.exit(main())
