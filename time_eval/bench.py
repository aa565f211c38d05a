"""python -m time_eval.bench: the six made cases over models and engines, by turns, to a CSV named by the processor.

Every run is predict.sh as a process of its own on the bare host. By turns, for a machine's speed changes from minute to minute.
"""

import argparse
import datetime
import itertools
import multiprocessing
import re
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from inference.engines.compiled import LIMIT, compiled_folder
from inference.segment import ROI
from inference.weights import WeightsError, find_model, weights_folder
from time_eval.cases import CASES, write_case
from time_eval.report import machine, write_rows
from time_eval.runners import BareRunner, Run

COLUMNS = ("case", "model", "engine", "isa", "weights", "runs", "failed", "wall_s", "cpu_s", "peak_mb")
RANDOM = "medficientsam-l0"
"""The challenge's winner, of which no weights ship: what it costs does not depend on them."""
NATIVE = "native"
"""All instructions that the processor has; any other name is a limit to them, a value of LIMIT."""
MODELS = ("roi", "roi-int8", "medficientsam-nano", "medsam-nano", RANDOM)


@dataclass(frozen=True)
class Contender:
    """What is timed: a model on an engine, with the weights of a folder. isa: the instruction set that oneDNN may use at most,
    or NATIVE. random: nobody trained the weights."""

    model: str
    engine: str
    weights: Path
    isa: str = NATIVE
    random: bool = False

    def settings(self) -> dict[str, str]:
        """The environment of its runs, beside this process's own."""
        limit = {} if self.isa == NATIVE else {LIMIT: self.isa}
        return {"MODEL": self.model, "ENGINE": self.engine, "WEIGHTS": str(self.weights)} | limit

    def runner(self, timeout_s: float) -> BareRunner:
        """predict.sh with these settings."""
        return BareRunner(timeout_s, settings=self.settings())


def contenders(models: list[str], engines: list[str], isas: list[str], scratch: Path) -> list[Contender]:
    """Models by engines by instruction sets, with a folder for the networks that each compiles (`inference.precompile` fills
    the native one; in the others, the first run does). A model without weights gets random ones in `scratch`. Raises
    WeightsError for unknown names."""
    found = []
    for model in models:
        folder, random = weights_folder(), False
        try:
            find_model(ROI.get(model, (model,))[0])
        except WeightsError:
            if model != RANDOM:
                raise
            folder, random = scratch.resolve(), True  # runs have a working folder of their own
            if not (scratch / model).is_dir():
                publish_random(model, scratch)
        for engine, isa in itertools.product(engines, isas):
            found.append(Contender(model, engine, folder, isa, random))
            if random or isa != NATIVE:  # the winner's own program keeps compiled models too
                compiled_folder(folder, found[-1].settings().get(LIMIT)).mkdir(parents=True, exist_ok=True)
    return found


def publish_random(model: str, folder: Path) -> None:
    """Exports `model` with random weights to `folder`, in a process of its own: memory that this one came to hold would count
    as that of every run, see `runners.BareRunner`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        apart.submit(_publish_random, model, folder).result()


def _publish_random(model: str, folder: Path) -> None:
    import jittor as jt

    import models  # noqa: F401
    from export.publish import publish
    from models.sam.build import build, save_weights

    jt.set_global_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(build(model), folder / "fresh.safetensors")
    publish(model, folder / "fresh.safetensors", folder)
    (folder / "fresh.safetensors").unlink()


def by_turns(cases: list[str], which: list[Contender], runs: int, timeout_s: float) -> dict[tuple[str, Contender], list[Run]]:
    """`runs` runs of every contender on every case; between two runs of one, all others have theirs."""
    found = {pair: [] for pair in itertools.product(cases, which)}
    with tempfile.TemporaryDirectory() as folder:
        works = {}
        for case in cases:
            works[case] = Path(folder) / case
            (works[case] / "inputs").mkdir(parents=True)
            write_case(case, works[case] / "inputs")
        for _ in tqdm(range(runs), unit="round", disable=not sys.stderr.isatty()):
            for case, contender in found:
                found[case, contender].append(contender.runner(timeout_s).run(works[case]))
    return found


def row(case: str, contender: Contender, runs: list[Run]) -> dict:
    """Medians of the runs that ended well."""
    good = [run for run in runs if run.exit_code == 0]
    values = {"wall_s": [run.elapsed_s for run in good], "cpu_s": [run.usage.cpu_s for run in good],
              "peak_mb": [run.usage.resident_mb for run in good]}
    return {"case": case, "model": contender.model, "engine": contender.engine, "isa": contender.isa,
            "weights": "random" if contender.random else "trained", "runs": len(runs), "failed": len(runs) - len(good)} | {
                key: round(statistics.median(measured), 3) if measured else "" for key, measured in values.items()}


def file_name() -> str:
    """Such as 2026-11-21_amd-epyc-2_bench.csv: date, processor, cores."""
    processor, cores = machine().rsplit(", ", 1)
    words = re.findall(r"[a-z0-9]+", processor.lower().replace("(r)", " ").replace("(tm)", " "))[:4]
    return f"{datetime.date.today()}_{'-'.join(words)}-{cores.split()[0]}_bench.csv"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m time_eval.bench", description=__doc__.split(": ", 1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--engines", nargs="+", default=["openvino"], metavar="NAME", help="default: openvino")
    parser.add_argument("--isa", nargs="+", default=[NATIVE], metavar="NAME",
                        help="limits to the processor's instructions: native, AVX2, AVX2_VNNI, AVX512_CORE, AVX512_CORE_VNNI, "
                             "... (default: native)")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="NAME", help="default: all six")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each (default %(default)s)")
    parser.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds a run may take (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("time_eval/results"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, default=Path("out/bench-weights"), metavar="DIR",
                        help=f"where random weights of {RANDOM} are kept (default %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1; got {arguments.runs}")
    try:
        which = contenders(arguments.models, arguments.engines, arguments.isa, arguments.scratch)
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (WeightsError, OSError) as error:
        print(f"time_eval.bench: {error}", file=sys.stderr)
        return 2
    found = by_turns(arguments.cases, which, arguments.runs, arguments.timeout)
    rows = [row(*pair, runs) for pair, runs in found.items()]
    for (case, contender), runs in found.items():
        for said in {run.last_line for run in runs if run.exit_code}:
            print(f"time_eval.bench: {case} {contender.model} {contender.engine}: {said}", file=sys.stderr)
    path = arguments.out / file_name()
    write_rows(path, COLUMNS, rows)
    for line in [dict.fromkeys(COLUMNS), *rows]:
        print("  ".join(f"{key if line['case'] is None else line[key]!s:>18}" for key in COLUMNS))
    print(path)
    return 1 if any(line["failed"] for line in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
