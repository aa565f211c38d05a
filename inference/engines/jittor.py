"""Jittor, on the CPU or on an NVIDIA GPU: the one engine that needs a compiler at run time and the `models` package."""

import ctypes
import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np

from inference.engines import EngineError
from inference.weights import ModelFiles

_HEADER_BYTES = 100_000_000  # the most that the safetensors format allows


class JittorEngine:
    """A network of `models` with the weights of a safetensors file. `facts` are the file's metadata.

    Slow at its first start: Jittor compiles its kernels then, and keeps them in its cache.
    """

    concurrent = False

    def __init__(self, weights: ModelFiles, threads: int, backend: str = "cpu"):
        path = weights.path("jittor")
        self.facts = _metadata(path)
        prepare(backend, threads)
        # After prepare, for these read the environment when they are imported.
        import models  # noqa: F401, I001  (sets Jittor's environment first)
        import jittor as jt
        from models.signals import restore_signals
        from models import cpu
        from models.catalogue import builder_of

        restore_signals()
        if backend == "gpu" and not jt.has_cuda:
            raise EngineError("backend gpu must have a Jittor with CUDA; got one that this process imported without it")
        jt.flags.use_cuda = int(backend == "gpu")
        self._jt, self._cpu = jt, cpu
        try:
            builder = builder_of(weights.family)
            network = builder.build(weights.family)
            builder.load_weights(network, path)
        except ValueError as error:
            raise EngineError(str(error)) from error
        network.eval()
        self._network = next(graph.module for graph in network.graphs() if graph.name == weights.graph)

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        with self._jt.no_grad(), self._cpu.installed():
            outputs = self._network(**{name: self._jt.array(array) for name, array in inputs.items()})
            named = outputs if isinstance(outputs, dict) else {"output": outputs}
            return {name: output.numpy() for name, output in named.items()}

    def __call__(self, **inputs: np.ndarray) -> np.ndarray:
        output, = self.run(**inputs).values()
        return output


def prepare(backend: str, threads: int) -> None:
    """Set Jittor's environment, which it reads when it is imported. Raises EngineError naming all that is missing."""
    missing = []
    if importlib.util.find_spec("jittor") is None:
        missing.append("Jittor (pip install -r requirements-dev.txt)")
    if shutil.which(os.environ.get("cc_path") or "g++") is None:
        missing.append("the compiler g++ (apt-get install g++ python3-dev)")
    if backend == "gpu":
        nvcc = _nvcc()
        if nvcc is None:
            missing.append("the CUDA compiler nvcc (install the CUDA toolkit, or set nvcc_path to it)")
        if not _has_nvidia_driver():
            missing.append("an NVIDIA driver (libcuda.so.1; in a container, run it with --gpus all)")
    if missing:
        raise EngineError(f"engine jittor with backend {backend} cannot run here; missing: {'; '.join(missing)}")
    os.environ["nvcc_path"] = nvcc if backend == "gpu" else ""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _nvcc() -> str | None:
    for candidate in (os.environ.get("nvcc_path"), "nvcc", "/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    return None


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes, little-endian, the length of the JSON header that follows.

    Format: github.com/huggingface/safetensors, README, section "Format".
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _HEADER_BYTES:
                raise ValueError(f"a header of {length} bytes")
            return dict(json.loads(file.read(length)).get("__metadata__", {}))
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"{path} must be a safetensors file; got {error}") from error
