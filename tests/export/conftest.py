"""How the tests of the exporter compare what was exported with Jittor itself."""

import jittor as jt
import numpy as np
import onnxruntime
import openvino
import pytest
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from export import Input, to_onnx
from export.outputs import flatten


class Calls(nn.Module):
    """A module that calls a function, and has the modules that it needs as attributes."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def execute(self, *inputs):
        return self.function(self, *inputs)


def run_jittor(model, arrays):
    """Outputs by name; all computed together, for then Jittor compiles one kernel for most of them."""
    model.eval()
    with jt.no_grad():
        outputs = dict(flatten(model(*(jt.array(array, dtype=str(array.dtype)) for array in arrays.values()))))
    jt.sync(list(outputs.values()))
    return {name: output.numpy() for name, output in outputs.items()}


def run_onnx(model, arrays):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, arrays)))


def compile_openvino(model):
    core = openvino.Core()
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.fixture
def agrees():
    """agrees(model, inputs, ...): export it, and compare ONNX Runtime and OpenVINO with Jittor at two `sizes` of the
    dynamic axes: shapes, dtypes, values. Returns the ONNX model.

    model: a module, or a function of (module, *Vars) with the `modules` that it uses as attributes. inputs: shapes, or
    Inputs. values: shape to array; default normal ones. expected: the outputs by name from the inputs as arrays; default
    what Jittor computes, which compiles a kernel for every kind of operation.
    """
    def check(model, *inputs, modules=None, tolerance=2e-6, opset=17, values=None, expected=None,
              sizes=({"batch": 1}, {"batch": 3})):
        if not isinstance(model, nn.Module):
            model = Calls(model, **(modules or {}))
        inputs = [spec if isinstance(spec, Input) else Input(f"x{i}", spec) for i, spec in enumerate(inputs)]
        exported, assumptions = to_onnx(model, inputs, opset=opset)
        assert assumptions == []
        compiled = compile_openvino(exported)
        rng = np.random.default_rng(0)
        for size in sizes:
            arrays = {spec.name: values(spec.sizes(size)) if values else spec.example(size, rng) for spec in inputs}
            wanted = dict(expected(*arrays.values())) if expected else run_jittor(model, arrays)
            result = compiled(arrays)
            engines = {"ONNX Runtime": run_onnx(exported, arrays), "OpenVINO": dict(zip(wanted, result.to_tuple()))}
            for engine, outputs in engines.items():
                for name, want in wanted.items():
                    where = f"{name} at {size} in {engine}"
                    assert (outputs[name].shape, outputs[name].dtype) == (want.shape, want.dtype), where
                    np.testing.assert_allclose(outputs[name], want, rtol=10 * tolerance, atol=tolerance, err_msg=where)
        return exported
    return check


@pytest.fixture
def kinds():
    """kinds(ONNX model): its operators, in order."""
    return lambda model: [node.op_type for node in model.graph.node]
