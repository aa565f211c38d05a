"""The command line: a folder of npz cases in, a folder of masks out. `predict.sh` runs it."""

import argparse
import itertools
import os
import resource
import signal
import sys
import time
from pathlib import Path

EPILOG = """\
Reads every *.npz of the input folder itself, hidden files aside, in the order of their names, and writes the masks of
each under the same name. A case that fails gives one line on stderr and no new file; the others are still done.

exit status: 0 all cases are done, or there were none; 1 a case failed, or the output folder cannot be written; 2 the
command itself cannot be followed: wrong arguments, no such input folder, no such model, an engine that cannot run here;
130 interrupted.

environment: THREADS, how many threads to use (all CPUs of the process); WEIGHTS, the folder of weights (weights/).
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (those of the process where None) and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        paths = _input_paths(options)
    except _Refusal as refusal:
        return _complain(refusal, refusal.status)
    if not paths:
        print(f"no *.npz in {options.input}: nothing to do")
        return 0

    # Only now, for these imports take longer than all the checks above.
    from inference.segment import open_segmenter

    start_s = time.perf_counter()
    try:
        segment = open_segmenter(options.model, options.engine, options.backend, options.exclude_z_max)
    except Exception as error:
        _trace(options)
        return _complain(_text(error), 2)
    if options.timing:
        print(f"open model {_ms(time.perf_counter() - start_s)}")
    failed = sum(not _run_case(path, segment, options) for path in paths)
    print(f"{len(paths) - failed} of {len(paths)} cases written to {options.output}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m inference", description="Segment what the boxes of each case mark: images and boxes in, masks out.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, help="folder of cases, *.npz")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the masks; made where missing")
    parser.add_argument("--model", default="roi", help="name of a model (roi: roi2d for images, roi3d for volumes)")
    parser.add_argument("--backend", choices=("cpu", "gpu"), default="cpu", help="gpu takes the jittor engine")
    parser.add_argument("--engine", choices=("openvino", "onnxruntime", "jittor"),
                        help="what runs the network (openvino on the cpu, jittor on the gpu)")
    parser.add_argument("--exclude-z-max", action="store_true",
                        help="a volume slice by slice: end before z_max, as MedficientSAM's program does, not with it")
    parser.add_argument("-v", "--timing", action="store_true",
                        help="print for each case the ms to read, segment and write it, and the peak memory so far")
    parser.add_argument("--debug", action="store_true", help="print the traceback of every failure")
    return parser


class _Refusal(Exception):
    """Nothing can be done with these arguments; `status` is the exit status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def _input_paths(options: argparse.Namespace) -> list[Path]:
    """Check the options against each other and the disk, fill in the engine, make the output folder, list the cases."""
    options.engine = options.engine or ("jittor" if options.backend == "gpu" else "openvino")
    if options.backend == "gpu" and options.engine != "jittor":
        raise _Refusal(f"--backend gpu must have --engine jittor; got {options.engine}", 2)
    try:
        # A folder's own files that are no folders themselves; hidden ones are temporaries and what file managers leave.
        names = sorted(entry.name for entry in os.scandir(options.input)
                       if entry.name.endswith(".npz") and not entry.name.startswith(".") and not entry.is_dir())
    except OSError as error:
        raise _Refusal(f"input folder {options.input} must be a folder that can be read; got {error.strerror}",
                       2) from error
    if not names:
        return []
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
    return [options.input / name for name in names]


def _run_case(path: Path, segment, options: argparse.Namespace) -> bool:
    """Read, segment and write one case. True where it is written; else one line says why it is not."""
    from inference.case import CaseError, printable, read_case, write_segs

    name = printable(path.name)
    try:
        times_s = [time.perf_counter()]
        case = read_case(path)
        times_s.append(time.perf_counter())
        segs = segment(case)
        times_s.append(time.perf_counter())
        write_segs(options.output / path.name, segs)
        times_s.append(time.perf_counter())
    except Exception as error:  # whatever it is, the other cases are still to be done
        _trace(options)
        _complain(_text(error) if isinstance(error, CaseError) else f"{name}: {_text(error)}", 1)
        return False
    if options.timing:
        read, segmented, written = (_ms(end - start) for start, end in itertools.pairwise(times_s))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name} objects {len(case.boxes)} read {read} segment {segmented} write {written} "
              f"peak {peak_mb:.0f} MB", flush=True)
    return True


def _complain(message, status: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return status


def _trace(options: argparse.Namespace) -> None:
    if options.debug:
        import traceback
        traceback.print_exc()


def _text(error: Exception) -> str:
    """One line: the text of an error that was written for people, any other with its type."""
    from inference.case import CaseError
    from inference.engines import EngineError
    from inference.weights import WeightsError

    if isinstance(error, (CaseError, EngineError, WeightsError)):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


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
