"""The timing harness over a real engine: tar loaded, every case timed in its own container, image removed."""

import csv
import subprocess

import pytest

from time_eval.__main__ import main

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_times_the_tar(docker, bundle, cases, repo, tmp_path):
    arguments = ["--images", str(repo / "test_input"), "--out", str(tmp_path), "--tar", str(bundle.parent)]
    assert main([*arguments, "--runner", docker, "--baseline-true"]) == 0
    with (tmp_path / "medseg-test/medseg-test_running_time.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["CaseName"] for row in rows] == [case.name for case in cases]
    for row in rows:
        assert (row["ExitCode"], row["Reason"]) == ("0", "")
        # A container start alone takes 0.1 s and more; Python with numpy and OpenVINO is resident in some 60 MB.
        assert 0.1 < float(row["RunningTime"]) < 120
        assert 0.05 < float(row["CpuSeconds"]) < 240
        assert 50 < float(row["PeakRssMB"]) < 8000
        assert 5 < float(row["PeakMemoryMB"]) < 8000
        assert (tmp_path / "medseg-test" / row["CaseName"]).is_file()
    gone = subprocess.run([docker, "image", "inspect", "medseg-test:latest"], capture_output=True)
    assert gone.returncode != 0
