"""Cases through their steps: one after another, overlapped, over several processes; a failure stops no other."""

import collections
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from inference.__main__ import main
from inference.case import Case
from inference.jobs import spread
from inference.run import Job, Runner

WAIT_S = 60


def _case(path):
    return Case(path.name, np.zeros((2, 3), np.uint8), np.zeros((1 + int(path.name), 4), np.int32))


def _jobs(count):
    return [Job(Path(str(index)), Path(f"{index}.npz")) for index in range(count)]


@pytest.mark.parametrize("way", ["in_turn", "overlapped"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_case_is_read_segmented_and_written_in_order(way, count):
    written = {}

    def read(path):
        return _case(path), written.__setitem__

    done = list(getattr(Runner(read, lambda case: f"labels of {case.name}"), way)(_jobs(count)))
    assert written == {Path(f"{index}.npz"): f"labels of {index}" for index in range(count)}
    assert [(job.path.name, job.objects, job.error, len(job.times_s)) for job in done] == [
        (str(index), index + 1, None, 3) for index in range(count)]


@pytest.mark.parametrize("way", ["in_turn", "overlapped"])
def test_an_error_in_any_step_stops_that_case_alone(way):
    written = []

    def fail(name, step):
        if name == str("read segment write".split().index(step)):
            raise OSError(step)

    def read(path):
        fail(path.name, "read")
        return _case(path), lambda target, segs: (fail(segs, "write"), written.append(segs))

    def segment(case):
        fail(case.name, "segment")
        return case.name

    done = list(getattr(Runner(read, segment), way)(_jobs(5)))
    assert [job.error and job.error.args[0] for job in done] == ["read", "segment", "write", None, None]
    assert [len(job.times_s) for job in done] == [1, 2, 3, 3, 3]
    assert written == ["3", "4"]


def test_the_next_case_is_read_and_the_last_written_while_one_is_segmented():
    """Each step waits for the one that can only run beside it; one after another they would wait for ever."""
    began = collections.defaultdict(threading.Event)
    threads = set()

    def meanwhile(this, other):
        began[this].set()
        assert began[other].wait(WAIT_S), f"{other} did not begin during {this}"

    def read(path):
        index = int(path.name)
        meanwhile(("read", index), ("segment", index - 1) if index else ("read", 0))
        return _case(path), lambda target, segs: meanwhile(("write", index), ("segment", index + 1) if index < 3 else
                                                           ("write", index))

    def segment(case):
        threads.add(threading.current_thread())
        index = int(case.name)
        began["segment", index].set()
        if index < 3:
            assert began["read", index + 1].wait(WAIT_S)
        if index > 0:
            assert began["write", index - 1].wait(WAIT_S)

    done = list(Runner(read, segment).overlapped(_jobs(4)))
    assert [job.error for job in done] == [None] * 4
    assert threads == {threading.current_thread()}  # an engine sees one thread


def test_three_cases_are_in_memory_at_most():
    alive, most = set(), []

    def read(path):
        case = _case(path)
        alive.add(path)
        weakref.finalize(case.image, alive.remove, path)
        return case, lambda target, segs: time.sleep(0.005)

    def segment(case):
        time.sleep(0.005)
        most.append(len(alive))
        if int(case.name) % 2:
            raise ValueError  # whose traceback holds the case

    for job in Runner(read, segment).overlapped(_jobs(30)):
        job.error = None
    assert len(most) == 30 and 2 <= max(most) <= 3


def _work_into(folder, task=lambda index: None):
    def work(number, taken):
        for index in taken:
            task(index)
            with open(folder / "done", "a") as file:
                file.write(f"{index} {number} {os.getpid()}\n")
            yield index, index % 3 > 0
    return work


def _lines(folder):
    return [tuple(map(int, line.split())) for line in (folder / "done").read_text().splitlines()]


def test_each_task_is_done_once_by_one_of_the_processes(tmp_path):
    done, statuses = spread(400, 3, _work_into(tmp_path, lambda index: time.sleep(0.001)))
    assert done == {index: index % 3 > 0 for index in range(400)} and statuses == {0}
    lines = _lines(tmp_path)
    assert sorted(index for index, _, _ in lines) == list(range(400))
    assert len({pid for _, _, pid in lines}) == len({number for _, number, _ in lines}) > 1
    assert os.getpid() not in {pid for _, _, pid in lines}


def test_more_tasks_than_a_pipe_holds():
    done, _ = spread(30_000, 2, lambda number, taken: ((index, True) for index in taken))
    assert len(done) == 30_000


def test_a_process_that_is_killed_loses_its_task_and_no_other(tmp_path):
    done, statuses = spread(40, 2, _work_into(tmp_path, lambda index: index == 7 and os.kill(os.getpid(), signal.SIGKILL)))
    assert set(range(40)) - set(done) == {7} and statuses == {0, -signal.SIGKILL}


def test_with_nobody_left_the_rest_is_missing(tmp_path):
    done, statuses = spread(30_000, 2, _work_into(tmp_path, lambda index: index in (3, 5) and sys.exit(4)))
    assert {3, 5} < set(range(30_000)) - set(done) and statuses == {4}


def test_an_interrupt_ends_all_processes(tmp_path):
    program = (
        "import pathlib, signal, sys, time\nfrom inference.jobs import spread\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "def work(number, taken):\n    for index in taken:\n        try:\n"
        "            pathlib.Path(sys.argv[1], f'begun{number}').touch()\n            time.sleep(600)\n"
        "        finally:\n            pathlib.Path(sys.argv[1], f'cleaned{number}').touch()\n        yield index, True\n"
        "try:\n    spread(9, 2, work)\nexcept KeyboardInterrupt:\n    sys.exit(130)\n")
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path])
    deadline = time.monotonic() + WAIT_S
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(WAIT_S) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun0", "begun1", "cleaned0", "cleaned1"]


