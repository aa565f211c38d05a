"""A stand-in for the docker command, and cases that make it behave: the harness is tested without an engine."""

import os
from pathlib import Path

import numpy as np
import pytest

# Does what a case's file name says: copy it (good), fail, write nothing, or hang. Each call is logged.
FAKE_DOCKER = r"""#!/bin/sh
echo "$*" >>"$FAKE_LOG"
case "$1 $2" in
    "image inspect") case $3 in absent*) exit 1 ;; *) exit 0 ;; esac ;;
    "image load") content=$(cat); echo "loaded: $content" >>"$FAKE_LOG"
        case $content in *broken*) echo "invalid tar header" >&2; exit 1 ;; *) exit 0 ;; esac ;;
    "image rm" | "container rm") exit 0 ;;
    "container inspect") exit 1 ;;
    "container run") ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
for argument in "$@"; do
    case $argument in
        *:/workspace/inputs/) inputs=${argument%%:*} ;;
        *:/workspace/outputs/) outputs=${argument%%:*} ;;
        true) exit 0 ;;
    esac
done
echo "inputs: $(ls "$inputs" | tr '\n' ' ')" >>"$FAKE_LOG"
for case in "$inputs"/*.npz; do
    case ${case##*/} in
        *fail*) echo "cannot read this"; echo "Segmentation went wrong" >&2; exit 3 ;;
        *kill*) exit 137 ;;
        *nothing*) exit 0 ;;
        *hang*) exec sleep 60 ;;
        *.npz) [ -f "$case" ] || exit 0; sleep 0.2; cp "$case" "$outputs" ;;
    esac
done
"""


@pytest.fixture
def docker_log(tmp_path, monkeypatch) -> Path:
    """Puts the stand-in first on PATH; the file that it logs to, a call a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(FAKE_DOCKER)
    (folder / "docker").chmod(0o755)
    log = tmp_path / "docker.log"
    log.touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_LOG", str(log))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)   # it remembers an earlier TMPDIR
    return log


@pytest.fixture
def make_cases(tmp_path):
    """make_cases(name, ...) -> a folder with one small npz a name."""

    def make(*names: str) -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        for name in names:
            np.savez(folder / f"{name}.npz", imgs=np.zeros((4, 5), np.uint8), boxes=np.array([[0, 0, 3, 3]]))
        return folder

    return make
