"""`python -m training.prepare fewshot`: scans to the npz files of FS-MedSAM2, which `python -m evaluation.fewshot` reads.

Every slice from the first to the last that holds a label becomes a file. These slices are cut into three chunks of equal
length; with each goes a slice of another scan, the support, which lies at 1/6, 1/2 or 5/6 of the slices in which that scan
holds the label. Chunks, supports and file names are those of SSL-ALPNet's loader (Ouyang et al. 2020, arXiv 2007.09886).
"""

import argparse
import dataclasses
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from inference.files import write_whole
from training.prepare.report import DONE, FAILED, LEFT_OUT, Row, read_rows, write_rows
from training.prepare.scans import LAYOUTS, Scan, Source, find_scans, read_scan

ALL_DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2
CHUNKS = 3
FOLDS = 5
EVALUATED = {"synapse": (1, 2, 3, 6), "chaos": (1, 2, 3, 4)}
_QUERY, _SUPPORT = "query", "support"

_DESCRIPTION = """\
Scans to the files of FS-MedSAM2's few-shot protocols: OUT/<label>_<sample>_case_<scan>_z<slice>.npz, not compressed.
  synapse  CT in Hounsfield units, NIfTI (img0001.nii.gz, label0001.nii.gz); evaluated: 1 spleen, 2 right kidney, 3 left
           kidney, 6 liver; mean and deviation are those of all scans that are not evaluated
  chaos    T2 MR, NIfTI (image_1.nii.gz, label_1.nii.gz); evaluated: 1 liver, 2 right kidney, 3 left kidney, 4 spleen; mean
           and deviation are the scan's own
  npz      this project's volumes, imgs and gts, in one file or two; mean and deviation are the scan's own
A scan's image and labels have the same last number in their names. OUT/prepare_fewshot.csv says what was made of each.
Exit status: 0 all done, 1 some scan failed, 2 bad arguments."""


def add_parser(commands) -> None:
    """The sub-command's options; commands: what `add_subparsers` returns."""
    parser = commands.add_parser("fewshot", help="volumes to the slices of FS-MedSAM2's few-shot protocols",
                                 description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", dest="scans", required=True, choices=LAYOUTS, help="what the files are, see above")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="images")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="labels (npz: the folder of the images)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the files")
    parser.add_argument("--labels-evaluated", type=int, nargs="+", metavar="L",
                        help="labels, in the order in which files are numbered (synapse: 1 2 3 6; chaos: 1 2 3 4)")
    parser.add_argument("--support", type=int, default=-1, metavar="N",
                        help="which scan is the support, from 0, or from -1 backwards; the others are queries (-1: the last, "
                             "as in the original: 6 of a Synapse fold's, 4 of a CHAOS fold's)")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), metavar="K",
                        help="evaluate the K-th fifth of the scans, from 0, with the next one as the last (all scans)")
    parser.add_argument("--pattern", default="*", metavar="GLOB", help="names of the files (*)")
    parser.add_argument("--keep-orientation", action="store_true",
                        help="keep the axes as stored, as the original does; otherwise x, y, z point to left, back and head")
    parser.add_argument("--overwrite", action="store_true", help="make scans anew that are there already")
    parser.set_defaults(run=main)


@dataclass(frozen=True)
class Settings:
    """What decides on the files. scans: those evaluated, of which the support-th is the support; statistics: those whose
    mean and deviation are everyone's, none where each scan has its own."""

    layout: str
    labels_evaluated: tuple[int, ...]
    scans: tuple[str, ...]
    support: int
    statistics: tuple[str, ...]
    keep_orientation: bool


@dataclass(frozen=True)
class Normal:
    """Values to mean 0 and deviation 1 over some voxels."""

    mean: float
    deviation: float

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return ((image - self.mean) / max(self.deviation, 1e-8)).astype(np.float32)


