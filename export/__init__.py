"""Jittor modules to ONNX and OpenVINO IR: `python -m export --help`, or in Python

    from export import Input, export
    export(model, [Input("x", (1, 3, 224, 224))], "m.onnx")

Importing this package sets Jittor's environment, so import it before `jittor`. README.md beside this file says how to
use it on a model of one's own, and how to add an operator.
"""

import os

# Without these Jittor searches for CUDA, prints its set-up at every start, imports torch where it is installed, and crashes
# now and then when it compiles (see models/__init__.py).
os.environ.setdefault("nvcc_path", "")
os.environ.setdefault("log_silent", "1")
os.environ.setdefault("FIX_TORCH_ERROR", "0")
os.environ.setdefault("use_parallel_op_compiler", "0")

from export.errors import ExportError  # noqa: E402
from export.exporter import export, to_onnx  # noqa: E402
from export.inputs import Input  # noqa: E402
from export.registry import lowers, rewrites  # noqa: E402

__all__ = ["ExportError", "Input", "export", "lowers", "rewrites", "to_onnx"]
