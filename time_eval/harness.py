"""The contract's loop over cases: copy one in, run, take its masks out; nothing of one case stays for the next."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from time_eval.cgroup import Usage
from time_eval.runners import BareRunner, ContainerRunner, Run


@dataclass(frozen=True)
class CaseTime:
    """One row of the table. reason is empty when the case has its masks; usage is None where unknown."""

    name: str
    elapsed_s: float
    usage: Usage | None
    exit_code: int
    reason: str


@contextmanager
def work_folder() -> Iterator[Path]:
    """A private folder with empty inputs/ and outputs/ that any container user may write; removed at the end.

    TMPDIR chooses where, for engines that cannot mount /tmp.
    """
    work = Path(tempfile.mkdtemp(prefix="medseg-time-"))
    try:
        for folder in (work, work / "inputs", work / "outputs"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def warm_up(runner: BareRunner | ContainerRunner, work: Path) -> Run:
    """One run over an empty inputs/ that no table counts: it brings the image's files into the page cache."""
    return runner.run(work)


def time_case(runner: BareRunner | ContainerRunner, image: Path, work: Path, segs: Path) -> CaseTime:
    """Times one case (reference: CVPR24_time_eval.py, step 4) and moves its masks to the folder segs.

    Only the case's own files leave inputs/ and outputs/: what else a container writes there stays for its next cases.
    """
    given, made = work / "inputs" / image.name, work / "outputs" / image.name
    shutil.copyfile(image, given)
    try:
        run = runner.run(work)
    finally:
        given.unlink(missing_ok=True)
    reason = _failure(run, made.is_file())
    if made.is_file():
        shutil.move(made, segs / image.name)
    return CaseTime(image.name, run.elapsed_s, run.usage, run.exit_code, reason)


def _failure(run: Run, wrote: bool) -> str:
    if run.timed_out:
        return f"stopped after {run.elapsed_s:.0f} s (--timeout)"
    if run.exit_code == 137:
        return "killed (exit code 137): out of memory?"
    if run.exit_code != 0:
        return f"exit code {run.exit_code}: {run.last_line}"
    return "" if wrote else f"wrote no masks: {run.last_line}"


def dimension(image: Path) -> str:
    """'2D' or '3D': the file name's prefix, as the challenge has it, else the width of boxes; '?' if neither tells."""
    if image.name[:2] in ("2D", "3D"):
        return image.name[:2]
    try:
        with np.load(image, allow_pickle=False) as case:
            return {4: "2D", 6: "3D"}[case["boxes"].shape[-1]]
    except Exception:  # noqa: BLE001  a broken case is timed all the same
        return "?"
