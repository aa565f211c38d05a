"""`python -m inference --check`: what Jittor has to work with, and whether it computes what numpy computes."""

import ctypes
import os
import platform
import time
from collections.abc import Iterator

import numpy as np

TOLERANCE = 1e-3
"""Largest difference from numpy, as a share of the largest value: TF32, which GPUs may take, has 10 bits."""


def report(backend: str, threads: int) -> Iterator[tuple[str, str, bool]]:
    """(what, what was found, whether it is as it should be), line by line, as it becomes known. backend: cpu or gpu. Raises
    EngineError where Jittor cannot run at all."""
    from inference.engines.jittor import prepare

    yield "machine", f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", True
    if backend == "gpu":
        yield from _devices()
    prepare(backend, threads)
    start_s = time.perf_counter()
    import models  # noqa: F401, I001  (sets Jittor's environment first)
    import jittor as jt

    jt.flags.use_cuda = int(backend == "gpu")
    yield "Jittor", f"{jt.__version__}, on the {backend}, imported in {time.perf_counter() - start_s:.1f} s", True
    if backend == "gpu":
        found = {"nvcc": jt.compiler.nvcc_path, "compute capabilities": jt.flags.cuda_archs, "cuDNN": _cudnn()}
        for what, value in found.items():
            yield what, str(value or "none"), bool(value)
    for what, theirs, ours in (("convolution", _convolution, _numpy_convolution), ("attention", _attention, _numpy_attention),
                               ("training step", _training_step, _numpy_training_step)):
        start_s = time.perf_counter()
        wanted = ours()
        error = np.abs(theirs(jt) - wanted).max() / np.abs(wanted).max()
        took_s = time.perf_counter() - start_s
        yield what, f"differs from numpy by {error:.1e} ({took_s:.1f} s with compiling)", bool(error < TOLERANCE)


def _devices() -> Iterator[tuple[str, str, bool]]:
    """What the driver says; CUDA driver API, sections 6.2 to 6.5."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        yield "driver", "no libcuda.so.1", False
        return
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    text = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}, {count.value} devices"
    yield "driver", text, not failed and count.value > 0
    for index in range(count.value):
        name, size, major, minor = ctypes.create_string_buffer(128), ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGetName(name, len(name), index)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(size), index)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, index)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, index)
        yield (f"device {index}", f"{name.value.decode()}, {size.value / 2**30:.0f} GiB, compute capability "
               f"{major.value}.{minor.value}", True)


def _cudnn() -> str | None:
    """The version of the cuDNN that this process has loaded."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        loaded = {line.split()[-1] for line in file if "libcudnn.so" in line}
    if not loaded:
        return None
    library = ctypes.CDLL(loaded.pop())
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return str(library.cudnnGetVersion())


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def _convolution(jt):
    return jt.nn.conv2d(jt.array(_numbers(2, 16, 40, 40)), jt.array(_numbers(24, 16, 3, 3)), padding=1).numpy()


def _numpy_convolution():
    padded = np.pad(_numbers(2, 16, 40, 40).astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, _numbers(24, 16, 3, 3))


def _attention(jt):
    q, k, v = (jt.array(part) for part in _numbers(3, 2, 4, 64, 32))
    scores = jt.nn.matmul(q * 32**-0.5, k.transpose(-2, -1))
    return jt.nn.matmul(jt.nn.softmax(scores, dim=-1), v).numpy()


def _numpy_attention():
    q, k, v = _numbers(3, 2, 4, 64, 32).astype(np.float64)
    weights = np.exp(q @ np.swapaxes(k, -2, -1) * 32**-0.5)
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def _training_step(jt):
    """The two matrices of a network with a ReLU after one step of gradient descent."""
    x, y = jt.array(_numbers(64, 12)), jt.array(_numbers(64, 5, 1)[..., 0])
    first, second = jt.array(_numbers(12, 32, 1, 1)[..., 0, 0]), jt.array(_numbers(32, 5, 1, 1)[..., 0, 0])
    with jt.enable_grad():
        loss = ((jt.nn.relu(x @ first) @ second - y) ** 2).mean()
        steps = jt.grad(loss, [first, second])
    return np.concatenate([(weight - step).numpy().ravel() for weight, step in zip((first, second), steps)])


def _numpy_training_step():
    x, y = _numbers(64, 12).astype(np.float64), _numbers(64, 5, 1)[..., 0]
    first, second = _numbers(12, 32, 1, 1)[..., 0, 0], _numbers(32, 5, 1, 1)[..., 0, 0]
    hidden = np.maximum(x @ first, 0)
    error = 2 * (hidden @ second - y) / y.size
    steps = x.T @ (error @ second.T * (hidden > 0)), hidden.T @ error
    return np.concatenate([(weight - step).ravel() for weight, step in zip((first, second), steps)])
