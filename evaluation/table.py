"""Case results to tables: a CSV row per case; means per dataset, per modality and over all, as text and JSON.

The headline is the macro mean: over a dataset's cases, then a modality's datasets, then the modalities, so that no
large dataset drowns the others. A DSC that is NaN by the challenge's rule is left out of the means and counted.
"""
import csv
import io
import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass

from evaluation.folder import PREDICTION, CaseResult
from evaluation.origins import Origin
from evaluation.scoring import METRICS
from inference.case import printable

TITLES = {"dsc": "DSC", "nsd": "NSD", "dsc_strict": "DSC*", "nsd_strict": "NSD*", "iou": "IoU", "hd95": "HD95"}
MIXED = "px and mm"


@dataclass(frozen=True)
class Row:
    """Means of a group of cases. `unit` is that of hd95; where a group mixes px and mm, hd95 is NaN.
    `scores`: method -> metric -> mean, NaN where no case has a value."""

    modality: str
    dataset: str
    cases: int
    unit: str
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Summary:
    """Means of a scored folder: per dataset, per modality, macro (see the head of this file) and over all cases."""

    datasets: list[Row]
    modalities: list[Row]
    macro: Row
    all_cases: Row
    methods: list[str]
    failed: int
    undefined: int


def summarise(results: list[CaseResult], origins: dict[str, Origin]) -> Summary:
    """Summary of case results; `origins` by case name. Cases without any score (no usable truth) do not count."""
    scored = [result for result in results if result.scores]
    methods = list(dict.fromkeys(method for result in scored for method in result.scores))
    cases_of = defaultdict(list)
    for result in scored:
        cases_of[origins[result.name]].append(as_row(result))
    datasets = [merge(origin.modality, origin.dataset, rows, methods) for origin, rows in sorted(cases_of.items())]
    datasets_of = defaultdict(list)
    for row in datasets:
        datasets_of[row.modality].append(row)
    modalities = [merge(modality, f"mean of {len(rows)}", rows, methods) for modality, rows in datasets_of.items()]
    every_case = [row for rows in cases_of.values() for row in rows]
    return Summary(
        datasets,
        modalities,
        macro=merge("macro", f"mean of {len(modalities)}", modalities, methods),
        all_cases=merge("all cases", "plain mean", every_case, methods),
        methods=methods,
        failed=sum(bool(result.problems) for result in results),
        undefined=sum(math.isnan(result.scores[PREDICTION].dsc) for result in scored),
    )


def as_row(result: CaseResult) -> Row:
    """A single case as a group of its own."""
    scores = {method: asdict(score) for method, score in result.scores.items()}
    return Row("", "", 1, "px" if result.ndim == 2 else "mm", scores)


def merge(modality: str, dataset: str, rows: list[Row], methods: list[str]) -> Row:
    """The row of means over `rows`, each of them counting once."""
    units = {row.unit for row in rows}
    scores = {method: {metric: mean(row.scores[method][metric] for row in rows if method in row.scores)
                       for metric in METRICS} for method in methods}
    if len(units) != 1 or MIXED in units:
        units = {MIXED}
        for values in scores.values():
            values["hd95"] = math.nan
    return Row(modality, dataset, sum(row.cases for row in rows), units.pop(), scores)


def mean(values) -> float:
    """Plain mean without the NaN; NaN where nothing is left."""
    values = [value for value in values if not math.isnan(value)]
    return math.fsum(values) / len(values) if values else math.nan


def to_csv(results: list[CaseResult], origins: dict[str, Origin], methods: list[str]) -> str:
    """CSV with a row per scored case, sorted: the challenge's columns case, dsc, nsd, then all others. NaN is empty."""
    others = [method for method in methods if method != PREDICTION]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *METRICS, *(f"{method}_{metric}" for method in others for metric in METRICS),
                     "modality", "dataset", "objects", "note"])
    for result in sorted(results, key=lambda result: result.name + ".npz"):
        if result.scores:
            values = [getattr(result.scores.get(method), metric, math.nan)
                      for method in (PREDICTION, *others) for metric in METRICS]
            writer.writerow([printable(result.name + ".npz"), *("" if math.isnan(v) else f"{v:.4f}" for v in values),
                             origins[result.name].modality, origins[result.name].dataset, result.objects,
                             "; ".join(result.problems)])
    return text.getvalue()


def to_json(summary: Summary) -> str:
    """Summary as JSON: datasets, modalities, macro and all_cases, every one with all metrics of every method, 6 digits;
    null where there is no value."""
    def plain(row: Row) -> dict:
        scores = {method: {metric: None if math.isnan(value) else round(value, 6) for metric, value in values.items()}
                  for method, values in row.scores.items()}
        return {"modality": row.modality, "dataset": row.dataset, "cases": row.cases, "hd95_unit": row.unit, **scores}

    return json.dumps({
        "methods": summary.methods, "cases": summary.all_cases.cases, "failed": summary.failed,
        "undefined": summary.undefined, "macro": plain(summary.macro), "all_cases": plain(summary.all_cases),
        "modalities": [plain(row) for row in summary.modalities], "datasets": [plain(row) for row in summary.datasets],
    }, indent=1) + "\n"


def to_markdown(summary: Summary, strict: bool) -> str:
    """The table for people, as Markdown with padded columns; `strict` adds the strict DSC* and NSD*."""
    pair = ["dsc", "nsd", *(["dsc_strict", "nsd_strict"] if strict else [])]
    columns = [(method, metric) for method in summary.methods
               for metric in pair + (["iou", "hd95"] if method == PREDICTION else [])]
    lines = [["modality", "dataset", "cases", *(title(*column) for column in columns)]]
    for modality in summary.modalities:
        own = [row for row in summary.datasets if row.modality == modality.modality]
        lines += [cells(row, columns) for row in (own if len(own) == 1 else [*own, modality])]
    lines += [cells(summary.macro, columns), cells(summary.all_cases, columns)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    lines.insert(1, ["-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)])
    padded = [[cell.ljust(width) if index < 2 else cell.rjust(width)
               for index, (cell, width) in enumerate(zip(line, widths, strict=True))] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def title(method: str, metric: str) -> str:
    return TITLES[metric] if method == PREDICTION else f"{method} {TITLES[metric]}"


def cells(row: Row, columns: list[tuple[str, str]]) -> list[str]:
    values = [(metric, row.scores[method][metric]) for method, metric in columns]
    numbers = ["-" if math.isnan(value) else f"{value:.1f} {row.unit}" if metric == "hd95" else f"{value:.3f}"
               for metric, value in values]
    return [row.modality, row.dataset, str(row.cases), *numbers]
