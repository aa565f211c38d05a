"""The Makefile offers the commands that the README names; make only plans here, it runs none of them."""

import os
import re
import subprocess

import pytest

COMMANDS = ("help", "run", "test", "check", "score", "time", "bench", "export", "weights", "bundle")

# As if both set-ups were done: nothing is installed from within a test.
READY = ("-o", ".venv/.dev-ready", "-o", ".venv/.runtime-ready")


def _make(repo, *arguments, **environment):
    environment["PATH"] = os.environ["PATH"]   # and no MAKEFLAGS of the make that may run these tests
    return subprocess.run(["make", *arguments], cwd=repo, env=environment, capture_output=True, text=True)


def test_help_lists_every_command_once(repo):
    listed = re.findall(r"^  make (\w+) +\S.*$", _make(repo, "help").stdout, re.MULTILINE)
    assert tuple(listed) == COMMANDS
    assert _make(repo).stdout == _make(repo, "help").stdout


@pytest.mark.parametrize(("command", "planned"), [
    ("run", "sh predict.sh"),
    ("test", ".venv/bin/python -m pytest"),
    ("check", '.venv/bin/python -m ruff check .\n.venv/bin/python -m pytest -m "not slow and not docker"'),
    ("score DATA=some", '.venv/bin/python -m evaluation "out/segs" "some/validation-box/gts" --csv "out/segs.csv"'),
    ("time", '.venv/bin/python -m time_eval --images "test_input" --out out/time --team medseg-laptop'),
    ("export FROM=runs", '.venv/bin/python -m export roi2d --weights "runs/roi2d"'),
    ("bundle TEAM=us", "docker build --network host --target cpu --tag us:latest ."),
    ("bundle CONTAINER=podman", "podman save --output dist/medseg-laptop.tar medseg-laptop:latest"),
])
def test_plan(repo, command, planned):
    plan = _make(repo, "-n", *READY, *command.split())
    assert plan.returncode == 0, plan.stderr
    assert planned in re.sub(r"[ \t]+", " ", plan.stdout)


def test_set_up_comes_first(repo):
    assert _make(repo, "-n", "-B", "test").stdout.splitlines()[0] == "sh tools/setup.sh dev"
    assert _make(repo, "-n", "-B", "run").stdout.splitlines()[0] == "sh tools/setup.sh runtime"


def test_score_without_data_says_what_it_wants(repo):
    done = _make(repo, *READY, "score", "DATA=/nowhere")
    assert done.returncode == 2
    assert "make score DATA=DIR: DIR/validation-box/imgs must be a folder" in done.stdout


def test_a_build_gets_pip_settings_only_where_they_are_set(repo):
    assert "--build-arg" not in _make(repo, "-n", "bundle").stdout
    plan = _make(repo, "-n", "bundle", PIP_INDEX_URL="https://mirror.example/simple").stdout
    assert re.findall(r"--build-arg (\S+)", plan) == ["PIP_INDEX_URL"]
