"""Every model of `jittor.models` through the exporter: `python -m export.zoo [NAMES] [--csv FILE]`.

Each is exported with a dynamic batch, height and width, checked, and compared with Jittor in ONNX Runtime and OpenVINO
on one image of its usual size and on two of another size that is not square. Weights are random, and such networks make
of an image next to nothing, or numbers without end: `with_sane_statistics` says what is done about it. Each model has a
process of its own, and with --csv a row that is written at once and not made again.
"""

import argparse
import csv
import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import export  # noqa: F401  (before jittor)

SIZES = {"inception_v3": 299}
"""The usual height and width of a model's images, where it is not 224."""

OTHER_SIZE = {224: (256, 240), 299: (331, 315)}
TOLERANCE = 1e-4


@dataclass
class Row:
    """What is known of a model after the attempt.

    max_error: the largest difference from Jittor in either engine, logits divided by their standard deviation.
    response: standard deviation of the logits between images, over that of all logits: what share of them the image
    decides. It is small in random networks, but an exporter that lost the image would show an error of this size.
    nodes, megabytes: of the ONNX file.
    export_s: seconds to trace, clean up, check and write. problem: the first line of what went wrong, or "".
    """

    name: str
    ok: bool = False
    max_error: float | None = None
    error_onnxruntime: float | None = None
    error_openvino: float | None = None
    response: float | None = None
    nodes: int | None = None
    megabytes: float | None = None
    export_s: float | None = None
    problem: str = ""


def factories() -> dict:
    """Name (in lower case, without aliases) to the function that makes the model."""
    import jittor.models

    found, seen = {}, set()
    for module in pkgutil.iter_modules(jittor.models.__path__):
        space = vars(importlib.import_module(f"jittor.models.{module.name}"))
        for name, function in space.items():
            if inspect.isfunction(function) and "pretrained" in inspect.signature(function).parameters:
                if function.__module__ == space["__name__"] and function not in seen:
                    seen.add(function)
                    found[name.lower()] = function
    return dict(sorted(found.items()))


