"""What is measured: CPU seconds and memory of a process, a control group's counters, and the summary's arithmetic."""

import json
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from time_eval.cgroup import GroupWatch, Usage, container_groups, read_usage
from time_eval.harness import CaseTime, dimension
from time_eval.report import summary

ID = "0123456789abcdef" * 4


# In a process of its own: pytest's is large by now, and a started process shows at least its starter's peak memory.
MEASURE = """
import json, sys
from pathlib import Path
from time_eval import runners
from time_eval.harness import time_case, work_folder
script, image, segs = map(Path, sys.argv[1:])
runners.PREDICT = script
with work_folder() as work:
    row = time_case(runners.BareRunner(timeout_s=60), image, work, segs)
print(json.dumps([row.exit_code, row.reason, row.elapsed_s, row.usage.resident_mb, row.usage.cpu_s, work.exists()]))
"""


def test_bare_run_measures_memory_cpu_and_wall(tmp_path, repo):
    """A process that fills 300 MB, computes for 0.3 s of CPU and sleeps for 0.3 s."""
    program = tmp_path / "work.py"
    program.write_text("import time\nblock = b'x' * 300_000_000\n"
                       "while time.process_time() < 0.3: pass\ntime.sleep(0.3)\n")
    script = tmp_path / "predict.sh"
    script.write_text(f'"{sys.executable}" "{program}"\ncp "$INPUTS"/* "$OUTPUTS"\n')
    image = tmp_path / "2D_case.npz"
    image.write_bytes(b"anything")
    segs = tmp_path / "segs"
    segs.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = subprocess.run([sys.executable, "-c", MEASURE, script, image, segs], cwd=repo, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert measured.returncode == 0, measured.stderr
    exit_code, reason, elapsed_s, resident_mb, cpu_s, work_left = json.loads(measured.stdout)
    assert (exit_code, reason, work_left) == (0, "", False)
    assert (segs / "2D_case.npz").read_bytes() == b"anything"
    assert 300 <= resident_mb <= 340
    # The kernel's account of everything, the measuring process included: on a busy machine start-up alone may take 0.7 s.
    assert 0.3 <= cpu_s <= after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert elapsed_s >= 0.6


def _group_v1(root, name, peak, cpu_ns):
    for controller in ("memory", "cpuacct"):
        (root / controller / "docker" / name).mkdir(parents=True)
    (root / "memory/docker" / name / "memory.max_usage_in_bytes").write_text(f"{peak}\n")
    (root / "memory/docker" / name / "cgroup.procs").write_text("")
    (root / "cpuacct/docker" / name / "cpuacct.usage").write_text(f"{cpu_ns}\n")
    return root / "memory/docker" / name


def test_cgroup_v1(tmp_path):
    group = _group_v1(tmp_path, ID, 50_000_000, 1_250_000_000)
    (tmp_path / "memory/docker/memory.stat").touch()
    assert container_groups(tmp_path) == {ID: group}
    assert read_usage(group, tmp_path) == Usage(charged_mb=50.0, resident_mb=0.0, cpu_s=1.25)


@pytest.mark.parametrize("place", [
    f"docker/{ID}", f"system.slice/docker-{ID}.scope", f"machine.slice/libpod-{ID}.scope",
    f"user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
])
@pytest.mark.parametrize("counter", ["memory.peak", "memory.current"])
def test_cgroup_v2(tmp_path, place, counter):
    group = tmp_path / place
    group.mkdir(parents=True)
    (group / counter).write_text("123000000\n")
    (group / "cgroup.procs").write_text("")
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    assert container_groups(tmp_path) == {ID: group}
    assert read_usage(group, tmp_path) == Usage(charged_mb=123.0, resident_mb=0.0, cpu_s=2.5)


def test_watch_follows_the_new_container_to_its_highest_counters(tmp_path):
    _group_v1(tmp_path, "a" * 64, 1, 1)   # one that was there before
    with GroupWatch(lambda: pytest.fail("only one is new"), tmp_path) as watch:
        group = _group_v1(tmp_path, ID, 10_000_000, 100_000_000)
        time.sleep(0.2)
        (group / "memory.max_usage_in_bytes").write_text("30000000")
        time.sleep(0.2)
    assert watch.usage == Usage(charged_mb=30.0, resident_mb=0.0, cpu_s=0.1)


def test_watch_asks_which_container_when_two_are_new(tmp_path):
    with GroupWatch(lambda: ID, tmp_path) as watch:
        _group_v1(tmp_path / "elsewhere", "b" * 64, 1, 1)
        _group_v1(tmp_path / "elsewhere", ID, 20_000_000, 0)
        for controller in ("memory", "cpuacct"):   # both appear in one step
            (tmp_path / "elsewhere" / controller).rename(tmp_path / controller)
        time.sleep(0.2)
    assert watch.usage == Usage(charged_mb=20.0, resident_mb=0.0, cpu_s=0.0)


def test_dimension_by_prefix_then_by_boxes(tmp_path):
    for name, boxes in (("other_flat", (2, 4)), ("other_volume", (1, 6))):
        np.savez(tmp_path / f"{name}.npz", boxes=np.zeros(boxes, int))
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    expected = {"2DBox_x": "2D", "3DBox_x": "3D", "other_flat": "2D", "other_volume": "3D", "broken": "?"}
    assert {name: dimension(tmp_path / f"{name}.npz") for name in expected} == expected


def test_summary_by_hand():
    rows = [
        ("2D", CaseTime("2D_a.npz", 1.0, Usage(40, 90, 0.5), 0, "")),
        ("2D", CaseTime("2D_b.npz", 2.0, Usage(60, 80, 0.7), 0, "")),
        ("2D", CaseTime("2D_c.npz", 6.0, None, 0, "")),
        ("2D", CaseTime("2D_d.npz", 99.0, None, 3, "exit code 3: no")),
        ("3D", CaseTime("3D_e.npz", 4.0, Usage(70, 100, 3.0), 0, "")),
    ]
    text = summary("us", "docker", rows, [0.5, 0.3, 0.4])
    assert "| 2D | 3 | 1 | 2.000 | 3.000 | 6.000 | 0.600 | 90 | 60 |" in text
    assert "| 3D | 1 | 0 | 4.000 | 4.000 | 4.000 | 3.000 | 100 | 70 |" in text
    assert "| all | 4 | 1 | 3.000 | 3.250 | 6.000 | 0.700 | 100 | 70 |" in text
    assert "median 0.400 s of 3" in text
    assert "- 2D_d.npz: exit code 3: no" in text
