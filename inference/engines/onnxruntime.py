"""ONNX Runtime on the CPU."""

import numpy as np

from inference.engines import EngineError
from inference.weights import ModelFiles

try:
    import onnxruntime
except ImportError as error:
    raise EngineError(f"engine onnxruntime must be installed: pip install onnxruntime; got {error}") from error


class OnnxRuntimeEngine:
    """An ONNX model. `facts` are its metadata_props."""

    concurrent = True

    def __init__(self, weights: ModelFiles, threads: int):
        path = weights.path("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait cost CPU time and gain next to nothing on one request at a time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base class but this one
            raise EngineError(f"{path} must be a model that ONNX Runtime {onnxruntime.__version__} reads; "
                              f"got {' '.join(str(error).split())}") from error
        self.facts = dict(self._session.get_modelmeta().custom_metadata_map)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs)))

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        output, = self.run(**inputs).values()
        return output