def with_sane_statistics(model, images):
    """`model` with weights and statistics that give logits of a reasonable size which depend on the image.

    images: Var (N, 3, H, W). Convolutions and linear layers are drawn anew as He et al. 2015 ("Delving deep into
    rectifiers", section 2.2) have it, biases small. Batch norms take their running statistics from `images`, and shifts
    that leave most of the rectifiers after them open. With shifts of 0 a random network amplifies any difference by a
    factor a layer (Yang et al. 2019, "A mean field theory of batch normalization"): in resnet152 Jittor itself then
    answers a change of the image by 1e-7 with one of the logits by 3e-4, which says nothing about an exporter.
    """
    import jittor as jt
    from jittor import nn

    norms = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = float(module.weight.numel() // module.weight.shape[0])
            module.weight.assign(jt.randn(module.weight.shape) * (2 / fan_in) ** 0.5)
            if module.bias is not None:
                module.bias.assign(jt.randn(module.bias.shape) * 0.01)
        elif isinstance(module, nn.BatchNorm):
            module.weight.assign(jt.rand(module.weight.shape) * 0.4 + 0.8)
            module.bias.assign(jt.randn(module.bias.shape) * 0.3 + 1.5)
            norms.append((module, module.momentum))
            module.momentum = 1.0
    jt.sync_all()
    if norms:
        model.eval()
        for module, _ in norms:
            module.train()
        with jt.no_grad():
            model(images).sync()
        jt.sync_all()
    for module, momentum in norms:
        module.momentum = momentum
    model.eval()
    return model


def pictures(shape, rng):
    """Random images (N, 3, H, W) that differ from each other: patches of one colour, and noise. (All pure noise looks
    alike to a network that averages over the image.)"""
    import numpy as np

    count, channels, height, width = shape
    patches = rng.standard_normal((count, channels, 8, 8))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    noise = rng.standard_normal(shape)
    return (patches[:, :, rows][:, :, :, columns] + 0.3 * noise).astype(np.float32)


def try_model(name: str, size: int | None = None) -> Row:
    """Export and compare one model, at images of `size` pixels or its usual size."""
    import jittor as jt
    import numpy as np

    from export import Input, to_onnx
    from export.serialise import write_onnx
    from export.verify import run_jittor, verify

    jt.set_global_seed(0)
    rng = np.random.default_rng(0)
    size = size or SIZES.get(name, 224)
    height, width = OTHER_SIZE.get(size, (size + 32, size))
    cases = [{"x": pictures(shape, rng)} for shape in ((1, 3, size, size), (2, 3, height, width))]
    row = Row(name)
    try:
        model = with_sane_statistics(factories()[name](), jt.array(pictures((4, 3, size, size), rng)))
        start = time.perf_counter()
        spec = Input("x", (1, 3, size, size), dynamic={0: "batch", 2: "height", 3: "width"})
        made, _ = to_onnx(model, [spec])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            write_onnx(made, path)
            row.export_s = round(time.perf_counter() - start, 2)
            row.nodes, row.megabytes = len(made.graph.node), round(path.stat().st_size / 1e6, 1)
            del made
            agreements = verify(model, path, None, cases, tolerance=float("inf"))
        logits = run_jittor(model, cases[1])[0]
        row.response = _rounded(float(logits.std(0).mean() / logits.std()))
        row.error_onnxruntime = _rounded(max(one.unit_std_error_onnxruntime for one in agreements))
        row.error_openvino = _rounded(max(one.unit_std_error_openvino for one in agreements))
        row.max_error = max(row.error_onnxruntime, row.error_openvino)
        row.ok = row.max_error <= TOLERANCE
        row.problem = "" if row.ok else f"the error is above {TOLERANCE:.0e}"
    except Exception as error:  # whatever a model does at a size that it was not made for
        row.problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return row


def _rounded(number):
    return float(f"{number:.2e}")


def run(names: list[str], csv_path: Path | None, size: int | None) -> list[Row]:
    """A row for each name: those that the CSV file has, and then one process a model."""
    rows = {row.name: row for row in _read(csv_path)}
    for name in names:
        if name in rows:
            continue
        rows[name] = _in_a_process(name, size)
        if csv_path is not None:
            _append(csv_path, rows[name])
        print(line(rows[name]), flush=True)
    return [rows[name] for name in names]


def _in_a_process(name, size):
    command = [sys.executable, "-m", "export.zoo", "--one", name] + (["--size", str(size)] if size else [])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    answer = next((text for text in done.stdout.splitlines() if text.startswith("{")), None)
    if answer is None:
        return Row(name, problem=f"its process ended with status {done.returncode}: {done.stderr.strip()[-200:]}")
    return Row(**json.loads(answer))


def _read(path):
    if path is None or not path.exists():
        return []
    with open(path, newline="") as file:
        return [_row(record) for record in csv.DictReader(file)]


def _row(record):
    numbers = {key: float(text) if text else None for key, text in record.items()
               if key not in ("name", "ok", "problem")}
    if numbers["nodes"] is not None:
        numbers["nodes"] = int(numbers["nodes"])
    return Row(record["name"], record["ok"] == "True", problem=record["problem"], **numbers)


def _append(path, row):
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        if new:
            writer.writeheader()
        writer.writerow(dataclasses.asdict(row))


def line(row: Row) -> str:
    """For people."""
    if row.max_error is None:
        return f"{row.name:<20} {'no':<4}{row.problem}"
    return (f"{row.name:<20} {'yes' if row.ok else 'no':<4}{row.max_error:>9.1e}{row.error_onnxruntime:>13.1e}"
            f"{row.error_openvino:>10.1e}{row.response:>10.2f}{row.nodes:>7}{row.megabytes:>8.1f}{row.export_s:>10.1f}")


HEADER = (f"{'name':<20} {'ok':<4}{'max error':>9}{'ONNX Runtime':>13}{'OpenVINO':>10}{'response':>10}{'nodes':>7}"
          f"{'MB':>8}{'export s':>10}")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 all of them, 1 not all, 2 bad arguments."""
    parser = argparse.ArgumentParser(prog="python -m export.zoo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models of jittor.models (default: all)")
    parser.add_argument("--csv", type=Path, help="rows are appended to it, and those that it has are not made again")
    parser.add_argument("--size", type=int, help="height and width of the images (default: 224; inception_v3: 299)")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.one:
        print(json.dumps(dataclasses.asdict(try_model(args.one, args.size))))
        return 0
    known = factories()
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"no model {', '.join(unknown)} in jittor.models; it has {', '.join(known)}")
    print(HEADER)
    rows = run(args.names or list(known), args.csv, args.size)
    good = [row for row in rows if row.ok]
    worst = max((row.max_error for row in good), default=0)
    print(f"{len(good)} of {len(rows)} agree with Jittor to {TOLERANCE:.0e}; their largest error is {worst:.1e}")
    return 0 if len(good) == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
