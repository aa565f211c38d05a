"""Engines: what runs a network. One small interface, three engines; each imports its library only when it is opened."""

import os
from typing import Protocol

import numpy as np

from inference.weights import ModelFiles

ENGINES = ("openvino", "onnxruntime", "jittor")
BACKENDS = ("cpu", "gpu")


class EngineError(RuntimeError):
    """An engine that cannot run here. The text says what is missing and how to get it."""


class Engine(Protocol):
    """A network ready to run.

    facts       what the model file says of its pre-processing, all strings: looks "192,192;384,384@256", margin "0.2", ...
    concurrent  whether it may run in one thread while another engine runs in another
    """

    facts: dict[str, str]
    concurrent: bool

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a batch: float32 arrays by the names of the network's inputs to its outputs by name, float32 arrays of their
        own, which later runs leave alone."""

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        """The same of a network with one output: that array."""


def open_engine(engine: str, weights: ModelFiles, backend: str = "cpu") -> Engine:
    """Load a model. engine: openvino, onnxruntime or jittor; backend: cpu, or gpu, which only jittor has.

    Raises EngineError where the engine cannot run here, WeightsError where the model has no usable file for it.
    """
    if engine not in ENGINES:
        raise EngineError(f"engine must be one of {', '.join(ENGINES)}; got {engine}")
    if backend not in BACKENDS:
        raise EngineError(f"backend must be one of {', '.join(BACKENDS)}; got {backend}")
    if backend == "gpu" and engine != "jittor":
        raise EngineError(f"backend gpu must have engine jittor; got {engine}")
    threads = thread_count()
    if engine == "openvino":
        from inference.engines.openvino import OpenVinoEngine
        return OpenVinoEngine(weights, threads)
    if engine == "onnxruntime":
        from inference.engines.onnxruntime import OnnxRuntimeEngine
        return OnnxRuntimeEngine(weights, threads)
    from inference.engines.jittor import JittorEngine
    return JittorEngine(weights, threads, backend)


def thread_count() -> int:
    """Threads for a network: the environment's THREADS, else OMP_NUM_THREADS, else the CPUs this process may use."""
    for variable in ("THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(variable)
        if value:
            if not (value.isascii() and value.isdigit() and int(value) > 0):
                raise EngineError(f"{variable} must be a whole number, at least 1; got {value}")
            return int(value)
    return len(os.sched_getaffinity(0))
