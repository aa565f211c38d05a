"""OpenVINO on the CPU, the default engine."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from inference.engines import EngineError
from inference.engines.compiled import compiled_folder
from inference.engines.openvino_c import Library, Model, OpenVinoError, Request
from inference.weights import ModelFiles

FACTS_SECTION = "medseg"


class OpenVinoEngine:
    """An OpenVINO IR (.xml and .bin), computed in float32. `facts` are the section `medseg` of its rt_info."""

    concurrent = True

    def __init__(self, weights: ModelFiles, threads: int):
        self._path = weights.path("openvino")
        try:
            library = Library()
        except (ImportError, OSError) as error:
            raise EngineError(f"engine openvino must be installed: pip install openvino; got {error}") from error
        try:
            self._model = Model(library, self._path, weights.path("openvino_bin"))
        except OpenVinoError as error:
            raise EngineError(f"{self._path} must be a model that OpenVINO {library.version()} reads; got {error}") from error
        self.facts = _facts(self._path)
        self._properties = {
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it: other masks
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",  # else every process of one thread sits on the first core, beside the others
        }
        compiled = compiled_folder(weights.folder)
        if compiled.is_dir():
            self._properties |= {"CACHE_DIR": str(compiled), "CACHE_MODE": "OPTIMIZE_SIZE",
                                 "WEIGHTS_PATH": str(weights.path("openvino_bin"))}
        self._requests: dict[tuple, Request] = {}

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        # A kernel for one shape is compiled sooner, and is faster, than one for every shape. The first two axes stay free
        # where they are: they count objects, frames, points, of which there are many numbers.
        shapes = {name: tuple(-1 if free and axis < 2 else side
                              for axis, (free, side) in enumerate(zip(dynamic, inputs[name].shape)))
                  for name, dynamic in self._model.inputs.items()}
        key = tuple(shapes.values())
        try:
            if key not in self._requests:
                self._requests[key] = self._model.compile(shapes, self._properties)
            return self._requests[key](inputs)
        except OpenVinoError as error:
            wanted = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise EngineError(f"{self._path} must be a model for inputs {wanted}; got {error}") from error

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        output, = self.run(**inputs).values()
        return output


def _facts(path: Path) -> dict[str, str]:
    """Of the rt_info of the whole model, which is the last in the file: the C API does not hand it out."""
    text = path.read_bytes()
    start, end = text.rfind(b"<rt_info>"), text.rfind(b"</rt_info>")
    if start < 0:
        return {}
    section = ElementTree.fromstring(text[start:end] + b"</rt_info>").find(FACTS_SECTION)
    return {} if section is None else {fact.tag: fact.get("value", "") for fact in section}
