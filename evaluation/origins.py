"""Which modality and dataset a case belongs to.

The challenge names cases `2DBox_<modality>_<dataset>_<case>.npz`; both dataset and case may hold underscores, so a name
alone does not say where one ends. The rule here: the case is what follows the last underscore. Where that is wrong, a
table of cases (CSV with the columns modality, dataset, case) says it.
"""
import csv
import re
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "-"


@dataclass(frozen=True, order=True)
class Origin:
    """Modality and dataset of a case; "-" where it is not known."""

    modality: str
    dataset: str


def origin_of(name: str, table: dict[str, Origin]) -> Origin:
    """Origin of the case `name` (without `.npz`): by the table where it lists the case, else by the name."""
    box, _, rest = name.partition("_")
    if found := table.get(rest) or table.get(name):
        return found
    if not re.fullmatch("[23]D(Box)?", box) or not rest:
        return Origin(UNKNOWN, UNKNOWN)
    modality, *fields = rest.split("_")
    return Origin(modality, "_".join(fields[:-1]) or UNKNOWN)


def read_table(path: Path) -> dict[str, Origin]:
    """Origins by case from a CSV with the columns modality, dataset, case (others are passed over). A case may be named
    in full (`2DBox_MR_acdc_017`) or by what follows the dataset (`017`). Raises ValueError or OSError."""
    table: dict[str, Origin] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"modality", "dataset", "case"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name}: the header must have the columns modality, dataset, case; "
                             f"missing: {', '.join(sorted(missing))}")
        for row in reader:
            origin, case = Origin(row["modality"], row["dataset"]), row["case"].removesuffix(".npz")
            table[f"{origin.modality}_{origin.dataset}_{case}"] = origin
            table[case] = origin
    return table
