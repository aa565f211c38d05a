"""The denoiser that is judged: a model of the weights folder, or the weights of a training run."""

import hashlib
from pathlib import Path

import numpy as np

from inference.engines import Engine, open_engine
from inference.weights import find_model

ROLES = {"openvino": "openvino_bin", "onnxruntime": "onnxruntime", "jittor": "jittor"}
"""The file of each engine that has the weights."""


def open_model(name: str, engine: str) -> tuple[Engine, str]:
    """A model of weights/manifest.json by its name, and the SHA-256 of its weights. Raises WeightsError, EngineError."""
    files = find_model(name)
    return open_engine(engine, files), sha256(files.path(ROLES[engine]))


def open_run(path: Path) -> tuple[Engine, str]:
    """The same of a safetensors file that training wrote, whatever its recipe changed of the model, in Jittor. Raises
    ValueError, OSError, SafetensorError."""
    return RunEngine(path), sha256(path)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RunEngine:
    """An `Engine` in Jittor."""

    concurrent = False

    def __init__(self, path: Path):
        import models  # noqa: F401, I001  (sets Jittor's environment first)
        import jittor as jt
        from models import cpu
        from models.medsegdiff.build import open_file
        from models.signals import restore_signals

        restore_signals()
        self._jt, self._cpu = jt, cpu
        network = open_file(path)
        self.facts = network.facts()
        self._step = network.graphs()[0].module

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Engine`."""
        with self._jt.no_grad(), self._cpu.installed():
            outputs = self._step(**{name: self._jt.array(array) for name, array in inputs.items()})
            return {name: output.numpy() for name, output in outputs.items()}

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        output, = self.run(**inputs).values()
        return output
