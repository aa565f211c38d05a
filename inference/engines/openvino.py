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

    def __init__(self, weights: ModelFiles, threads: int):
        path, bin_path = weights.path("openvino"), weights.path("openvino_bin")
        core = openvino.Core()
        try:
            model = core.read_model(path, bin_path)
            self.facts = _facts(model)
            self._request = core.compile_model(model, "CPU", {
                "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it: other masks
                "PERFORMANCE_HINT": "LATENCY",
            }).create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"{path} must be a model that OpenVINO {openvino.__version__} reads; "
                              f"got {' '.join(str(error).split())}") from error

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        # Inputs are read in place; outputs are copied, for the request's own buffer is overwritten by the next run.
        outputs = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        return next(iter(outputs.values()))


def _facts(model: "openvino.Model") -> dict[str, str]:
    if not model.has_rt_info([FACTS_SECTION]):
        return {}
    return {key: str(value) for key, value in model.get_rt_info([FACTS_SECTION]).value.items()}
