"""Ways to run predict.sh once over a work folder with inputs/ and outputs/: in a container, or on the bare host."""

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from time_eval.cgroup import GroupWatch, Usage

PREDICT = Path(__file__).resolve().parent.parent / "predict.sh"


class RunnerError(RuntimeError):
    """The engine, the image or the tar is not usable; the text is for people."""


@dataclass(frozen=True)
class Run:
    """One finished run. exit_code is the shell's (128 + signal number); usage is None where the kernel told nothing."""

    elapsed_s: float
    exit_code: int
    timed_out: bool
    last_line: str
    usage: Usage | None = None


@dataclass(frozen=True)
class BareRunner:
    """predict.sh on this host. CPU seconds and peak resident memory are those of its process (getrusage).

    Linux hands a process's peak on to what it starts: a run never shows less than the harness itself, some 50 MB.
    settings: further environment, such as MODEL.
    """

    timeout_s: float
    name: str = "bare"
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, work: Path) -> Run:
        """Runs predict.sh from work/inputs to work/outputs."""
        environment = os.environ | dict(self.settings) | {"INPUTS": str(work / "inputs"), "OUTPUTS": str(work / "outputs")}
        run, used = _timed(["sh", str(PREDICT)], self.timeout_s, lambda: None, cwd=work, env=environment)
        peak_mb = used.ru_maxrss * 1024 / 1e6
        return replace(run, usage=Usage(peak_mb, peak_mb, used.ru_utime + used.ru_stime))


@dataclass(frozen=True)
class ContainerRunner:
    """The challenge's command line (MedSAM, LiteMedSAM branch, CVPR24_time_eval.py): one container a run.

    engine is 'docker' or 'podman', image a tag, container the name it runs under, memory what -m takes ('8G').
    hardened adds --network none --read-only, which the challenge does not.
    """

    engine: str
    image: str
    container: str
    timeout_s: float
    memory: str = "8G"
    hardened: bool = False

    @property
    def name(self) -> str:
        return f"{self.engine}, -m {self.memory}" + (", hardened" if self.hardened else "")

    def command(self, work: Path) -> list[str]:
        """The argument list of one run."""
        return [*self._start(), "-v", f"{work}/inputs/:/workspace/inputs/",
                "-v", f"{work}/outputs/:/workspace/outputs/", self.image, "/bin/bash", "-c", "sh predict.sh"]

    def _start(self) -> list[str]:
        extra = ["--network", "none", "--read-only"] if self.hardened else []
        return [self.engine, "container", "run", "-m", self.memory, "--name", self.container, "--rm", *extra]

    def run(self, work: Path) -> Run:
        """Runs one container over work/inputs and work/outputs; it is removed however it ends."""
        with GroupWatch(self._container_id) as watch:
            run, _ = _timed(self.command(work), self.timeout_s, self._remove_container)
        return replace(run, usage=watch.usage)

    def run_true(self) -> Run:
        """The same container running `true` in place of predict.sh: what the engine itself costs."""
        return _timed([*self._start(), self.image, "true"], self.timeout_s, self._remove_container)[0]

    def check(self) -> None:
        """Raises RunnerError unless the image is there and no container holds the name."""
        if self._ask("image", "inspect", self.image).returncode != 0:
            raise RunnerError(f"{self.engine} has no image {self.image}; `make bundle` builds medseg-laptop:latest")
        if self._ask("container", "inspect", self.container).returncode == 0:
            raise RunnerError(f"a container named {self.container} exists already; {self.engine} rm it, or use --team")

    def load(self, tar: Path) -> None:
        """Loads an image from a tar made by `docker save`, gzipped or not; Podman 4.3 wants it unpacked, so both get it so."""
        with tar.open("rb") as file, tempfile.TemporaryFile() as messages:
            gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            command = [self.engine, "image", "load"]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=messages, stderr=messages) as loading:
                problem = ""
                try:
                    shutil.copyfileobj(gzip.open(file) if gzipped else file, loading.stdin, 1 << 20)
                except BrokenPipeError:
                    pass   # the engine refused it, and has said why
                except (OSError, EOFError, zlib.error) as error:
                    problem = str(error)
            messages.seek(0)
            if problem or loading.returncode != 0:
                said = problem or _last_line(messages.read().decode(errors="replace"))
                raise RunnerError(f"{tar.name}: {self.engine} image load failed: {said}")

    def remove_image(self) -> None:
        """Removes the image, as the challenge does after each team."""
        self._ask("image", "rm", self.image)

    def _container_id(self) -> str:
        return self._ask("container", "inspect", "--format", "{{.Id}}", self.container).stdout.strip()

    def _remove_container(self) -> None:
        self._ask("container", "rm", "--force", self.container)

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess:
        try:
            # a session of its own: a Ctrl-C meant for the harness must not stop its cleaning up
            return subprocess.run([self.engine, *arguments], capture_output=True, text=True, start_new_session=True)
        except OSError as error:
            raise RunnerError(f"{self.engine} cannot be run: {error.strerror}") from None


def _timed(command: list[str], timeout_s: float, stop: Callable[[], None], **popen):
    """Runs a command to its end; returns (Run, rusage). stop() is called first when time runs out or Ctrl-C comes."""
    timed_out = threading.Event()
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   start_new_session=True, **popen)

        def give_up():
            timed_out.set()
            stop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        try:
            # not process.wait(timeout): that polls, up to 50 ms late; wait4 also gives this child's own rusage
            _, status, usage = os.wait4(process.pid, 0)
            elapsed_s = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            timer.cancel()
            if process.returncode is None:
                give_up()
                process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
        last_line = _last_line(output.read().decode(errors="replace"))
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Run(elapsed_s, code, timed_out.is_set(), last_line), usage


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "(it printed nothing)"