def main(args: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit status."""
    try:
        settings, sources = _settings(args)
        args.out.mkdir(parents=True, exist_ok=True)
        report = args.out / "prepare_fewshot.csv"
        before = {} if args.overwrite else read_rows(report)
        _check_settings(report.with_suffix(".json"), settings, args.overwrite)
        maker = Maker(settings, sources, args.out)
        rows = _run(maker, before, report)
    except (ValueError, OSError) as error:
        print(f"training.prepare: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    count = {status: sum(row.status == status for row in rows) for status in (DONE, LEFT_OUT, FAILED)}
    print(f"{len(rows)} scans: {count[DONE]} done, {count[LEFT_OUT]} left out, {count[FAILED]} failed; "
          f"{sum(row.slices_kept for row in rows)} files, a slice and label each; support: scan "
          f"{settings.scans[settings.support]}")
    print(f"a row per scan: {report}")
    return SOME_FAILED if count[FAILED] else ALL_DONE


def _settings(args: argparse.Namespace) -> tuple[Settings, dict[str, Source]]:
    """(settings, all scans by name). Raises ValueError that names the option."""
    labels = args.labels or (args.images if args.scans == "npz" else None)
    if labels is None:
        raise ValueError(f"--layout {args.scans} needs --labels DIR")
    for option, folder in (("images", args.images), ("labels", labels)):
        if not folder.is_dir():
            raise ValueError(f"--{option} must be a folder; got {folder}")
    names = args.labels_evaluated or EVALUATED.get(args.scans)
    if not names or min(names) < 1 or len(set(names)) < len(names):
        raise ValueError(f"--labels-evaluated must be different labels from 1; got {names or 'none'}")
    sources = {source.scan: source for source in find_scans(args.scans, args.images, labels, args.pattern)}
    everyone = list(sources)
    evaluated = everyone if args.fold is None else fold_of(everyone, args.fold)
    if len(evaluated) < 2 or not -len(evaluated) <= args.support < len(evaluated):
        raise ValueError(f"--support must be one of at least two scans evaluated, 0..{len(evaluated) - 1}; got {args.support}")
    others = [scan for scan in everyone if scan not in evaluated] or everyone
    return Settings(args.scans, tuple(names), tuple(evaluated), args.support % len(evaluated),
                    tuple(others) if args.scans == "synapse" else (), args.keep_orientation), sources


def fold_of(scans: list[str], fold: int) -> list[str]:
    """One of five equal parts, and the scan after it (after the last one: the first)."""
    first, last = (len(scans) * part // FOLDS for part in (fold, fold + 1))
    return [*scans[first:last], scans[last % len(scans)]]


def _check_settings(path: Path, settings: Settings, overwrite: bool) -> None:
    """Keeps the settings beside the report; refuses to mix two settings, or with files of others, in one folder."""
    new = json.loads(json.dumps(dataclasses.asdict(settings)))
    there = sorted(other.name for other in path.parent.glob("*_case_*_z*.npz"))
    if there and not path.exists():
        raise ValueError(f"--out must be a folder without files of another program's; got {there[0]} in {path.parent}")
    if strays := [name for name in there if name.split("_case_")[1].split("_z")[0] not in settings.scans]:
        raise ValueError(f"--out must hold no files of scans that are not evaluated; got {strays[0]}: choose another --out")
    if there and not overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [key for key in new if before.get(key) != new[key]]:
            raise ValueError(f"{path}: the files there were made with other settings ({', '.join(changed)}); add --overwrite, "
                             "or choose another --out")
    write_whole(path, (json.dumps(new, indent=2) + "\n").encode())


def _run(maker: "Maker", before: dict[str, Row], report: Path) -> list[Row]:
    """A row per scan; the report is rewritten after each. Raises ValueError where nothing can be made at all."""
    rows: list[Row] = []
    sample, n_scan = 0, 0
    scans = maker.settings.scans
    for place, scan in enumerate(tqdm(scans, "preparing", unit="scan", disable=not sys.stderr.isatty())):
        row = before.get(scan)
        if not (row and row.status != FAILED and row.slices_kept == len(maker.files_of(scan))):
            maker.read_supports()
            try:
                row = maker.make(scan, sample, n_scan)
            except (ValueError, OSError, MemoryError) as error:
                maker.forget(scan)
                row = Row(scan, split=_QUERY, why=" ".join(str(error).split()) or type(error).__name__)
                tqdm.write(f"scan {scan}: {row.why}", file=sys.stderr)
        rows.append(row)
        sample, n_scan = sample + row.slices, n_scan + (row.split == _QUERY)
        write_rows(report, rows + [before[later] for later in scans[place + 1:] if later in before])
    return rows


class Maker:
    """Makes the files of scans."""

    def __init__(self, settings: Settings, sources: dict[str, Source], out: Path):
        self.settings, self.support = settings, settings.scans[settings.support]
        self._sources, self._out = sources, out
        self._supports: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._support_row: Row | None = None
        self._normal: Normal | None = None

    def files_of(self, scan: str) -> list[Path]:
        return list(self._out.glob(f"*_case_{scan}_z*.npz"))

    def forget(self, scan: str) -> None:
        """Removes what was made of a scan, of which a later run might not write every file again."""
        for path in self.files_of(scan):
            path.unlink()

    def make(self, scan: str, sample: int, n_scan: int) -> Row:
        """Writes the files of a scan; returns its row of the report. sample: slices of the scans before it; n_scan: queries
        before it. After `read_supports`. Raises ValueError or OSError."""
        self.forget(scan)
        if scan == self.support:
            return self._support_row
        read, normal = self._read(scan)
        row = self._row(scan, _QUERY, read)
        image = normal(read.image)
        for counter, label in enumerate(self.settings.labels_evaluated, start=1):
            if label not in read.masks:
                row.add_why(f"label {label} is not there")
                continue
            mask = read.masks[label]
            first, last = np.flatnonzero(mask.any(axis=(1, 2)))[[0, -1]].tolist()
            for z in range(first, last + 1):
                name = f"{counter}_{sample + z + 1}_case_{scan}_z{z}.npz"
                _write(self._out / name, self._supports[label][chunk_of(z, first, last)], (image[z], mask[z]), label, n_scan)
                row.slices_kept += 1
            row.voxels_kept += int(np.count_nonzero(mask))
        row.status = DONE if read.masks else LEFT_OUT
        row.file = f"*_case_{scan}_z*.npz" if read.masks else ""
        return row

    def _read(self, scan: str) -> tuple[Scan, Normal]:
        settings = self.settings
        read = read_scan(settings.layout, self._sources[scan], settings.labels_evaluated, not settings.keep_orientation)
        if not settings.statistics:
            return read, Normal(float(read.image.mean(dtype=np.float64)), float(read.image.std(dtype=np.float64)))
        if self._normal is None:
            self._normal = self._of_everyone()
        return read, self._normal

    def _of_everyone(self) -> Normal:
        """Mean and deviation over all voxels of the scans for it that can be read."""
        settings = self.settings
        count, total, squares = 0, 0.0, 0.0
        for scan in tqdm(settings.statistics, "statistics", unit="scan", leave=False, disable=not sys.stderr.isatty()):
            try:
                image = read_scan(settings.layout, self._sources[scan], (), not settings.keep_orientation).image
            except (ValueError, OSError) as error:
                tqdm.write(f"scan {scan}: not in the mean; {' '.join(str(error).split())}", file=sys.stderr)
                continue
            count, total = count + image.size, total + image.sum(dtype=np.float64)
            squares += np.square(image, dtype=np.float64).sum()
        mean = total / max(count, 1)
        return Normal(mean, max(squares / max(count, 1) - mean**2, 0) ** 0.5)

    def read_supports(self) -> None:
        """Reads the support, and the statistics where they are everyone's; once. Raises ValueError or OSError."""
        if self._supports:
            return
        scan, normal = self._read(self.support)
        if missing := [label for label in self.settings.labels_evaluated if label not in scan.masks]:
            raise ValueError(f"the support, scan {self.support}, must hold every label evaluated; got none of "
                             f"{', '.join(map(str, missing))}: choose another --support")
        image = normal(scan.image)
        self._supports = {label: [(image[z], mask[z]) for z in support_slices(np.flatnonzero(mask.any(axis=(1, 2))))]
                          for label, mask in scan.masks.items()}
        self._support_row = self._row(self.support, _SUPPORT, scan)
        self._support_row.status = DONE

    @staticmethod
    def _row(name: str, split: str, scan: Scan) -> Row:
        return Row(name, split=split, slices=len(scan.image), labels_kept=" ".join(map(str, scan.masks)),
                   spacing_xyz_mm=" ".join(f"{mm:g}" for mm in scan.spacing_xyz_mm), stored_orientation=scan.stored)


def chunk_of(z: int, first: int, last: int) -> int:
    """Which third of the slices first..last slice z is in, 0..2."""
    return min(CHUNKS * (z - first) // max(last - first, 1), CHUNKS - 1)


def support_slices(holding: np.ndarray) -> list[int]:
    """Of the slices that hold a label those at 1/6, 1/2 and 5/6 of the list, fractions cut off."""
    return [int(holding[(2 * chunk + 1) * len(holding) // (2 * CHUNKS)]) for chunk in range(CHUNKS)]


def _write(path: Path, support: tuple[np.ndarray, np.ndarray], query: tuple[np.ndarray, np.ndarray], label: int,
           n_scan: int) -> None:
    """support, query: image float32 (256, 256) and mask bool (256, 256)."""
    packed = io.BytesIO()
    np.savez(packed, sup_img_part=_repeated(support[0]), sup_fgm_part=support[1][None].astype(np.float32),
             sup_bgm_part=(~support[1])[None].astype(np.float32), query_images=_repeated(query[0]),
             query_labels=query[1][None].astype(np.float32), labels=np.array([label]), n_scan=np.array(n_scan))
    write_whole(path, packed.getbuffer())


def _repeated(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[None, None], 3, axis=1)
