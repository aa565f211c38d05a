"""Scores of organs: a CSV row a case and organ, and the means over volumes, organ by organ."""

import csv
import dataclasses
import io
import math
from dataclasses import dataclass
from pathlib import Path

FILE = "organs.csv"


@dataclass(frozen=True)
class Row:
    """One organ of one case. dsc, hd95_voxel: by the published convention; dsc_strict, hd95_strict: strictly, the latter in
    `unit`, NaN where neither truth nor prediction has the organ. See `measures`."""

    case: str
    organ: str
    dsc: float
    hd95_voxel: float
    dsc_strict: float
    hd95_strict: float
    unit: str
    truth_voxels: int
    predicted_voxels: int


def to_csv(rows: list[Row]) -> str:
    """NaN is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Row)])
    for row in rows:
        values = dataclasses.astuple(row)
        writer.writerow([("" if math.isnan(v) else f"{v:.6f}") if isinstance(v, float) else v for v in values])
    return text.getvalue()


def read_rows(path: Path) -> dict[str, list[Row]]:
    """The rows of an earlier run by case; none where there is no such file. Raises ValueError."""
    if not path.exists():
        return {}
    types = {field.name: field.type for field in dataclasses.fields(Row)}
    rows: dict[str, list[Row]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for found in csv.DictReader(file):
                row = Row(**{key: types[key](math.nan if types[key] is float and not value else value)
                             for key, value in found.items()})
                rows.setdefault(row.case, []).append(row)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: must be a table of this program; got {type(error).__name__}: {error}") from error
    return rows


@dataclass(frozen=True)
class Mean:
    """Over volumes, or for `organ` mean over organs. counted: volumes that count strictly."""

    organ: str
    volumes: int
    counted: int
    dsc: float
    hd95_voxel: float
    dsc_strict: float
    hd95_strict: float


SCORES = ("dsc", "hd95_voxel", "dsc_strict", "hd95_strict")


def means(rows: list[Row], organs: tuple[str, ...]) -> list[Mean]:
    """One for each organ in their order, then their mean. NaN are left out; where nothing is left the mean is NaN."""
    found = []
    for organ in organs:
        own = [row for row in rows if row.organ == organ]
        counted = sum(not math.isnan(row.dsc_strict) for row in own)
        found.append(Mean(organ, len(own), counted, *(_mean(getattr(row, score) for row in own) for score in SCORES)))
    return [*found, Mean("mean", max((mean.volumes for mean in found), default=0), max((m.counted for m in found), default=0),
                         *(_mean(getattr(mean, score) for mean in found) for score in SCORES))]


def to_markdown(found: list[Mean], unit: str) -> str:
    """The table for people; DSC in per cent. unit: that of the strict HD95."""
    lines = [["organ", "volumes", "DSC", "HD95 voxel", "counted", "strict DSC", f"strict HD95 {unit}"]]
    for mean in found:
        lines.append([mean.organ, str(mean.volumes), _shown(100 * mean.dsc), _shown(mean.hd95_voxel), str(mean.counted),
                      _shown(100 * mean.dsc_strict), _shown(mean.hd95_strict)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)])
    return "".join("| " + " | ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                                     for column, (cell, width) in enumerate(zip(line, widths))) + " |\n" for line in lines)


def _mean(values):
    values = [value for value in values if not math.isnan(value)]
    return math.fsum(values) / len(values) if values else math.nan


def _shown(value):
    return "-" if math.isnan(value) else f"{value:.2f}"