@pytest.fixture
def folder_of_five(tmp_path, write_case, image):
    for name in "abcde":
        write_case(f"2D{name}.npz", tmp_path / "in", imgs=image, boxes=np.array([[3, 4, 10, 12]]))
    return ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]


def test_jobs_write_what_one_process_writes(folder_of_five, box_filler, tmp_path, capfd):
    (tmp_path / "in" / "2Dbad.npz").write_bytes(b"no zip")
    assert main([*folder_of_five, "--jobs", "3"]) == 1
    together = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    printed = capfd.readouterr()
    assert printed.out == f"5 of 6 cases written to {tmp_path / 'out'}\n"
    assert printed.err.startswith("error: 2Dbad.npz: must be an npz") and printed.err.count("\n") == 1
    assert main([*folder_of_five[:3], str(tmp_path / "alone")]) == 1
    assert together == {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()} and len(together) == 5


def test_a_case_that_kills_its_process_is_named(folder_of_five, monkeypatch, tmp_path, capfd):
    def segment(case):
        if case.name == "2Dc":
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory has run out
        return np.zeros(case.image.shape[:2], np.uint8)

    monkeypatch.setattr("inference.segment.open_segmenter", lambda *_: segment, raising=False)
    assert main([*folder_of_five, "--jobs", "2"]) == 1
    printed = capfd.readouterr()
    assert printed.err == "error: 2Dc.npz: not done, for a process of --jobs ended by signal 9\n"
    assert printed.out == f"4 of 5 cases written to {tmp_path / 'out'}\n"


def test_a_model_that_none_of_the_jobs_can_open_is_said_once(folder_of_five, monkeypatch, capfd):
    def refuse(*_):
        raise OSError("no library")

    monkeypatch.setattr("inference.segment.open_segmenter", refuse, raising=False)
    assert main([*folder_of_five, "--jobs", "2"]) == 2
    assert capfd.readouterr() == ("", "error: OSError: no library\n")


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_jobs_is_a_count(folder_of_five, jobs, capsys):
    with pytest.raises(SystemExit) as status:
        main([*folder_of_five, "--jobs", jobs])
    assert status.value.code == 2
    assert f"argument --jobs: must be a whole number, at least 1; got '{jobs}'" in capsys.readouterr().err


def test_the_jobs_share_the_threads(folder_of_five, monkeypatch, tmp_path, capfd):
    def filler(*_):
        (tmp_path / f"threads{os.getpid()}").write_text(os.environ["THREADS"])
        return lambda case: np.zeros(case.image.shape[:2], np.uint8)

    monkeypatch.setattr("inference.segment.open_segmenter", filler, raising=False)
    monkeypatch.setenv("THREADS", "7")
    assert main([*folder_of_five, "--jobs", "3"]) == 0
    assert [path.read_text() for path in tmp_path.glob("threads*")] == ["2"] * 3
