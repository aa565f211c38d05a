"""A container that fails, hangs or writes nothing costs its own case only, and nothing is left behind."""

import csv
import gzip
import os
import signal
import subprocess
import sys
import time

import pytest

from time_eval.__main__ import main


def _reasons(out, team="medseg-laptop"):
    with (out / team / f"{team}_running_time.csv").open(newline="") as file:
        return {row["CaseName"]: row["Reason"] for row in csv.DictReader(file)}


def test_bad_cases_get_a_reason_and_the_others_go_on(docker_log, make_cases, tmp_path, capsys):
    images = make_cases("2D_1good", "2D_2fail", "2D_3nothing", "2D_4hang", "2D_5kill", "2D_6good")
    assert main(["--images", str(images), "--out", str(tmp_path / "out"), "--timeout", "1"]) == 1
    assert _reasons(tmp_path / "out") == {
        "2D_1good.npz": "",
        "2D_2fail.npz": "exit code 3: Segmentation went wrong",
        "2D_3nothing.npz": "wrote no masks: (it printed nothing)",
        "2D_4hang.npz": "stopped after 1 s (--timeout)",
        "2D_5kill.npz": "killed (exit code 137): out of memory?",
        "2D_6good.npz": "",
    }
    assert "container rm --force medseg-laptop" in docker_log.read_text()
    assert os.listdir(tmp_path / "tmp") == []
    summary = capsys.readouterr().out
    assert "| 2D | 2 | 4 |" in summary and "| all | 2 | 4 |" in summary
    assert "- 2D_2fail.npz: exit code 3" in summary


def test_a_tar_that_does_not_load_costs_its_own_team_only(docker_log, make_cases, tmp_path, capsys):
    tars = tmp_path / "tars"
    tars.mkdir()
    for name, content in (("broken", b"broken"), ("cut", gzip.compress(b"an image")[:-9]), ("fine", b"an image")):
        (tars / f"{name}.tar.gz").write_bytes(content)
    assert main(["--images", str(make_cases("2D_good")), "--out", str(tmp_path / "out"), "--tar", str(tars)]) == 1
    said = capsys.readouterr().err
    assert "broken: broken.tar.gz: docker image load failed: invalid tar header" in said
    assert "cut: cut.tar.gz: docker image load failed: Compressed file ended before the end-of-stream marker" in said
    assert _reasons(tmp_path / "out", "fine") == {"2D_good.npz": ""}
    assert "image rm broken" not in docker_log.read_text()


def test_missing_image_is_one_line(docker_log, make_cases, tmp_path, capsys):
    images = str(make_cases("2D_good"))
    assert main(["--images", images, "--out", str(tmp_path / "out"), "--image", "absent:latest"]) == 1
    assert "absent: docker has no image absent:latest" in capsys.readouterr().err


def test_missing_engine_is_one_line(make_cases, tmp_path, monkeypatch, capsys):
    images = make_cases("2D_good")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--images", str(images), "--out", str(tmp_path / "out"), "--runner", "podman"]) == 1
    assert "podman cannot be run: No such file or directory" in capsys.readouterr().err


def test_foreign_result_folder_is_left_alone(docker_log, make_cases, tmp_path, capsys):
    mine = tmp_path / "out/medseg-laptop/thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    assert main(["--images", str(make_cases("2D_good")), "--out", str(tmp_path / "out")]) == 1
    assert mine.read_text() == "years of work"
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["--images", "nowhere", "--out", "out"],
    ["--images", ".", "--out", "out", "--tar", "."],
    ["--images", ".", "--out", "out", "--runner", "bare", "--hardened"],
])
def test_bad_arguments_exit_with_2(arguments, tmp_path, monkeypatch):
    (tmp_path / "2D_a.npz").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_cleans_up_and_keeps_the_rows(docker_log, make_cases, tmp_path, repo, number):
    images = make_cases("2D_1good", "2D_2hang")
    harness = subprocess.Popen(
        [sys.executable, "-m", "time_eval", "--images", str(images), "--out", str(tmp_path / "out")],
        cwd=repo, stderr=subprocess.PIPE, text=True)
    while "2D_2hang.npz" not in docker_log.read_text():
        assert harness.poll() is None, harness.stderr.read()
        time.sleep(0.05)
    harness.send_signal(number)
    assert harness.wait(timeout=20) == 130
    assert "interrupted" in harness.stderr.read()
    assert docker_log.read_text().splitlines()[-1] == "container rm --force medseg-laptop"
    assert os.listdir(tmp_path / "tmp") == []
    assert _reasons(tmp_path / "out") == {"2D_1good.npz": ""}
