"""The command line: a folder of cases in, a folder of masks out. `predict.sh` runs it."""

import argparse
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path

from inference.lazy import lighten_numpy

# Before numpy is loaded: its matrix products are small, and threads that spin until the next one cost more than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
lighten_numpy()

EPILOG = """\
Reads every case of the input folder itself, hidden files aside, in the order of their names, and writes the masks of
each: background 0, object i of the boxes i. A case that fails gives one line on stderr and no new file; the others are
still done.

  case                        masks        boxes in
  NAME.npz                    NAME.npz     the file
  NAME.nii, NAME.nii.gz       NAME.nii.gz  NAME.boxes.json
  NAME.png, .jpg, .jpeg       NAME.png     NAME.boxes.json
  folder NAME, DICOM series   NAME.nii.gz  NAME.boxes.json

NAME.boxes.json, beside the case: {"boxes": [[x_min, y_min, x_max, y_max], ...]}, or [x_min, y_min, z_min, x_max, y_max,
z_max] for volumes, in voxels from 0 along the stored axes, bounds inclusive. Grey values of volumes: whole numbers 0..255
stay; CT (DICOM says so, or values go down to -500) is cut to level 40, width 400; all else is stretched between the
percentiles 0.5 and 99.5 of what is above 0. nibabel, pillow and pydicom read these files.

exit status: 0 all cases are done, or there were none; 1 a case failed, or the output folder cannot be written; 2 the
command itself cannot be followed: wrong arguments, no such input folder, no such model, an engine that cannot run here;
130 interrupted.

environment: THREADS, how many threads to use (all CPUs of the process); WEIGHTS, the folder of weights (weights/);
DIFFUSION_STEPS, DIFFUSION_SAMPLES, DIFFUSION_FUSION, DIFFUSION_SEED, for a diffusion model in place of its file's.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (those of the process where None) and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.check:
        return _check(options)
    if not (options.input and options.output):
        parser.error("the following arguments are required: -i/--input, -o/--output")
    try:
        cases = _find_cases(options)
    except _Refusal as refusal:
        return _complain(refusal, refusal.status)
    if not cases:
        print(f"no case in {options.input}: nothing to do")
        return 0

    if options.jobs > 1 and len(cases) > 1:
        status, written = _run_by_many(cases, options)
    else:
        status, written = _run(cases, options)
    if status != 2:
        print(f"{written} of {len(cases)} cases written to {options.output}")
    return status


def _run(cases: dict[Path, str], options: argparse.Namespace) -> tuple[int, int]:
    """All cases in this process. Returns the exit status and how many are written."""
    runner = _open_runner(options)
    if not runner:
        return 2, 0
    from inference.run import Job

    jobs = [Job(path, options.output / name) for path, name in cases.items()]
    done = runner.overlapped(jobs) if len(cases) > 1 else runner.in_turn(jobs)
    written = sum(_report(job, options) for job in done)
    return int(written < len(cases)), written


def _run_by_many(cases: dict[Path, str], options: argparse.Namespace) -> tuple[int, int]:
    """As _run, in `options.jobs` processes, which share the threads."""
    from inference.engines import EngineError, thread_count
    from inference.jobs import spread
    from inference.run import Job

    try:
        threads = thread_count()
    except EngineError as error:
        return _complain(error, 2), 0
    count = min(options.jobs, len(cases))
    paths, names = list(cases), list(cases.values())

    def work(number, taken):
        os.environ["THREADS"] = str(max(1, threads // count))
        runner = _open_runner(options, quiet=number > 0)  # what is wrong is the same for all
        if not runner:
            sys.exit(2)
        for index in taken:
            job = Job(paths[index], options.output / names[index])
            yield index, all(_report(job, options) for job in runner.in_turn([job]))

    done, statuses = spread(len(cases), count, work)
    if not done and statuses == {2}:
        return 2, 0
    for index in sorted(set(range(len(cases))) - set(done)):
        _complain(f"{_printed(paths[index])}: not done, for a process of --jobs ended by {_endings(statuses)}", 1)
    written = sum(done.values())
    return int(written < len(cases)), written


def _endings(statuses: set[int]) -> str:
    """What ended processes, given their exit statuses."""
    found = [f"signal {-status}" if status < 0 else f"exit status {status}" for status in sorted(statuses) if status]
    return ", ".join(found) or "itself"


def _open_runner(options: argparse.Namespace, quiet: bool = False):
    """What takes cases from files to files. None, and without `quiet` a line on stderr, where the model or its engine cannot
    run."""
    # Only now, for these imports take longer than all the checks before.
    from inference.run import Runner
    from inference.segment import open_segmenter

    start_s = time.perf_counter()
    try:
        segment = open_segmenter(options.model, options.engine, options.backend, options.exclude_z_max)
    except Exception as error:
        if not quiet:
            _trace(error, options)
            _complain(_text(error), 2)
        return None
    if options.timing:
        print(f"open model {_ms(time.perf_counter() - start_s)}", flush=True)
    return Runner(lambda path: _read(path, getattr(segment, "needs_boxes", True), options), segment)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m inference", description="Segment what the boxes of each case mark: images and boxes in, masks out.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, help="folder of cases, see below")
    parser.add_argument("-o", "--output", type=Path, help="folder for the masks; made where missing")
    parser.add_argument("--model", default="roi", help="name of a model (roi: roi2d for images, roi3d for volumes; roi-int8)")
    parser.add_argument("--backend", choices=("cpu", "gpu"), default="cpu", help="gpu takes the jittor engine")
    parser.add_argument("--engine", choices=("openvino", "onnxruntime", "jittor"),
                        help="what runs the network (openvino on the cpu, jittor on the gpu)")
    parser.add_argument("--exclude-z-max", action="store_true",
                        help="a volume slice by slice: end before z_max, as MedficientSAM's program does, not with it")
    parser.add_argument("--window", nargs=2, type=float, metavar=("LEVEL", "WIDTH"),
                        help="grey values of NIfTI, DICOM and deep pictures: cut to this window (CT lung: -600 1500)")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N",
                        help="processes that share the cases and the threads, each with a model of its own (1)")
    parser.add_argument("-v", "--timing", action="store_true",
                        help="print for each case the ms to read, segment and write it, and the peak memory so far")
    parser.add_argument("--check", action="store_true",
                        help="instead of segmenting, say what Jittor finds here and whether it computes what numpy computes")
    parser.add_argument("--debug", action="store_true", help="print the traceback of every failure")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; got {text!r}")
    return int(text)


def _check(options: argparse.Namespace) -> int:
    """Print what Jittor has to work with. Exit status 1 where something is not as it should be."""
    from inference.engines import EngineError, thread_count
    from inference.engines.jittor_check import report

    fine = True
    try:
        for what, found, good in report(options.backend, thread_count()):
            print(f"{'ok  ' if good else 'FAIL'} {what}: {found}", flush=True)
            fine &= good
    except EngineError as error:
        _trace(error, options)
        return _complain(error, 1)
    return 0 if fine else 1


class _Refusal(Exception):
    """Nothing can be done with these arguments; `status` is the exit status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def _find_cases(options: argparse.Namespace) -> dict[Path, str]:
    """Check the options against each other and the disk, fill in the engine, make the output folder; the cases in the order
    of their names, each with the file name of its masks."""
    options.engine = options.engine or ("jittor" if options.backend == "gpu" else "openvino")
    if options.backend == "gpu" and options.engine != "jittor":
        raise _Refusal(f"--backend gpu must have --engine jittor; got {options.engine}", 2)
    if options.window and not (abs(options.window[0]) < math.inf and 0 < options.window[1] < math.inf):
        raise _Refusal(f"--window must be a level and a width above 0; got {options.window[0]:g} {options.window[1]:g}", 2)
    try:
        cases = _named_cases(options.input)
    except OSError as error:
        raise _Refusal(f"input folder {options.input} must be a folder that can be read; got {error.strerror}",
                       2) from error
    if not cases:
        return {}
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _Refusal(f"output folder {options.output} must be a folder that can be made; got {error.strerror}",
                       1) from error
    if not os.access(options.output, os.W_OK | os.X_OK):
        raise _Refusal(f"output folder {options.output} must be one that this user can write", 1)
    if options.output.samefile(options.input):
        raise _Refusal(f"output folder must not be the input folder, whose cases it would lose; got {options.output}",
                       2)
    return cases


