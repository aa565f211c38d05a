"""Figures of a run: CSV always, elsewhere when asked."""

import sys
import types

import pytest

from training.log import Log, read_log
from training.mirrors import open_mirror


def test_rows_after_the_step_of_a_resumed_run_are_dropped_and_not_shown_again(tmp_path):
    shown = []
    log = Log(tmp_path / "train.csv", 1)
    for step in (1, 2, 3):
        log.add(step=step, loss=1 / step)
    resumed = Log(tmp_path / "train.csv", 3, (lambda step, values: shown.append((step, values)),))
    assert [row["step"] for row in read_log(tmp_path / "train.csv")] == ["1", "2"]
    resumed.add(step=3, loss=0.25)
    assert read_log(tmp_path / "train.csv")[-1] == {"step": "3", "loss": "0.25"}
    assert shown == [(3, {"train/loss": 0.25})]


def test_tensorboard_and_wandb_are_given_what_the_csv_is(tmp_path, monkeypatch):
    given = []

    class Writer:
        def __init__(self, folder):
            given.append(folder)

        def add_scalar(self, key, value, step):
            given.append((key, value, step))

        def flush(self):
            given.append("flushed")

    class Run:
        def log(self, values, step):
            given.append((values, step))

    def init(**settings):
        given.append(settings)
        return Run()

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    open_mirror("tensorboard", tmp_path, {})(7, {"train/loss": 0.5})
    assert given == [str(tmp_path), ("train/loss", 0.5, 7), "flushed"]
    given.clear()
    open_mirror("wandb", tmp_path / "first", {"seed": 3})(8, {"train/loss": 0.25})
    assert given[0]["name"] == "first" and given[0]["config"] == {"seed": 3}
    assert given[1] == ({"train/loss": 0.25}, 8)


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="--log wandb needs a package: pip install wandb"):
        open_mirror("wandb", tmp_path, {})
    with pytest.raises(ValueError, match="--log must be one of tensorboard, wandb; got paper"):
        open_mirror("paper", tmp_path, {})
