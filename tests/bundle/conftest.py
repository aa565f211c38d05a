"""The challenge's tar, built once for all tests that need it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TEAM = "medseg-test"


@pytest.fixture(scope="session")
def bundle(docker, repo, tmp_path_factory) -> Iterator[Path]:
    """medseg-test.tar.gz from `make bundle`; the image itself is removed again. Skips where no weights ship yet."""
    if not (repo / "weights/manifest.json").is_file():
        pytest.skip("weights/manifest.json does not exist: there is no model to put into an image")
    made = repo / "dist" / f"{TEAM}.tar.gz"
    command = ["make", "bundle", f"TEAM={TEAM}", f"CONTAINER={docker}"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    subprocess.run([docker, "image", "rm", f"{TEAM}:latest"], check=True, capture_output=True)
    tar = Path(shutil.move(made, tmp_path_factory.mktemp("dist")))
    yield tar
    tar.unlink()   # pytest keeps the folders of three runs


@pytest.fixture(scope="session")
def cases(repo) -> list[Path]:
    """The cases that the repository carries."""
    return sorted((repo / "test_input").glob("*.npz"))
