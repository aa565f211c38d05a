"""OpenVINO by its C API, as much of it as the engine needs. `import openvino` costs a short run a third of its CPU time;
the C library, which the same wheel brings along, costs next to nothing and needs nothing but ctypes.

API: OpenVINO, src/bindings/c. Every handle lives until the object that holds it is collected.
"""

import ctypes
import importlib.util
import weakref
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np


class OpenVinoError(RuntimeError):
    """What OpenVINO says is wrong, in one line."""


class _Dimension(ctypes.Structure):
    _fields_ = [("min", c_int64), ("max", c_int64)]


class _PartialShape(ctypes.Structure):
    _fields_ = [("rank", _Dimension), ("dimensions", POINTER(_Dimension))]


class _Shape(ctypes.Structure):
    _fields_ = [("rank", c_int64), ("sides", POINTER(c_int64))]


class _Version(ctypes.Structure):
    _fields_ = [("build", c_char_p), ("description", c_char_p)]


class Library:
    """The shared library, with calls that raise. Raises ImportError where the wheel is not installed."""

    def __init__(self):
        package = importlib.util.find_spec("openvino")
        found = sorted(Path(package.origin).parent.glob("libs/libopenvino_c.so*")) if package and package.origin else []
        if not found:
            raise ImportError("no libopenvino_c in the package openvino" if package else "no package openvino")
        self._c = ctypes.CDLL(str(found[-1]))
        for text in ("ov_get_error_info", "ov_get_last_err_msg"):
            getattr(self._c, text).restype = c_char_p

    def __call__(self, function: str, *arguments) -> None:
        """Call `function`; raises OpenVinoError unless its status is 0."""
        status = getattr(self._c, function)(*arguments)
        if status:
            text = self._c.ov_get_last_err_msg() or self._c.ov_get_error_info(status) or b""
            raise OpenVinoError(" ".join(text.decode(errors="replace").split()) or f"{function}: status {status}")

    def made(self, owner: object, kind: str, function: str, *arguments, then: Sequence = ()) -> c_void_p:
        """The handle that `function` writes between `arguments` and `then`; ov_<kind>_free takes it when `owner` is
        collected."""
        handle = c_void_p()
        self(function, *arguments, byref(handle), *then)
        # Not at exit: the process gives everything back at once, and sooner.
        weakref.finalize(owner, getattr(self._c, f"ov_{kind}_free"), handle).atexit = False
        return handle

    def version(self) -> str:
        """Such as 2026.4.1-22982-e213a147257-releases/2026/4."""
        version = _Version()
        self("ov_get_openvino_version", byref(version))
        return version.build.decode()


class Model:
    """A network read from an IR. inputs: the names of its inputs, each with which of its axes are dynamic; outputs: the names
    of its outputs."""

    def __init__(self, library: Library, xml: Path, weights: Path):
        self._call = library
        self._core = library.made(self, "core", "ov_core_create")
        self._model = library.made(self, "model", "ov_core_read_model", self._core, bytes(xml), bytes(weights))
        self.inputs: dict[str, list[bool]] = {}
        for name, port in self._ports("input"):
            shape, self._float32 = _PartialShape(), ctypes.c_int()
            library("ov_port_get_partial_shape", port, byref(shape))
            # The number of an element type differs between releases: every input of ours is float32.
            library("ov_port_get_element_type", port, byref(self._float32))
            self.inputs[name] = [side.min != side.max for side in shape.dimensions[: shape.rank.max]]
        self.outputs = [name for name, _ in self._ports("output")]

    def _ports(self, kind: str) -> list[tuple[str, c_void_p]]:
        """The names and handles of what goes in ("input") or comes out ("output")."""
        count, found = c_size_t(), []
        self._call(f"ov_model_{kind}s_size", self._model, byref(count))
        for index in range(count.value):
            port = self._call.made(self, "output_const_port", f"ov_model_const_{kind}_by_index", self._model, c_size_t(index))
            name = c_char_p()
            self._call("ov_port_get_any_name", port, byref(name))
            found.append((name.value.decode(), port))
        return found

    def compile(self, shapes: dict[str, tuple[int, ...]], properties: dict[str, str]) -> "Request":
        """For inputs of these shapes, by name; -1 is any size. properties: OpenVINO's own names and values."""
        dimensions = [(_Dimension * len(shape))(*((max(side, 0), side) for side in shape)) for shape in shapes.values()]
        partial = (_PartialShape * len(shapes))(*((_Dimension(len(sides), len(sides)), sides) for sides in dimensions))
        names = (c_char_p * len(shapes))(*(name.encode() for name in shapes))
        self._call("ov_model_reshape", self._model, names, partial, c_size_t(len(shapes)))
        settings = [c_char_p(text.encode()) for pair in properties.items() for text in pair]
        return Request(self._call, self._core, self._model, self.outputs, settings, self._float32)


class Request:
    """A compiled network, ready to run."""

    def __init__(self, library: Library, core: c_void_p, model: c_void_p, outputs: list[str], settings: list[c_char_p],
                 float32: ctypes.c_int):
        self._call, self._outputs, self._float32 = library, outputs, float32
        compiled = library.made(self, "compiled_model", "ov_core_compile_model", core, model, b"CPU", c_size_t(len(settings)),
                                then=settings)
        self._request = library.made(self, "infer_request", "ov_compiled_model_create_infer_request", compiled)

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, float32, for float32 inputs by name, which are read in place."""
        inputs = {name: np.ascontiguousarray(array, np.float32) for name, array in inputs.items()}
        run = _Run()
        for name, array in inputs.items():
            shape = _Shape(array.ndim, (c_int64 * array.ndim)(*array.shape))
            tensor = self._call.made(run, "tensor", "ov_tensor_create_from_host_ptr", self._float32, shape,
                                     c_void_p(array.ctypes.data))
            self._call("ov_infer_request_set_tensor", self._request, name.encode(), tensor)
        self._call("ov_infer_request_infer", self._request)
        return {name: self._output(run, index) for index, name in enumerate(self._outputs)}

    def _output(self, run: "_Run", index: int) -> np.ndarray:
        tensor = self._call.made(run, "tensor", "ov_infer_request_get_output_tensor_by_index", self._request, c_size_t(index))
        shape, data = _Shape(), c_void_p()
        self._call("ov_tensor_get_shape", tensor, byref(shape))
        self._call("ov_tensor_data", tensor, byref(data))
        # A copy: the request's own buffer is overwritten by the next run.
        output = np.empty(shape.sides[: shape.rank], np.float32)
        ctypes.memmove(output.ctypes.data, data, output.nbytes)
        return output


class _Run:
    """Owns the handles of one call."""
