"""tools/setup.sh: what it asks pip for, when it counts as done, and what it says where it cannot go on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def house(tmp_path, repo) -> Path:
    """A folder with a space in its name that holds setup.sh and nothing else of the project."""
    folder = tmp_path / "my house"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(repo / "tools/setup.sh", folder / "tools")
    return folder


def _script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def _set_up(house, *arguments, **environment):
    environment["PATH"] = f"{house.parent}/bin:{os.environ['PATH']}"   # stand-ins of a test come first
    return subprocess.run(["sh", str(house / "tools/setup.sh"), *arguments], cwd="/", env=environment,
                          capture_output=True, text=True)


def test_runtime_installs_once_pip_is_there_and_leaves_its_stamp(house):
    _script(house / ".venv/bin/python", f'echo "$*" >>"{house}/calls"')
    assert _set_up(house, "runtime").returncode == 0
    assert (house / "calls").read_text().splitlines() == [
        "-m pip --version", "-m pip install --disable-pip-version-check -r requirements-runtime.txt", "-m inference.precompile"]
    assert (house / ".venv/.runtime-ready").exists()
    assert not (house / ".venv/.dev-ready").exists()


def test_no_stamp_where_pip_fails(house):
    _script(house / ".venv/bin/python", 'case $* in *--version) exit 0 ;; esac; echo "no network" >&2; exit 1')
    done = _set_up(house, "runtime")
    assert done.returncode != 0 and "no network" in done.stderr
    assert not (house / ".venv/.runtime-ready").exists()


def test_debian_python_without_venv_names_the_package_to_a_user(house):
    _script(house.parent / "bin/python3", 'case $* in *ensurepip*) exit 1 ;; *) exit 0 ;; esac')
    _script(house.parent / "bin/dpkg-query", "exit 1")
    _script(house.parent / "bin/apt-get", "exit 99")
    _script(house.parent / "bin/id", "echo 1000")
    done = _set_up(house, "runtime")
    assert done.returncode == 1
    assert "sudo apt-get install --no-install-recommends python3-venv" in done.stderr


@pytest.mark.parametrize(("body", "said"), [
    ("exit 1", "Python 3.11 or newer is needed"),
    (None, "not-there not found; install Python 3.11 or set PYTHON"),
])
def test_unusable_python(house, body, said):
    if body:
        _script(house.parent / "bin/old-python", body)
    done = _set_up(house, "runtime", PYTHON="old-python" if body else "not-there")
    assert done.returncode == 1
    assert said in done.stderr


def test_jittor_is_not_set_up_under_a_folder_with_a_space(house):
    done = _set_up(house, "dev", HOME="/home/me")
    assert done.returncode == 1
    assert f"move {house}" in done.stderr


def test_usage(house):
    done = _set_up(house, "everything")
    assert done.returncode == 1
    assert "usage: sh tools/setup.sh runtime|dev" in done.stderr
