"""The running-time table of a team (CSV, the challenge's two columns first) and its summary (Markdown)."""

import csv
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, median

from time_eval.harness import CaseTime

COLUMNS = ("CaseName", "RunningTime", "PeakMemoryMB", "PeakRssMB", "CpuSeconds", "ExitCode", "Reason")


class Table:
    """Writes rows as they come, so that an interrupted run leaves the cases it timed."""

    def __init__(self, path: Path):
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._write(COLUMNS)

    def add(self, row: CaseTime) -> None:
        use = row.usage
        used = (f"{use.charged_mb:.1f}", f"{use.resident_mb:.1f}", f"{use.cpu_s:.3f}") if use else ("", "", "")
        self._write((row.name, f"{row.elapsed_s:.4f}", *used, row.exit_code, row.reason))

    def _write(self, values: Iterable) -> None:
        self._writer.writerow(values)
        self._file.flush()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()


def write_rows(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    """A CSV of measurements, its folder made where missing; numbers with four significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
                        for row in rows)


def as_line(row: dict) -> str:
    """A row of measurements for people."""
    return "  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())


def summary(team: str, how: str, rows: list[tuple[str, CaseTime]], engine_s: list[float]) -> str:
    """Markdown text: seconds of the cases that have masks, per dimension and overall, and the machine they ran on.

    rows are (dimension, CaseTime) pairs; engine_s the seconds of runs of `true`, or empty.
    """
    lines = [f"# {team}", "", f"{how}; {machine()}", "",
             "| cases | timed | failed | median s | mean s | max s | median CPU s | max RSS MB | max memory MB |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for label in [*sorted({kind for kind, _ in rows}), "all"]:
        lines.append(_summary_row(label, [row for kind, row in rows if label in (kind, "all")]))
    if engine_s:
        lines += ["", f"A container that runs `true`: median {median(engine_s):.3f} s of {len(engine_s)}"]
    failed = [row for _, row in rows if row.reason]
    lines += [""] * bool(failed) + [f"- {row.name}: {row.reason}" for row in failed]
    return "\n".join(lines) + "\n"


def _summary_row(label: str, rows: list[CaseTime]) -> str:
    good = [row for row in rows if not row.reason]
    seconds = [row.elapsed_s for row in good]
    used = [row.usage for row in good if row.usage is not None]
    columns = [(median, seconds, 3), (mean, seconds, 3), (max, seconds, 3), (median, [use.cpu_s for use in used], 3),
               (max, [use.resident_mb for use in used], 0), (max, [use.charged_mb for use in used], 0)]
    numbers = [f"{function(values):.{digits}f}" if values else "" for function, values, digits in columns]
    return f"| {label} | {len(good)} | {len(rows) - len(good)} | " + " | ".join(numbers) + " |"


def machine() -> str:
    """The processor's name and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
