"""Masks on disk: whole or not at all."""

import errno
import os
import stat

import numpy as np
import pytest

from inference.case import CaseError, write_segs

SEGS = np.array([[0, 1, 2], [2, 1, 0]], np.uint16)


def test_written_as_the_contract_says(tmp_path):
    write_segs(tmp_path / "2Da.npz", SEGS)
    assert os.listdir(tmp_path) == ["2Da.npz"]
    with np.load(tmp_path / "2Da.npz", allow_pickle=False) as loaded:
        assert loaded.files == ["segs"] and np.array_equal(loaded["segs"], SEGS)


@pytest.mark.parametrize("highest, dtype", [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_smallest_type_that_holds_the_labels(tmp_path, highest, dtype):
    segs = np.array([[0, highest]], np.int64)
    write_segs(tmp_path / "2Da.npz", segs)
    loaded = np.load(tmp_path / "2Da.npz")["segs"]
    assert loaded.dtype == dtype and np.array_equal(loaded, segs)


@pytest.mark.parametrize("segs", [np.array([[-1]]), np.array([[65536]]), np.array([[0.5]])])
def test_labels_that_no_uint16_holds(tmp_path, segs):
    with pytest.raises(CaseError, match=r"^2Da.npz: segs must be integers 0..65535; got "):
        write_segs(tmp_path / "2Da.npz", segs)
    assert os.listdir(tmp_path) == []


def test_compressed_and_the_same_bytes_each_time(tmp_path):
    segs = np.zeros((40, 256, 256), np.uint8)
    segs[10:20, 50:200, 60:180] = 3
    write_segs(tmp_path / "a.npz", segs)
    write_segs(tmp_path / "b.npz", segs)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").stat().st_size < segs.nbytes / 50


def test_an_older_result_is_replaced(tmp_path):
    (tmp_path / "2Da.npz").write_text("older")
    write_segs(tmp_path / "2Da.npz", SEGS)
    assert np.array_equal(np.load(tmp_path / "2Da.npz")["segs"], SEGS)


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        write_segs(tmp_path / "2Da.npz", SEGS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "2Da.npz").stat().st_mode) == 0o644


def test_longest_name_that_a_file_can_have(tmp_path):
    name = "2D" + "x" * 249 + ".npz"
    write_segs(tmp_path / name, SEGS)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_result_and_nothing_else(tmp_path, monkeypatch, step, error):
    (tmp_path / "2Da.npz").write_text("older")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    expected = CaseError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_segs(tmp_path / "2Da.npz", SEGS)
    if expected is CaseError:
        assert str(caught.value) == f"2Da.npz: cannot be written to {tmp_path}; got No space left on device"
    assert os.listdir(tmp_path) == ["2Da.npz"] and (tmp_path / "2Da.npz").read_text() == "older"


def test_no_such_folder(tmp_path):
    with pytest.raises(CaseError, match="2Da.npz: cannot be written to .*nowhere; got No such file or directory"):
        write_segs(tmp_path / "nowhere" / "2Da.npz", SEGS)


def test_a_disk_that_is_full(full_disk):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    with pytest.raises(CaseError, match="2Da.npz: cannot be written to .*; got No space left on device"):
        write_segs(full_disk / "2Da.npz", noise)
    assert os.listdir(full_disk) == []
    write_segs(full_disk / "2Db.npz", np.zeros((200, 200), np.uint8))
    assert os.listdir(full_disk) == ["2Db.npz"]
