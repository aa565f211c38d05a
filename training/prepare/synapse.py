"""`python -m training.prepare synapse`: the abdomen CT of Synapse/BTCV to the files that TransUNet and SAMed publish.

train_npz/case0005_slice000.npz, one a slice, labelled or not: image float32 (H, W) in 0..1 and label uint8 (H, W).
test_vol_h5/case0001.npy.h5, one a volume: image and label (D, H, W), as attribute spacing_xyz_mm, which the originals lack.
lists/lists_Synapse/{train,test_vol}.txt: their names. The axes are those of the file, reversed, with no look at the direction.
Source: SAMed, preprocess; the division into 18 and 12 cases is TransUNet's (Chen et al. 2021, arXiv 2102.04306).
"""

import argparse
import dataclasses
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.organs.classes import to_classes
from inference.case import printable, write_npz
from inference.files import write_whole
from inference.segment.semantic import nearest, spline
from training.prepare.objects import Dropped, names_of
from training.prepare.report import DONE, FAILED, Row, read_rows, write_rows
from training.prepare.volume import read_volume

ALL_DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2
TEST_CASES = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
RAW_LABELS = (1, 2, 3, 4, 6, 7, 8, 11)
"""What 1..8 were before: spleen, right kidney, left kidney, gallbladder, liver, stomach, aorta, pancreas. 5, 9, 10, 12 and 13
(oesophagus, vena cava, veins, adrenal glands) become background."""
LOW_HU, HIGH_HU = -125, 275
TRAINING, TEST = "train", "test"
_SUFFIXES = (".nii.gz", ".nii")

_DESCRIPTION = """\
Synapse/BTCV volumes, NIfTI img0001.nii.gz and label0001.nii.gz, to SAMed's layout: OUT/train_npz/case0005_slice000.npz,
OUT/test_vol_h5/case0001.npy.h5, OUT/lists/lists_Synapse/*.txt. Hounsfield units -125..275 become 0..1; labels 1 2 3 4 6 7 8 11
become 1..8, all others background. Files that are there already are kept; OUT/prepare_synapse.csv says what was dropped.
`python -m training training/recipes/samed.toml --data OUT` and `python -m evaluation.organs --volumes OUT/test_vol_h5` read it.
Exit status: 0 all done, 1 some case failed, 2 bad arguments."""


@dataclass(frozen=True)
class Settings:
    """What decides on the files. size: of slices in px, 0 for their own."""

    test_cases: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Source:
    """A case's two files."""

    case: str
    image: Path
    labels: Path
    split: str


def add_parser(commands) -> None:
    """The sub-command's options; commands: what `add_subparsers` returns."""
    parser = commands.add_parser("synapse", help="abdomen CT to the slices and volumes of TransUNet and SAMed",
                                 description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="img*.nii.gz")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="label*.nii.gz (the folder of the images)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    parser.add_argument("--test-cases", type=int, nargs="*", default=list(TEST_CASES), metavar="N",
                        help="numbers of the cases that become volumes to test on (%(default)s)")
    parser.add_argument("--size", type=int, default=0, metavar="PX",
                        help="resample slices to this side, as in SAMed's set of 224; 0 keeps theirs, as in that of 512 (0)")
    parser.add_argument("--overwrite", action="store_true", help="make cases anew that are there already")
    parser.set_defaults(run=main)


