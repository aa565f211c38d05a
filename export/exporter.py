"""From a module to files: trace, clean up, check, verify, write."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jittor as jt
import numpy as np
import onnx

from export import ops  # noqa: F401  (registers the rules)
from export.errors import ExportError
from export.inputs import Input, symbol_values
from export.ir import write_ir
from export.passes import clean_up
from export.registry import OPSETS
from export.serialise import to_model, write_onnx
from export.tracer import Trace
from export.verify import Agreement, verify


@dataclass(frozen=True)
class Exported:
    """model: what was written to the ONNX file. assumptions: what the trace took for granted about dynamic sizes (see
    `Trace`). agreements: how well the engines agree with Jittor, one per batch. files: what was written."""

    model: onnx.ModelProto
    assumptions: list[str]
    agreements: list[Agreement]
    files: list[Path]


def to_onnx(model: jt.Module, inputs: list[Input], *, outputs: list[str] | None = None, opset: int = 17,
            facts: dict[str, str] | None = None, fold_norms: bool = True) -> tuple[onnx.ModelProto, list[str]]:
    """The ONNX model of a Jittor module in eval mode, checked but not yet verified, and the trace's assumptions.

    inputs are given to `execute` by name where it has arguments of those names, else in order. outputs: their names;
    default "output", or "output_0", ..., or the keys of a dict. facts go to metadata_props. fold_norms: whether
    BatchNorm goes into the convolution before it. The module is left as it was. Raises ExportError.
    """
    if opset not in OPSETS:
        raise ExportError("the model", f"opset must be {OPSETS[0]}..{OPSETS[-1]}; got {opset}")
    trace = Trace(model, inputs, opset)
    graph = trace.run(outputs)
    clean_up(graph, fold_norms)
    facts = {key: str(fact) for key, fact in (facts or {}).items()}
    return to_model(graph, type(model).__name__, facts), trace.assumptions


def export(model: jt.Module, inputs: list[Input], path: str | os.PathLike, *, outputs: list[str] | None = None,
           opset: int = 17, facts: dict[str, str] | None = None, fold_norms: bool = True, ir: bool = False,
           f16: bool = False, cases: list[dict[str, np.ndarray]] | None = None, tolerance: float = 1e-4) -> Exported:
    """Write `path` (ONNX; weights above 2 GiB into `path`.data beside it) and with `ir` or `f16` an OpenVINO IR beside it
    (.xml and .bin; with `f16` its weights are half precision), once ONNX Runtime and OpenVINO agree with Jittor on
    `cases` to `tolerance` (see `export.verify`).

    cases: inputs by name, one dict a case; default random ones of batch 1, 2 and 7. Other arguments as for `to_onnx`.
    Nothing is written where something fails. Raises ExportError.
    """
    path = Path(path)
    made, assumptions = to_onnx(model, inputs, outputs=outputs, opset=opset, facts=facts, fold_norms=fold_norms)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        onnx_path = Path(folder) / path.name
        files, xml_path = write_onnx(made, onnx_path), None
        if ir or f16:
            xml_path = onnx_path.with_suffix(".xml")
            files += write_ir(onnx_path, xml_path, facts or {}, f16)
        agreements = verify(model, onnx_path, xml_path, cases or example_cases(inputs), tolerance, f16)
        # The ONNX file last: what it refers to is there by then.
        written = [install(file, path.parent / file.name) for file in reversed(files)][::-1]
    return Exported(made, assumptions, agreements, written)


def example_cases(inputs: list[Input], batches=(1, 2, 7), seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Random inputs, one case a batch; the second at the second size of the other dynamic axes."""
    rng = np.random.default_rng(seed)
    pairs = symbol_values(inputs)
    batch_names = {spec.dynamic[0] for spec in inputs if 0 in spec.dynamic}
    cases = []
    for number, batch in enumerate(batches if batch_names else (1, 1)):
        values = {name: pair[number == 1] for name, pair in pairs.items()} | dict.fromkeys(batch_names, batch)
        cases.append({spec.name: spec.example(values, rng) for spec in inputs})
    return cases


def install(source: Path, target: Path) -> Path:
    """Move a file of the same file system into its place, whole or not at all."""
    with open(source, "rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
    return target
