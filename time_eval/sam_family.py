"""python -m time_eval.sam_family [NAMES] --csv FILE: size, agreement and cost of every model of the SAM family.

Each model is built with random weights, exported and run, in a process of its own; what it costs does not depend on weights.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from time_eval.report import as_line, write_rows

COLUMNS = ("model", "image_px", "parameters", "keys", "exported_mb", "unit_std_error_onnxruntime", "unit_std_error_openvino",
           "cpu_s_per_image", "cpu_s_per_box", "peak_mb")
BOXES = 8
RUNS = 3


def measure(name: str) -> dict:
    """One row. Errors: the largest over graphs and cases, see `export.verify`. CPU seconds: medians of three runs of
    OpenVINO, whose first is not counted; a box as one of eight."""
    import models  # noqa: F401, I001  (sets Jittor's environment first)
    import jittor as jt
    from export.publish import publish
    from inference.engines import open_engine
    from inference.weights import ModelFiles
    from models.sam.build import build, parameter_count, save_weights

    jt.set_global_seed(0)
    model = build(name)
    row = {"model": name, "image_px": model.config.preprocessing.image_size, "parameters": parameter_count(model),
           "keys": len(model.state_dict())}
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "fresh.safetensors"
        save_weights(model, fresh)
        del model
        publish(name, fresh, folder)
        entry, = json.loads((Path(folder) / "manifest.json").read_text())["models"]
        files = ModelFiles(name, entry["family"], Path(folder), entry["files"], entry["bytes"])
        row["exported_mb"] = sum(size for path, size in entry["bytes"].items() if path.endswith((".xml", ".bin"))) / 1e6
        for engine in ("onnxruntime", "openvino"):
            key = f"unit_std_error_{engine}"
            row[key] = max(agreement[key] for agreement in entry["verification"])
        encoder, decoder = (open_engine("openvino", files.part(graph)) for graph in ("encoder", "decoder"))
        rng = np.random.default_rng(0)
        image = rng.uniform(0, 1, (1, 3, row["image_px"], row["image_px"])).astype(np.float32)
        boxes = np.sort(rng.uniform(0, 255, (BOXES, 2, 2)), axis=1).reshape(BOXES, 4).astype(np.float32)
        embedding = encoder(image=image)
        row["cpu_s_per_image"] = _cpu_s(lambda: encoder(image=image))
        row["cpu_s_per_box"] = _cpu_s(lambda: decoder(embedding=embedding, boxes=boxes,
                                                      shape=np.array([256, 256], np.float32))) / BOXES
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def _cpu_s(run) -> float:
    run()
    times = []
    for _ in range(RUNS):
        start_s = time.process_time()
        run()
        times.append(time.process_time() - start_s)
    return float(np.median(times))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from models.sam.config import CONFIGS

    parser = argparse.ArgumentParser("python -m time_eval.sam_family", description=__doc__.split(": ", 1)[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(CONFIGS)}")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="table to write")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(CONFIGS):
        print(f"time_eval.sam_family: NAME must be one of {', '.join(CONFIGS)}; got {unknown.pop()}", file=sys.stderr)
        return 2
    if arguments.one:
        print(json.dumps(measure(arguments.names[0])))
        return 0
    rows, failed = [], False
    for name in arguments.names or CONFIGS:
        done = subprocess.run([sys.executable, "-m", "time_eval.sam_family", "--one", name], stdout=subprocess.PIPE, text=True,
                              check=False)
        if done.returncode:
            print(f"time_eval.sam_family: {name} failed, status {done.returncode}", file=sys.stderr)
            failed = True
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(as_line(rows[-1]), flush=True)
    if arguments.csv:
        write_rows(arguments.csv, COLUMNS, rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
