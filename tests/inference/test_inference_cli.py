"""`python -m inference`: arguments, exit statuses, what it prints, what it leaves behind."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from inference.__main__ import main
from inference.engines import EngineError
from inference.weights import WeightsError

BOXES = np.array([[3, 4, 10, 12], [0, 0, 5, 5]])
EXPECTED = np.zeros((20, 30), np.uint8)
EXPECTED[4:13, 3:11] = 1
EXPECTED[0:6, 0:6] = 2


@pytest.fixture
def folders(tmp_path, write_case, image):
    """Input folder with three cases and output folder, as strings."""
    for name in ("2Dc.npz", "2Da.npz", "2Db.npz"):
        write_case(name, tmp_path / "in", imgs=image, boxes=BOXES)
    return str(tmp_path / "in"), str(tmp_path / "out")


def test_writes_each_case_under_its_name(folders, box_filler, capsys):
    inputs, outputs = folders
    assert main(["-i", inputs, "-o", outputs]) == 0
    assert sorted(os.listdir(outputs)) == ["2Da.npz", "2Db.npz", "2Dc.npz"]
    loaded = np.load(f"{outputs}/2Da.npz")
    assert loaded.files == ["segs"] and loaded["segs"].dtype == np.uint8
    assert np.array_equal(loaded["segs"], EXPECTED)
    assert capsys.readouterr() == (f"3 of 3 cases written to {outputs}\n", "")
    assert box_filler == [("roi", "openvino", "cpu", False)]


def test_volume(tmp_path, write_case, box_filler):
    write_case("3Da.npz", tmp_path / "in", imgs=np.zeros((6, 10, 12), np.uint8), boxes=np.array([[1, 2, 3, 4, 5, 9]]))
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    expected = np.zeros((6, 10, 12), np.uint8)
    expected[3:, 2:6, 1:5] = 1
    assert np.array_equal(np.load(tmp_path / "out" / "3Da.npz")["segs"], expected)


def test_300_boxes_do_not_wrap(tmp_path, write_case, box_filler):
    boxes = np.array([[i % 20, i // 20, i % 20, i // 20] for i in range(300)])
    write_case("2Da.npz", tmp_path / "in", imgs=np.zeros((15, 20), np.uint8), boxes=boxes)
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    assert np.array_equal(np.load(tmp_path / "out" / "2Da.npz")["segs"], np.arange(1, 301).reshape(15, 20))


def test_cases_are_taken_in_order_and_from_the_folder_itself(folders, box_filler, capsys, write_case, tmp_path, image):
    inputs, outputs = folders
    write_case("2Dx.npz", tmp_path / "in" / "truth", gts=image)
    for name in (".2Dd.npz", ".writing-0123.tmp", "._2De.npz", "readme.txt", "2Df.npz.part"):
        (tmp_path / "in" / name).write_bytes(b"none of my business")
    assert main(["-i", inputs, "-o", outputs, "-v"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["open", "2Da.npz", "2Db.npz", "2Dc.npz", "3"]


def test_timing_names_the_parts(folders, box_filler, capsys):
    inputs, outputs = folders
    main(["-i", inputs, "-o", outputs, "--timing"])
    words = capsys.readouterr().out.splitlines()[1].split()
    assert words[:3] == ["2Da.npz", "objects", "2"]
    assert [words[i] for i in (3, 6, 9, 12)] == ["read", "segment", "write", "peak"]
    assert all(float(words[i]) >= 0 for i in (4, 7, 10)) and {words[i] for i in (5, 8, 11)} == {"ms"}
    assert float(words[13]) > 10 and words[14] == "MB"


def test_an_empty_folder_is_no_failure(tmp_path, box_filler, capsys):
    (tmp_path / "in").mkdir()
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr() == (f"no case in {tmp_path / 'in'}: nothing to do\n", "")
    assert os.listdir(tmp_path) == ["in"] and box_filler == []


def test_no_input_folder(tmp_path, box_filler, capsys):
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"error: input folder {tmp_path / 'in'} must be a folder that can be read; got " \
                                      "No such file or directory\n"
    assert os.listdir(tmp_path) == [] and box_filler == []


def test_inputs_are_never_overwritten(folders, box_filler, capsys):
    inputs, _ = folders
    assert main(["-i", inputs, "-o", f"{inputs}/../in"]) == 2
    assert "output folder must not be the input folder" in capsys.readouterr().err
    assert sorted(np.load(f"{inputs}/2Da.npz").files) == ["boxes", "imgs"] and box_filler == []


@pytest.mark.parametrize("arguments", ["", "-i a", "-o b", "-i a -o b --engine torch", "-i a -o b --backend tpu",
                                       "-i a -o b --no-such"])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as status:
        main(arguments.split())
    assert status.value.code == 2


def test_gpu_takes_jittor_and_nothing_else(folders, box_filler, capsys):
    inputs, outputs = folders
    assert main(["-i", inputs, "-o", outputs, "--backend", "gpu", "--model", "roi2d"]) == 0
    assert box_filler == [("roi2d", "jittor", "gpu", False)]
    assert main(["-i", inputs, "-o", outputs, "--backend", "gpu", "--engine", "openvino"]) == 2
    assert capsys.readouterr().err == "error: --backend gpu must have --engine jittor; got openvino\n"


@pytest.mark.parametrize("error", [EngineError("engine x must be installed"), WeightsError("model must be one of x"),
                                   OSError("no library")])
def test_a_model_that_cannot_be_opened(folders, monkeypatch, capsys, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr("inference.segment.open_segmenter", refuse, raising=False)
    assert main(["-i", folders[0], "-o", folders[1]]) == 2
    text = "OSError: no library" if isinstance(error, OSError) else str(error)
    assert capsys.readouterr().err == f"error: {text}\n" and os.listdir(folders[1]) == []


@pytest.mark.parametrize("debug", [False, True])
def test_whatever_happens_to_one_case_the_others_are_done(folders, monkeypatch, capsys, debug):
    def segment(case):
        if case.name == "2Db":
            raise MemoryError("no 7 GiB\nfor it")
        return EXPECTED

    monkeypatch.setattr("inference.segment.open_segmenter", lambda *_: segment, raising=False)
    inputs, outputs = folders
    assert main(["-i", inputs, "-o", outputs] + ["--debug"] * debug) == 1
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1] == "error: 2Db.npz: MemoryError: no 7 GiB for it"
    assert ("Traceback" in printed.err) == debug and (debug or printed.err.count("\n") == 1)
    assert printed.out == f"2 of 3 cases written to {outputs}\n"
    assert sorted(os.listdir(outputs)) == ["2Da.npz", "2Dc.npz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("count", [1, 3])
def test_a_signal_leaves_no_partial_file(folders, repo, number, count):
    """Stopped in the middle of writing, between the last byte and the rename: of a single case at once, and nothing is left;
    of the second of several, which a thread writes, when that one is whole."""
    stalling = """if True:
        import os, runpy, sys, time
        import numpy as np
        import inference.segment
        inference.segment.open_segmenter = lambda *_: lambda case: np.zeros(case.image.shape, np.uint8)
        replace, names, stall_at = os.replace, [], int(sys.argv.pop())
        def stall(source, target):
            names.append(target)
            if len(names) == stall_at:
                print("writing", flush=True)
                time.sleep(60 if stall_at == 1 else 2)
            replace(source, target)
        os.replace = stall
        runpy.run_module("inference", run_name="__main__", alter_sys=True)
    """
    inputs, outputs = folders
    for name in ("2Db.npz", "2Dc.npz")[: 3 - count]:
        os.remove(f"{inputs}/{name}")
    process = subprocess.Popen([sys.executable, "-c", stalling, "-i", inputs, "-o", outputs, "1" if count == 1 else "2"],
                               cwd=repo, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 130 and complaint == "error: interrupted\n"
    assert sorted(os.listdir(outputs)) == ([] if count == 1 else ["2Da.npz", "2Db.npz"])


def test_arguments_are_checked_before_anything_heavy_is_imported(repo):
    code = "import sys, inference.__main__; sys.exit(bool({'numpy', 'openvino', 'inference.case'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo).returncode == 0


def test_children_of_the_command_end_at_a_sigterm(folders, repo):
    """Jittor forks compilers and ends them so; one that took it for Ctrl-C would wait for ever."""
    forking = """if True:
        import os, runpy, signal, time
        import numpy as np
        import inference.segment
        def segment(case):
            ready, tell = os.pipe()
            child = os.fork()
            if not child:
                os.write(tell, b"ready")
                time.sleep(60)
            os.read(ready, 5)
            os.kill(child, signal.SIGTERM)
            print(os.WTERMSIG(os.waitpid(child, 0)[1]))
            return np.zeros(case.image.shape, np.uint8)
        inference.segment.open_segmenter = lambda *_: segment
        runpy.run_module("inference", run_name="__main__", alter_sys=True)
    """
    run = subprocess.run([sys.executable, "-c", forking, "-i", folders[0], "-o", folders[1]], cwd=repo, text=True,
                         capture_output=True, timeout=30)
    assert run.returncode == 0 and run.stdout.splitlines()[:3] == [str(signal.SIGTERM.value)] * 3
