"""The made volume, and the table of `python -m time_eval.propagation`."""

import csv
import json

import numpy as np
import pytest

from time_eval import propagation


def test_the_volume_shows_what_is_to_be_carried():
    volume = propagation.Volume(40, 64, 3)
    assert len(volume) == 40
    for z in (0, 39):
        image, masks = volume[z], volume.masks(z)
        assert image.shape == (64, 64) and image.dtype == np.uint8 and masks.shape == (3, 64, 64)
        assert masks.any(axis=(1, 2)).all()
        assert image[masks.any(axis=0)].min() > image[~masks.any(axis=0)].max()
    steps = [(volume.masks(z) != volume.masks(z + 1)).sum() for z in range(39)]
    assert any(steps) and max(steps) < 0.25 * volume.masks(0).sum()  # from slice to slice little changes
    np.testing.assert_array_equal(volume[7], propagation.Volume(40, 64, 3)[7])


def test_a_row(monkeypatch, capsys):
    asked = []

    class Sequence:
        def __init__(self, tracker, volume):
            asked.append((tracker, len(volume)))

        def add_masks(self, frame, masks):
            asked.append((frame, masks.shape))

        def propagate(self, first, last):
            asked.append((first, last))
            for z in range(first, last + 1):
                yield z, None

    monkeypatch.setattr("inference.segment.propagate.Sequence", Sequence)
    monkeypatch.setattr("inference.segment.propagate.open_tracker", lambda model, engine: (model, engine))
    assert propagation.main(["--one", "--model", "m", "--engines", "e", "--slices", "9", "--side", "32", "--objects", "2"]) == 0
    assert asked == [(("m", "e"), 9), (0, (2, 32, 32)), (1, 8)]
    row = json.loads(capsys.readouterr().out)
    assert tuple(row) == propagation.COLUMNS
    assert (row["slices"], row["side_px"], row["objects"]) == (9, 32, 2)
    assert 0 <= row["s_per_slice"] < 1 and row["peak_mb"] > 1


def test_a_table_of_processes(monkeypatch, tmp_path):
    class Done:
        returncode = 0

        def __init__(self, command, **_):
            values = dict(zip(command[4::2], command[5::2]))
            row = dict.fromkeys(propagation.COLUMNS, 0.25)
            self.stdout = "noise\n" + json.dumps(row | {"engine": values["--engines"], "slices": int(values["--slices"])})

    monkeypatch.setattr(propagation.subprocess, "run", Done)
    table = tmp_path / "results" / "table.csv"
    assert propagation.main(["--csv", str(table), "--engines", "a", "b", "--slices", "5", "6"]) == 0
    with open(table, newline="", encoding="utf-8") as file:
        found = [(row["engine"], row["slices"]) for row in csv.DictReader(file)]
    assert found == [("a", "5"), ("a", "6"), ("b", "5"), ("b", "6")]


@pytest.mark.parametrize("wrong", [["--slices", "2"], ["--objects", "0"]])
def test_bad_arguments(wrong):
    assert propagation.main(wrong) == 2
