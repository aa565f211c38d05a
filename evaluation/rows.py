"""Rows of a table as flat dataclasses: to a CSV and back; and the settings that a folder of results was made with."""

import csv
import dataclasses
import io
import json
from pathlib import Path

from inference.files import write_whole


def to_csv(kind: type, rows: list) -> str:
    """A line for each row, the names of the dataclass `kind`'s fields first."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in dataclasses.fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


def read_csv(kind: type, path: Path) -> list:
    """What `to_csv` gave, with the fields' types. Raises ValueError for anything else, or OSError."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [kind(**{key: types[key](value) for key, value in row.items()}) for row in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: must be a table of this program's; got {type(error).__name__}: {error}") from error


def keep_settings(path: Path, settings: dict, overwrite: bool) -> None:
    """Writes the settings, and refuses to mix results of two: raises ValueError where `path` holds others, unless they are to
    be overwritten. Or OSError."""
    if path.exists() and not overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [key for key in settings if before.get(key) != settings[key]]:
            raise ValueError(f"{path}: the files there were made with other settings ({', '.join(changed)}); add --overwrite, "
                             "or choose another --out")
    write_whole(path, (json.dumps(settings, indent=2) + "\n").encode())
