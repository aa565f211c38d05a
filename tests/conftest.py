"""Environment and fixtures shared by all tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

# Before anything imports jittor: CPU only, quiet, one compile cache whatever branch is checked out (Jittor names its cache
# after the git branch), and no compile threads (see models/__init__.py). JITTOR_HOME would be remembered in
# ~/.cache/jittor/config.json beyond this run.
os.environ.setdefault("nvcc_path", "")
os.environ.setdefault("log_silent", "1")
os.environ.setdefault("cache_name", "default")
os.environ.setdefault("use_parallel_op_compiler", "0")
os.environ.pop("JITTOR_HOME", None)


@pytest.fixture(autouse=True)
def _signals():
    """Jittor, once some test has imported it, would end pytest when a later test kills a child process."""
    if "jittor" in sys.modules:
        from models.signals import restore_signals

        restore_signals()


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root folder."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout (../shared/data); skips where it is absent."""
    folder = REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real images: ../shared/data does not exist beside this checkout")
    return folder


@pytest.fixture(scope="session")
def docker() -> str:
    """The container engine's command, 'docker' or 'podman', whichever answers first; skips where none does."""
    reasons = []
    for command in ("docker", "podman"):
        if shutil.which(command) is None:
            reasons.append(f"{command} is not installed")
            continue
        try:
            answer = subprocess.run([command, "info"], capture_output=True, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            reasons.append(f"{command} info did not answer within 20 s")
            continue
        if answer.returncode == 0:
            return command
        reasons.append(f"{command} info: {(answer.stderr.strip() or 'failed').splitlines()[-1]}")
    pytest.skip("no container engine: " + "; ".join(reasons))
