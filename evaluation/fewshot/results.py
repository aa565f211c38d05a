"""Pixels counted slice by slice, kept a file a case, and added up a label: the Dice of all its slices of all scans."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from evaluation import rows as table
from evaluation.fewshot.data import FewShotCase, FewShotError
from evaluation.fewshot.protocols import Answer
from inference.files import write_whole


@dataclass(frozen=True)
class Row:
    """A query. case: its scan. tp, fp, fn: pixels. For the two times see `protocols.Answer`."""

    label_id: int
    case: str
    slice: int
    tp: int
    fp: int
    fn: int
    propagate_ms: float
    prompt_ms: float


@dataclass(frozen=True)
class Total:
    """A method's slices of one label. Times: of the slices' propagation the median and the sum, and the sum of prompts."""

    method: str
    label_id: int
    cases: int
    slices: int
    tp: int
    fp: int
    fn: int
    median_ms: float
    propagate_s: float
    prompt_s: float

    @property
    def dice(self) -> float:
        """2 tp / (2 tp + fp + fn), 0..1; NaN where neither truth nor prediction has a pixel."""
        pixels = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / pixels if pixels else float("nan")


def row_of(case: FewShotCase, answer: Answer) -> Row:
    """The counts of an answer."""
    query = case.queries[answer.query]
    if answer.mask.shape != query.mask.shape:
        raise FewShotError(f"{case.name}: masks must have the size of the slices {query.mask.shape}; got {answer.mask.shape}")
    both = int(np.count_nonzero(answer.mask & query.mask))
    return Row(case.label_id, case.scan, query.z, both, int(np.count_nonzero(answer.mask)) - both,
               int(np.count_nonzero(query.mask)) - both, round(answer.propagate_s * 1e3, 3), round(answer.prompt_s * 1e3, 3))


def write_rows(path: Path, rows: list[Row]) -> None:
    """A case's file, whole or not at all. Raises OSError."""
    write_whole(path, table.to_csv(Row, rows).encode())


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote. Raises FewShotError, or OSError."""
    try:
        return table.read_csv(Row, path)
    except ValueError as error:
        raise FewShotError(str(error)) from error


def totals(method: str, cases: Iterable[list[Row]]) -> list[Total]:
    """A total a label, in the order of the labels' ids, of the rows of each case."""
    rows_of: dict[int, list[list[Row]]] = {}
    for rows in cases:
        rows_of.setdefault(rows[0].label_id, []).append(rows)
    result = []
    for label_id, of_cases in sorted(rows_of.items()):
        rows = [row for rows in of_cases for row in rows]
        times_ms = [row.propagate_ms for row in rows]
        result.append(Total(method, label_id, len(of_cases), len(rows), *(sum(getattr(row, key) for row in rows)
                                                                       for key in ("tp", "fp", "fn")),
                            median(times_ms), sum(times_ms) / 1e3, sum(row.prompt_ms for row in rows) / 1e3))
    return result


def to_csv(rows: list[Total]) -> str:
    """The columns of the published ports; a Dice that is not defined is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model_cfg", "label_id", "tp", "fp", "fn", "dice"))
    for row in rows:
        writer.writerow((row.method, row.label_id, row.tp, row.fp, row.fn, "" if np.isnan(row.dice) else f"{row.dice:.6f}"))
    return text.getvalue()


def to_markdown(protocol: str, rows: list[Total]) -> str:
    """A table to read, with the mean over labels where a method has several. Methods without a time took none."""
    lines = [f"| {protocol} | label | cases | slices | Dice | median ms a slice | propagation s | prompts s |",
             "| --- | --: | --: | --: | --: | --: | --: | --: |"]
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        for row in own:
            timed = (f"{row.median_ms:.1f}", f"{row.propagate_s:.2f}", f"{row.prompt_s:.2f}") if row.propagate_s else ("",) * 3
            lines.append(f"| {method} | {row.label_id} | {row.cases} | {row.slices} | {row.dice:.4f} | "
                         f"{' | '.join(timed)} |")
        if len(own) > 1:
            lines.append(f"| {method} | mean | | | {np.mean([row.dice for row in own]):.4f} | | | |")
    return "\n".join(lines) + "\n"
