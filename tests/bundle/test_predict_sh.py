"""predict.sh hands folders and settings to python -m inference, from any folder, through names with spaces."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# In place of inference/: says what it was called with.
PROBE = "import json, os, sys; print(json.dumps([os.getcwd(), os.environ.get('WEIGHTS'), sys.argv[1:]])); sys.exit(7)"


@pytest.fixture
def house(tmp_path, repo) -> Path:
    """A folder with a space in its name that holds predict.sh and a stand-in for inference/."""
    folder = tmp_path / "my house"
    (folder / "inference").mkdir(parents=True)
    (folder / "inference/__main__.py").write_text(PROBE)
    shutil.copy(repo / "predict.sh", folder)
    return folder


def _predict(house, *arguments, cwd=None, **environment):
    """(working folder, WEIGHTS, arguments) that python -m inference saw."""
    kept = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", str(house / "predict.sh"), *arguments], cwd=cwd or house, env=kept | environment,
                          capture_output=True, text=True)
    assert done.returncode == 7, done.stderr   # predict.sh ends as inference ends
    return json.loads(done.stdout)


def test_defaults_on_a_bare_host(house):
    cwd, weights, arguments = _predict(house, cwd="/")
    assert (cwd, weights) == (str(house), None)
    assert arguments == ["-i", f"{house}/test_input", "-o", f"{house}/test_output"]


def test_settings_come_from_the_environment(house):
    settings = {"BACKEND": "cpu", "MODEL": "roi2d", "ENGINE": "onnxruntime", "INPUTS": "/data/in dir", "OUTPUTS": "/o"}
    _, _, arguments = _predict(house, **settings)
    assert arguments[:4] == ["-i", "/data/in dir", "-o", "/o"]
    assert sorted(zip(arguments[4::2], arguments[5::2], strict=True)) == [
        ("--backend", "cpu"), ("--engine", "onnxruntime"), ("--model", "roi2d")]


def test_empty_settings_count_as_unset(house):
    _, weights, arguments = _predict(house, BACKEND="", MODEL="", ENGINE="", INPUTS="", OUTPUTS="", WEIGHTS="")
    assert not weights
    assert arguments == ["-i", f"{house}/test_input", "-o", f"{house}/test_output"]


def test_relative_folders_are_the_callers(house, tmp_path):
    _, weights, arguments = _predict(house, cwd=tmp_path, INPUTS="a b/in", OUTPUTS="out", WEIGHTS="w")
    assert arguments == ["-i", f"{tmp_path}/a b/in", "-o", f"{tmp_path}/out"]
    assert weights == f"{tmp_path}/w"


def test_arguments_are_handed_on_last(house):
    _, _, arguments = _predict(house, "--model", "roi 3d", MODEL="roi2d")
    assert arguments[4:] == ["--model", "roi2d", "--model", "roi 3d"]


def test_called_by_a_relative_path(house, tmp_path):
    (tmp_path / "cdpath").mkdir()
    done = subprocess.run(["sh", "my house/predict.sh"], cwd=tmp_path, capture_output=True, text=True,
                          env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CDPATH": "/"})
    assert json.loads(done.stdout)[0] == str(house)


def test_the_projects_own_python_is_preferred(house):
    python = house / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@" --from-venv\n')
    python.chmod(0o755)
    assert _predict(house)[2][-1] == "--from-venv"


@pytest.mark.parametrize("script", ["predict.sh", "tools/setup.sh"])
@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_scripts_are_posix(repo, script, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, "-n", str(repo / script)], capture_output=True).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "--shell", "sh", str(repo / script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
