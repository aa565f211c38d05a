"""OpenVINO on the CPU, the default engine."""

import numpy as np

from inference.engines import EngineError
from inference.weights import ModelFiles

try:
    import openvino
except ImportError as error:
    raise EngineError(f"engine openvino must be installed: pip install openvino; got {error}") from error

FACTS_SECTION = "medseg"


class OpenVinoEngine:
    """An OpenVINO IR (.xml and .bin), computed in float32. `facts` are the section `medseg` of its rt_info."""

    concurrent = True

    def __init__(self, weights: ModelFiles, threads: int):
        self._path = path = weights.path("openvino")
        bin_path = weights.path("openvino_bin")
        core = openvino.Core()
        try:
            self._model = core.read_model(path, bin_path)
        except RuntimeError as error:
            raise EngineError(f"{path} must be a model that OpenVINO {openvino.__version__} reads; "
                              f"got {' '.join(str(error).split())}") from error
        self.facts = _facts(self._model)
        self._batched = {port.any_name for port in self._model.inputs if port.partial_shape[0].is_dynamic}
        self._core = core
        self._properties = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it: other masks
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._requests: dict[tuple, openvino.InferRequest] = {}

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        # A kernel for one shape is compiled sooner, and is faster, than one for every shape; the batch size stays free.
        shapes = tuple(sorted((name, (-1 if name in self._batched else array.shape[0], *array.shape[1:]))
                              for name, array in inputs.items()))
        if shapes not in self._requests:
            self._requests[shapes] = self._compile(shapes)
        # Inputs are read in place; outputs are copied, for the request's own buffer is overwritten by the next run.
        outputs = self._requests[shapes].infer(inputs, share_inputs=True, share_outputs=False)
        return next(iter(outputs.values()))

    def _compile(self, shapes) -> "openvino.InferRequest":
        try:
            self._model.reshape({name: openvino.PartialShape(shape) for name, shape in shapes})
            return self._core.compile_model(self._model, "CPU", self._properties).create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"{self._path} must be a model for inputs {', '.join(f'{n} {s}' for n, s in shapes)}; "
                              f"got {' '.join(str(error).split())}") from error


def _facts(model: "openvino.Model") -> dict[str, str]:
    if not model.has_rt_info([FACTS_SECTION]):
        return {}
    return {key: str(value) for key, value in model.get_rt_info([FACTS_SECTION]).value.items()}