def _named_cases(folder: Path) -> dict[Path, str]:
    """Raises OSError, and _Refusal where the masks of two cases would have one name."""
    # A folder's own files that are no folders themselves; hidden ones are temporaries and what file managers leave.
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    cases = {folder / entry.name: entry.name for entry in entries if entry.name.endswith(".npz") and not entry.is_dir()}
    if len(cases) < len(entries):
        from inference.formats import find_cases
        cases |= find_cases(folder)
    first_of = {}
    for path, name in cases.items():
        if first_of.setdefault(name, path) is not path:
            names = " and ".join(sorted(ascii(case.name) for case in (first_of[name], path)))
            raise _Refusal(f"cases must have names of their own; got {names}, whose masks would both be {ascii(name)}", 2)
    return dict(sorted(cases.items(), key=lambda case: case[0].name))


def _report(job, options: argparse.Namespace) -> bool:
    """Say what became of a case. True where its masks are written."""
    from inference.case import CaseError

    name = _printed(job.path)
    error, job.error = job.error, None  # its traceback holds all that the case took
    if error:
        _trace(error, options)
        _complain(_text(error) if isinstance(error, CaseError) else f"{name}: {_text(error)}", 1)
    elif options.timing:
        read, segmented, written = map(_ms, job.times_s)
        print(f"{name} objects {job.objects} read {read} segment {segmented} write {written} "
              f"peak {_peak_mb():.0f} MB", flush=True)
    return not error


def _peak_mb() -> float:
    """Peak resident memory of this process in MB of 1024² bytes. Linux's ru_maxrss also counts whoever started it."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _read(path: Path, needs_boxes: bool, options: argparse.Namespace) -> tuple:
    """A case, and what writes its masks: a function of the file and the labels."""
    if path.name.endswith(".npz"):
        from inference.case import read_case, write_segs
        return read_case(path, needs_boxes), write_segs
    from inference.formats import read
    return read(path, needs_boxes, options.window)


def _complain(message, status: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return status


def _trace(error: Exception, options: argparse.Namespace) -> None:
    if options.debug:
        import traceback
        traceback.print_exception(error)


def _text(error: Exception) -> str:
    """One line: the text of an error that was written for people, any other with its type."""
    from inference.case import CaseError
    from inference.engines import EngineError
    from inference.weights import WeightsError

    if isinstance(error, (CaseError, EngineError, WeightsError)):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _printed(path: Path) -> str:
    from inference.case import printable
    return printable(path.name)


def _ms(elapsed_s: float) -> str:
    return f"{elapsed_s * 1000:.1f} ms"


if __name__ == "__main__":
    # So that `docker stop` ends a case as Ctrl-C does: with no partial file. Not in forked children, the compilers of
    # Jittor, which their pool ends by this very signal.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", 130))
