"""python -m time_eval.propagation --csv FILE: seconds a slice and peak memory of carrying objects through volumes.

Each engine carries objects through made volumes of several depths, each in a process of its own: memory must not grow with
the depth.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from time_eval.report import as_line, write_rows

COLUMNS = ("model", "engine", "slices", "side_px", "objects", "first_slice_s", "s_per_slice", "cpu_s_per_slice", "peak_mb")


class Volume:
    """A volume (slices, side, side) that is made slice by slice: noise, and discs that drift. Itself it takes no memory."""

    def __init__(self, slices: int, side: int, objects: int):
        self._slices, self._side, self._objects = slices, side, objects

    def __len__(self):
        return self._slices

    def __getitem__(self, z: int) -> np.ndarray:
        image = np.random.default_rng(z).integers(20, 60, (self._side, self._side), np.uint8)
        return image + 90 * self.masks(z).any(axis=0).astype(np.uint8)

    def masks(self, z: int) -> np.ndarray:
        """bool (objects, side, side)"""
        y, x = np.mgrid[: self._side, : self._side] / self._side
        centres = np.random.default_rng(0).uniform(0.25, 0.75, (self._objects, 2)) + 0.1 * np.sin(z / 30)
        return np.stack([(y - cy) ** 2 + (x - cx) ** 2 < 0.01 for cy, cx in centres])


def measure(model: str, engine: str, slices: int, side: int, objects: int) -> dict:
    """One row: masks on slice 0, carried to the last. The first slice also pays for compiling."""
    from inference.segment.propagate import Sequence, open_tracker

    volume = Volume(slices, side, objects)
    sequence = Sequence(open_tracker(model, engine), volume)
    marks = [(time.perf_counter(), time.process_time())]
    sequence.add_masks(0, volume.masks(0))
    for _ in sequence.propagate(1, slices - 1):
        marks.append((time.perf_counter(), time.process_time()))
    wall_s, cpu_s = np.diff(marks, axis=0).T
    # The first ones see fewer memories than the others, and each new number of them costs.
    settled = slice(min(20, slices // 2), None)
    row = (model, engine, slices, side, objects, wall_s[0], np.median(wall_s[settled]), np.median(cpu_s[settled]),
           resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return dict(zip(COLUMNS, row))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m time_eval.propagation", description=__doc__.split(": ", 1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="table to write (default: print it)")
    parser.add_argument("--model", default="sam2-nano", help="of the SAM 2 family (default %(default)s)")
    parser.add_argument("--engines", nargs="+", default=["openvino", "onnxruntime", "jittor"])
    parser.add_argument("--slices", type=int, nargs="+", default=[20, 100, 300])
    parser.add_argument("--side", type=int, default=256, metavar="PX")
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if min(arguments.slices) < 3 or arguments.objects < 1 or arguments.side < 8:
        print("time_eval.propagation: --slices must be at least 3, --objects 1, --side 8", file=sys.stderr)
        return 2
    size = (arguments.side, arguments.objects)
    if arguments.one:
        print(json.dumps(measure(arguments.model, arguments.engines[0], arguments.slices[0], *size), default=float))
        return 0
    rows = []
    for engine in arguments.engines:
        for slices in arguments.slices:
            command = [sys.executable, "-m", "time_eval.propagation", "--one", "--model", arguments.model, "--engines", engine,
                       "--slices", str(slices), "--side", str(arguments.side), "--objects", str(arguments.objects)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                return 1  # the process has said why
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(as_line(rows[-1]), flush=True)
    if arguments.csv:
        write_rows(arguments.csv, COLUMNS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
