"""Jittor against ONNX Runtime against OpenVINO, on the same inputs."""

from dataclasses import dataclass
from pathlib import Path

import jittor as jt
import numpy as np
import onnxruntime
import openvino

from export.errors import ExportError
from export.inputs import call
from export.outputs import flatten
from export.tracer import evaluation

HALF_PRECISION = 300
"""How much more error a model with weights in half precision may have: they are rounded to 11 bits."""


@dataclass(frozen=True)
class Agreement:
    """How far two engines are from Jittor on one case: the largest absolute difference over all outputs, and the
    largest after every output was divided by its standard deviation ("unit std")."""

    batch: int
    max_abs_error_onnxruntime: float
    max_abs_error_openvino: float
    unit_std_error_onnxruntime: float
    unit_std_error_openvino: float

    def record(self) -> dict:
        """For the manifest: three significant digits."""
        return {name: value if name == "batch" else float(f"{value:.2e}") for name, value in vars(self).items()}


def verify(model: jt.Module, onnx_path: Path, xml_path: Path | None, cases: list[dict[str, np.ndarray]],
           tolerance: float = 1e-4, f16: bool = False) -> list[Agreement]:
    """Run every case (inputs by name; the batch is the first axis of the first) in all three, and compare.

    OpenVINO reads `xml_path`, or the ONNX file where that is None, and computes in float32. Raises ExportError where a
    shape differs, a value is not finite, or a "unit std" error is above `tolerance` (of OpenVINO with f16, above
    HALF_PRECISION times that).
    """
    # One engine after the other: of a model of gigabytes only one holds its copies.
    expected = [run_jittor(model, case) for case in cases]
    jt.gc()
    names, by_onnx = _run_onnxruntime(onnx_path, cases)
    by_ir = _run_openvino(xml_path or onnx_path, cases)
    agreements = []
    for case, want, *found in zip(cases, expected, by_onnx, by_ir):
        (plain_onnx, unit_onnx), (plain_ir, unit_ir) = (
            _errors(names, want, got, engine) for engine, got in zip(("ONNX Runtime", "OpenVINO"), found))
        batch = len(next(iter(case.values())))
        agreements.append(Agreement(batch, plain_onnx, plain_ir, unit_onnx, unit_ir))
    _refuse_disagreement(agreements, tolerance, f16)
    return agreements


def run_jittor(model: jt.Module, case: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of the model in eval mode, in order."""
    arguments = {name: jt.array(array, dtype=str(array.dtype)) for name, array in case.items()}
    with jt.no_grad(), evaluation(model):
        outputs = [output for _, output in flatten(call(model, arguments))]
        jt.sync(outputs)  # together, so that Jittor compiles fewer kernels
        return [np.array(output.numpy()) for output in outputs]


def _run_onnxruntime(path: Path, cases: list[dict[str, np.ndarray]]) -> tuple[list[str], list[list[np.ndarray]]]:
    """Names of the outputs, and the outputs of each case in that order."""
    engine = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [output.name for output in engine.get_outputs()], [engine.run(None, case) for case in cases]


def _run_openvino(path: Path, cases: list[dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
    """The outputs of each case, in the model's order."""
    core = openvino.Core()
    engine = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = [engine(case) for case in cases]
    return [[result[i] for i in range(len(engine.outputs))] for result in results]


def _errors(names, expected, found, engine):
    """(largest error, largest error of outputs of unit std) over all outputs."""
    plain, unit = 0.0, 0.0
    for name, want, got in zip(names, expected, found, strict=True):
        if got.shape != want.shape:
            raise ExportError("verification", f"output {name} must have Jittor's shape {want.shape}; {engine} has "
                              f"{got.shape}", "a size was taken for a constant: make that axis static (--dynamic)")
        if not (np.isfinite(want).all() and np.isfinite(got).all()):
            raise ExportError("verification", f"output {name} must be finite in Jittor and in {engine}; it has NaN or "
                              "infinity", "check the weights and the inputs")
        error = float(np.abs(got.astype(np.float64) - want).max(initial=0))
        # A nearly constant output has no scale of its own: then it is that of its values.
        scale = max(float(want.std(dtype=np.float64)), 0.01 * float(np.abs(want).max(initial=0)))
        plain, unit = max(plain, error), max(unit, error / scale if scale else error)
    return plain, unit


def _refuse_disagreement(agreements, tolerance, f16):
    for engine, limit in (("onnxruntime", tolerance), ("openvino", tolerance * (HALF_PRECISION if f16 else 1))):
        worst = max(agreements, key=lambda agreement: getattr(agreement, f"unit_std_error_{engine}"))
        error = getattr(worst, f"unit_std_error_{engine}")
        if not error <= limit:
            raise ExportError(
                "verification",
                f"{engine} must agree with Jittor to {limit:.0e} on outputs of unit std; got {error:.1e} at "
                f"batch {worst.batch}\n{table(agreements)}",
                "nothing was written. --tolerance allows more, if you must")


def table(agreements: list[Agreement]) -> str:
    """For people: one line a batch."""
    lines = ["largest difference from Jittor   ONNX Runtime   (unit std)      OpenVINO   (unit std)"]
    for one in agreements:
        numbers = (one.max_abs_error_onnxruntime, one.unit_std_error_onnxruntime, one.max_abs_error_openvino,
                   one.unit_std_error_openvino)
        lines.append(f"  batch {one.batch:<22}" + "".join(f"{number:>14.1e}" for number in numbers))
    return "\n".join(lines)
