"""The harness keeps the challenge's contract (CVPR24_time_eval.py): command line, one case a container, table."""

import csv
import gzip

from time_eval.__main__ import main


def _rows(out, team):
    with (out / team / f"{team}_running_time.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_command_line_is_the_challenges(docker_log, make_cases, tmp_path):
    images = str(make_cases("2DBox_good"))
    assert main(["--images", images, "--out", str(tmp_path / "out"), "--image", "seno:latest"]) == 0
    run = [line for line in docker_log.read_text().splitlines() if line.startswith("container run")][-1]
    work = run.split(" -v ")[1].removesuffix("/inputs/:/workspace/inputs/")
    assert run == (f"container run -m 8G --name seno --rm -v {work}/inputs/:/workspace/inputs/ "
                   f"-v {work}/outputs/:/workspace/outputs/ seno:latest /bin/bash -c sh predict.sh")


def test_hardened_adds_two_flags(docker_log, make_cases, tmp_path):
    images = str(make_cases("2DBox_good"))
    assert main(["--images", images, "--out", str(tmp_path / "out"), "--hardened", "--memory", "2G"]) == 0
    assert "container run -m 2G --name medseg-laptop --rm --network none --read-only -v " in docker_log.read_text()


def test_one_case_a_container_after_an_empty_warm_up(docker_log, make_cases, tmp_path):
    assert main(["--images", str(make_cases("2DBox_b", "2DBox_a", "3DBox_c")), "--out", str(tmp_path / "out")]) == 0
    given = [line for line in docker_log.read_text().splitlines() if line.startswith("inputs:")]
    assert given == ["inputs: ", "inputs: 2DBox_a.npz ", "inputs: 2DBox_b.npz ", "inputs: 3DBox_c.npz "]


def test_table_and_masks(docker_log, make_cases, tmp_path):
    images = make_cases("2DBox_a", "3DBox_b")
    assert main(["--images", str(images), "--out", str(tmp_path / "out"), "--team", "us"]) == 0
    table = (tmp_path / "out/us/us_running_time.csv").read_text()
    assert table.startswith("CaseName,RunningTime,")
    rows = _rows(tmp_path / "out", "us")
    assert [row["CaseName"] for row in rows] == ["2DBox_a.npz", "3DBox_b.npz"]
    for row in rows:
        assert 0.2 <= float(row["RunningTime"]) < 2   # the stand-in sleeps 0.2 s
        assert row["ExitCode"] == "0" and row["Reason"] == ""
        assert (tmp_path / "out/us" / row["CaseName"]).read_bytes() == (images / row["CaseName"]).read_bytes()


def test_tars_are_named_by_the_text_before_the_first_dot(docker_log, make_cases, tmp_path):
    tars = tmp_path / "tars"
    tars.mkdir()
    (tars / "Team.v2.tar.gz").write_bytes(gzip.compress(b"an image"))
    assert main(["--images", str(make_cases("2DBox_a")), "--out", str(tmp_path / "out"), "--tar", str(tars)]) == 0
    calls = docker_log.read_text().splitlines()
    assert calls[:2] == ["image load", "loaded: an image"]
    assert calls[-1] == "image rm team:latest"
    assert [row["CaseName"] for row in _rows(tmp_path / "out", "team")] == ["2DBox_a.npz"]


def test_baseline_true(docker_log, make_cases, tmp_path, capsys):
    assert main(["--images", str(make_cases("2DBox_a")), "--out", str(tmp_path / "out"), "--baseline-true"]) == 0
    runs = [line for line in docker_log.read_text().splitlines() if line.endswith(" medseg-laptop:latest true")]
    assert runs == ["container run -m 8G --name medseg-laptop --rm medseg-laptop:latest true"] * 5
    assert "A container that runs `true`: median" in capsys.readouterr().out