def main(args: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit status."""
    try:
        if args.size < 0 or args.size == 1:
            raise ValueError(f"--size must be 0 or at least 2; got {args.size}")
        settings = Settings(tuple(sorted(set(args.test_cases))), args.size)
        for option, folder in (("images", args.images), ("labels", args.labels or args.images)):
            if not folder.is_dir():
                raise ValueError(f"--{option} must be a folder; got {folder}")
        sources, problems = find_cases(args.images, args.labels or args.images, settings.test_cases)
        args.out.mkdir(parents=True, exist_ok=True)
        report = args.out / "prepare_synapse.csv"
        before = {} if args.overwrite else read_rows(report)
        _check_settings(report.with_suffix(".json"), settings, args.overwrite)
    except (ValueError, OSError) as error:
        print(f"training.prepare: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    rows = _run(sources, problems, before, settings, args.out, report)
    done = [row for row in rows if row.status == DONE]
    failed = sum(row.status == FAILED for row in rows)
    print(f"{len(rows)} cases: {len(done)} done ({sum(row.split == TRAINING for row in done)} train, "
          f"{sum(row.split == TEST for row in done)} test), {failed} failed")
    print(f"training slices: {sum(row.slices_kept for row in done if row.split == TRAINING):,}")
    print(f"labels not wanted: {sum(row.voxels_removed for row in done):,} voxels; labelled voxels kept: "
          f"{sum(row.voxels_kept for row in done):,}")
    print(f"a row per case: {report}")
    return SOME_FAILED if failed else ALL_DONE


def find_cases(images: Path, labels: Path, test_cases: tuple[int, ...]) -> tuple[list[Source], dict[str, str]]:
    """(cases in the order of their numbers, what is wrong with those that lack a file). A case's number is the last one in
    its files' names. Raises ValueError where there is no image at all, or two files for one."""
    image_of, labels_of = _by_number(images, "label"), _by_number(labels, "img")
    if not image_of:
        raise ValueError(f"--images must hold img0001.nii.gz, ...; got none in {images}")
    sources, problems = [], {}
    for number in sorted(image_of):
        case = f"case{number:04d}"
        if number in labels_of:
            sources.append(Source(case, image_of[number], labels_of[number], TEST if number in test_cases else TRAINING))
        else:
            problems[case] = f"must have labels label{number:04d}.nii.gz in {labels.name}; got none"
    return sources, problems


def _by_number(folder, other):
    """other: how the names of files begin that are of the other kind."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
        numbers = re.findall(r"\d+", path.name.removesuffix(suffix)) if suffix else []
        if numbers and not path.name.startswith((other, ".")):
            if int(numbers[-1]) in found:
                raise ValueError(f"{folder} must have one file of {numbers[-1]}; got {found[int(numbers[-1])].name} and "
                                 f"{path.name}")
            found[int(numbers[-1])] = path
    return found


def _check_settings(path, settings, overwrite):
    """Keeps the settings beside the report; refuses to mix two settings in one folder."""
    new = json.loads(json.dumps(dataclasses.asdict(settings)))
    if path.exists() and not overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [key for key in new if before.get(key) != new[key]]:
            raise ValueError(f"{path}: the files there were made with other settings ({', '.join(changed)}); add --overwrite, "
                             "or choose another --out")
    write_whole(path, (json.dumps(new, indent=2) + "\n").encode())


def _run(sources, problems, before, settings, out, report) -> list[Row]:
    """A row per case; the report is rewritten after each, the lists at the end."""
    rows = {case: Row(case, why=why) for case, why in problems.items()}
    for case, why in problems.items():
        print(f"{printable(case)}: {why}", file=sys.stderr)
    for source in tqdm(sources, "preparing", unit="case", disable=not sys.stderr.isatty()):
        earlier = before.get(source.case)
        if earlier and earlier.status == DONE and earlier.split == source.split and all(
                path.exists() for path in targets(source.case, source.split, earlier.slices, out)):
            rows[source.case] = earlier
            continue
        try:
            _forget(source.case, out)
            rows[source.case] = prepare(source, settings, out)
        except (ValueError, OSError, MemoryError) as error:
            line = " ".join(str(error).split()) or type(error).__name__
            rows[source.case] = Row(source.case, split=source.split, why=line)
            tqdm.write(f"{printable(source.case)}: {line}", file=sys.stderr)
        write_rows(report, [rows[case] for case in sorted(rows)])
    write_rows(report, [rows[case] for case in sorted(rows)])
    _write_lists([rows[case] for case in sorted(rows) if rows[case].status == DONE], out)
    return [rows[case] for case in sorted(rows)]


def targets(case: str, split: str, slices: int, out: Path) -> list[Path]:
    """The files of a case."""
    if split == TEST:
        return [out / "test_vol_h5" / f"{case}.npy.h5"]
    return [out / "train_npz" / f"{case}_slice{z:03d}.npz" for z in range(slices)]


def _forget(case, out):
    """Removes what an earlier run made of it, in either split: a case in both would be tested on what it taught."""
    for path in [*targets(case, TEST, 0, out), *(out / "train_npz").glob(f"{case}_slice*.npz")]:
        path.unlink(missing_ok=True)


def prepare(source: Source, settings: Settings, out: Path) -> Row:
    """Reads, maps and writes a case; returns its row of the report. Raises ValueError or OSError."""
    volume = read_volume(source.image, source.labels, reorient=False)
    row, dropped = Row(source.case, split=source.split), Dropped()
    for name in names_of(volume.labels):
        if name not in RAW_LABELS:
            dropped.removed_voxels[name] = int(np.count_nonzero(volume.labels == name))
    image = ((np.clip(volume.image, LOW_HU, HIGH_HU) - LOW_HU) / (HIGH_HU - LOW_HU)).astype(np.float32)
    labels, spacing_xyz_mm = to_classes(volume.labels, RAW_LABELS), np.array(volume.spacing_xyz_mm)
    if settings.size:
        # First on first and last on last pixel: the steps between them grow.
        spacing_xyz_mm[:2] *= (np.array(image.shape[:0:-1]) - 1) / (settings.size - 1)
        image = np.stack([spline(plane, (settings.size, settings.size)) for plane in image])
        labels = np.stack([nearest(plane, (settings.size, settings.size)) for plane in labels])
    paths = targets(source.case, source.split, len(image), out)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    if source.split == TEST:
        write_whole(paths[0], h5_of(image, labels, spacing_xyz_mm))
    else:
        for path, plane, truth in zip(paths, image, labels):
            write_npz(path, {"image": plane, "label": truth})
    row.count(dropped)
    row.status, row.file = DONE, str(paths[0].relative_to(out))
    row.slices = row.slices_kept = len(image)
    row.labels_kept, row.voxels_kept = " ".join(map(str, names_of(labels))), int(np.count_nonzero(labels))
    row.spacing_xyz_mm, row.stored_orientation = " ".join(f"{mm:g}" for mm in spacing_xyz_mm), volume.stored
    return row


def h5_of(image: np.ndarray, labels: np.ndarray, spacing_xyz_mm: np.ndarray) -> memoryview:
    """A volume as HDF5, compressed slice by slice."""
    import h5py  # only a test case needs it

    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        for key, array in (("image", image), ("label", labels)):
            file.create_dataset(key, data=array, chunks=(1, *array.shape[1:]), compression="gzip", compression_opts=1)
        file.attrs["spacing_xyz_mm"] = spacing_xyz_mm
    return packed.getbuffer()


def _write_lists(rows, out):
    folder = out / "lists" / "lists_Synapse"
    folder.mkdir(parents=True, exist_ok=True)
    slices = [path.stem for row in rows if row.split == TRAINING for path in targets(row.case, TRAINING, row.slices, out)]
    volumes = [row.case for row in rows if row.split == TEST]
    for name, names in (("train", slices), ("test_vol", volumes)):
        write_whole(folder / f"{name}.txt", "".join(f"{name}\n" for name in names).encode())
