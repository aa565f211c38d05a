"""`python -m export.quantise`: a published model in int8, by NNCF, calibrated on what the runtime itself feeds the network."""

import argparse
import itertools
import sys
import tempfile
import unittest.mock
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from export.errors import ExportError
from export.exporter import install
from export.manifest import update_manifest
from inference import geometry, segment
from inference.case import Case, CaseError
from inference.engines import Engine, open_engine
from inference.weights import ModelFiles, WeightsError, find_model, weights_folder
from training import data

CASES, RUNS = 200, 300
"""Cases that are segmented, and runs of each graph that its ranges are taken from: NNCF's own number."""
LOOSEST_PX = 5
FLOAT_OPERATIONS = ["ReduceMean", "Sqrt", "Divide", "Subtract", "Multiply", "Log", "Maximum"]
"""What stays in float32 everywhere: mean and variance of an image, logarithms of a box's size. In 8 bits, on the ranges that
calibration saw, roi2d lost 0.10 of its macro DSC by them, and nearly all of it on images unlike most."""
FLOAT_PARTS = [".*_size.*", r"stem\.norm.*", "head.*"]
"""What stays in float32 of the roi networks, by the names of its operations: what the box's size goes through, the first
convolution and the last."""


class Recorder:
    """An engine that remembers up to `most` of its runs' inputs, an even sample of all of them."""

    def __init__(self, engine: Engine, most: int = RUNS):
        self._engine, self._most, self._seen = engine, most, 0
        self.facts, self.concurrent = engine.facts, engine.concurrent
        self.inputs: list[dict[str, np.ndarray]] = []
        self._rng = np.random.default_rng(0)

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """As the engine that is listened to."""
        # Reservoir sampling: Vitter 1985, ACM TOMS 11(1), algorithm R.
        self._seen += 1
        place = len(self.inputs) if len(self.inputs) < self._most else int(self._rng.integers(self._seen))
        if place < self._most:
            kept = {name: np.array(array) for name, array in inputs.items()}
            self.inputs[place : place + 1] = [kept]
        return self._engine.run(**inputs)

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        output, = self.run(**inputs).values()
        return output


def calibration_cases(folder: Path, rank: int, seed: int = 0) -> Iterator[Case]:
    """Cases without end from the training data under `folder`, as often of each modality: all objects of an image, of a
    volume where `rank` is 3, in boxes loosened by 0..5 px a side, in plane. Raises ValueError where there is no data."""
    rng = np.random.default_rng(seed)
    datasets = data.read_datasets(folder, rank)
    chances = data.dataset_chances(datasets)
    while True:
        dataset = datasets[rng.choice(len(datasets), p=chances)]
        item = dataset.train[rng.integers(len(dataset.train))]
        boxes = np.stack([geometry.mask_box(item.gts == label) for label in item.labels]).astype(np.int32)
        axes, height, width = boxes.shape[1] // 2, *item.gts.shape[-2:]
        boxes[:, :2] -= rng.integers(0, LOOSEST_PX + 1, (len(boxes), 2))
        boxes[:, axes : axes + 2] += rng.integers(0, LOOSEST_PX + 1, (len(boxes), 2))
        boxes[:, :2] = np.maximum(boxes[:, :2], 0)
        boxes[:, axes : axes + 2] = np.minimum(boxes[:, axes : axes + 2], [width - 1, height - 1])
        yield Case(item.name, item.image, boxes)


def record(model: str, cases: Iterable[Case]) -> dict[str, Recorder]:
    """Segment `cases` with `model`; what each of its graphs was fed, by the graph's name ("" for a single one)."""
    recorders: dict[str, Recorder] = {}

    def listening(engine, files: ModelFiles, backend="cpu"):
        return recorders.setdefault(files.graph, Recorder(open_engine(engine, files, backend)))

    with unittest.mock.patch.object(segment, "open_engine", listening):
        way = segment.open_segmenter(model)
        for case in cases:
            way(case)
    return recorders


def quantise(model: str, cases: Iterable[Case], folder: Path, keep: tuple[str, ...] = ()) -> list[Path]:
    """Write `model` of the weights folder as MODEL-int8 into `folder` and its manifest: OpenVINO IRs alone.

    cases: to calibrate on; never those to be scored. keep: graphs to leave in float32. Returns the files. Raises ExportError,
    WeightsError, CaseError for a case that the model does not take.
    """
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise ExportError(f"model {model}", f"quantising needs NNCF: pip install nncf; got {error}") from error
    published = find_model(model)
    if "memory_attention" in published.graphs:
        raise ExportError(f"model {model}", "models with a memory are not quantised: errors add up from slice to slice")
    unknown = set(keep) - published.graphs
    if unknown:
        raise ExportError(f"model {model}", f"--keep must be among its graphs, {', '.join(sorted(published.graphs)) or 'one'}; "
                          f"got {', '.join(sorted(unknown))}")
    name = f"{model}-int8"
    target = folder / name
    recorders = record(model, cases)
    target.mkdir(parents=True, exist_ok=True)
    files = {}
    with tempfile.TemporaryDirectory(dir=target, prefix=".export.") as aside:
        for graph, recorder in sorted(recorders.items()):
            network = openvino.Core().read_model((published.part(graph) if graph else published).path("openvino"))
            if graph not in keep:
                # MIXED: activations on both sides of zero, as GELU and Hardswish leave them, get a zero point.
                ignored = nncf.IgnoredScope(types=FLOAT_OPERATIONS, patterns=FLOAT_PARTS, validate=False)
                network = nncf.quantize(network, nncf.Dataset(recorder.inputs), preset=nncf.QuantizationPreset.MIXED,
                                        subset_size=len(recorder.inputs), ignored_scope=ignored)
            for key, value in recorder.facts.items():
                network.set_rt_info(value, ["medseg", key])
            stem, prefix = (f"{name}.{graph}", f"{graph}.") if graph else (name, "")
            openvino.save_model(network, Path(aside) / f"{stem}.xml", compress_to_fp16=False)
            files |= {f"{prefix}openvino": f"{stem}.xml", f"{prefix}openvino_bin": f"{stem}.bin"}
        written = [install(Path(aside) / file, target / file) for file in files.values()]
    update_manifest(folder, name, published.family, {role: f"{name}/{file}" for role, file in sorted(files.items())}, [])
    return written


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written, 1 could not be quantised, 2 bad arguments."""
    parser = argparse.ArgumentParser(prog="python -m export.quantise", description=__doc__.partition(": ")[2])
    parser.add_argument("model", help="a model of the weights folder: roi2d, roi3d, medsam-nano, ...")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR",
                        help="what to calibrate on: the training data, as for python -m training")
    parser.add_argument("--cases", type=int, default=CASES, metavar="N", help=f"cases to segment (default: {CASES})")
    parser.add_argument("--keep", action="append", default=[], metavar="GRAPH", help="a graph to leave in float32: decoder")
    parser.add_argument("-o", "--out", type=Path, default=weights_folder(), help="weights folder (default: weights)")
    args = parser.parse_args(arguments)
    if args.cases < 1:
        parser.error(f"--cases must be at least 1; got {args.cases}")
    try:
        rank = 3 if find_model(args.model).family == "roi3d" else 2
        cases = itertools.islice(calibration_cases(args.data, rank), args.cases)
        shown = tqdm(cases, desc=args.model, total=args.cases, unit="case", disable=not sys.stderr.isatty())
        written = quantise(args.model, shown, args.out, tuple(args.keep))
    except (ExportError, WeightsError, CaseError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(f"{path}  {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
