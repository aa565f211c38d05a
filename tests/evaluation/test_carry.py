"""Carrying a mask: which slices count, and what the rivals score, by hand."""

import numpy as np
import pytest

from evaluation import carry


class Shifting:
    """A `Sequence` whose objects move one px to the right for each slice upwards from the prompt."""

    def __init__(self, tracker, volume):
        self.calls = tracker

    def add_masks(self, frame, masks):
        self.frame, self.mask = frame, masks[0]

    def forget_tracked(self):
        self.calls.append("forget")

    def propagate(self, first, last):
        self.calls.append((first, last))
        step = 1 if first <= last else -1
        for z in range(first, last + step, step):
            yield z, np.where(np.roll(self.mask, z - self.frame, axis=1), 5.0, -5.0)[None]


@pytest.fixture(autouse=True)
def shifting(monkeypatch):
    monkeypatch.setattr(carry, "Sequence", Shifting)


def volume(*columns):
    """gts (len(columns), 4, 12): a bar of label 3, two px wide, that begins at the given column of each slice; None: none."""
    gts = np.zeros((len(columns), 4, 12), np.uint8)
    for z, column in enumerate(columns):
        if column is not None:
            gts[z, 1:3, column : column + 2] = 3
    return gts


def test_a_mask_that_moves_as_the_model_says():
    calls = []
    gts = volume(None, 2, 3, 4, 5, 6, None)
    row, = carry.score_volume(calls, "3D_MR_a_1", gts, gts, None)
    assert calls == [(3, 5), "forget", (3, 1)]
    assert (row.label, row.slices, row.carried) == (3, 4, 1.0) and np.isnan(row.others)
    # Copied: the neighbours overlap by half, the others not at all.
    assert row.copied == pytest.approx(2 * 4 / 32)


def test_other_predictions_count_on_the_same_slices():
    gts = volume(2, 3, 4)
    segs = gts.copy()
    segs[0] = 0  # half of what counts is missed
    row, = carry.score_volume([], "v", gts, gts, segs)
    assert row.others == pytest.approx(2 * 4 / 12)
    segs = gts.copy()
    segs[1] = 0  # the prompted slice does not count
    row, = carry.score_volume([], "v", gts, gts, segs)
    assert row.others == 1


def test_an_object_on_one_slice_is_passed_over():
    assert carry.score_volume([], "v", volume(None, 2, None), volume(None, 2, None), None) == []


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(carry, "open_tracker", lambda model, engine: [])
    for folder in ("imgs", "gts"):
        (tmp_path / folder).mkdir()
    for case, gts in (("1", volume(2, 3, 4)), ("2", volume(4, 4, 4))):
        boxes = np.array([[2, 1, 0, 5, 2, 2]])
        np.savez(tmp_path / "imgs" / f"3DBox_MR_bars_{case}.npz", imgs=gts, boxes=boxes, spacing=[1, 1, 1])
        np.savez(tmp_path / "gts" / f"3DBox_MR_bars_{case}.npz", gts=gts, spacing=[1, 1, 1])
    np.savez(tmp_path / "gts" / "3DBox_MR_bars_3.npz", gts=volume(1, 1), spacing=[1, 1, 1])
    table = tmp_path / "out" / "carry.csv"
    assert carry.main([str(tmp_path / "imgs"), str(tmp_path / "gts"), "--csv", str(table)]) == carry.SOME_FAILED
    lines = table.read_text().splitlines()
    assert lines[0] == "case,label,slices,carried,copied,others"
    assert lines[1:] == ["3DBox_MR_bars_1,3,2,1.0,0.5,nan", "3DBox_MR_bars_2,3,2,0.5,1.0,nan"]
    printed = capsys.readouterr()
    assert "MR bars" in printed.out and "0.750" in printed.out
    assert "3DBox_MR_bars_3.npz" in printed.err
    assert carry.main([str(tmp_path / "imgs"), str(tmp_path / "nowhere"), "--csv", str(table)]) == carry.BAD_ARGUMENTS
