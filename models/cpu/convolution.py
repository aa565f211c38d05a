"""Convolutions of any rank through oneDNN on the CPU, forward and backward, in float32 or bfloat16.

Jittor sends only 2-D float32 convolutions to oneDNN: `nn.Conv3d` falls back to a loop that is some 50 times slower, and
the bfloat16 units of a processor (AMX) stay idle.
"""

import functools
import os
import pathlib

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)

_CPP = pathlib.Path(__file__).with_suffix(".cc").read_text()
_ONEDNN = pathlib.Path(os.environ.get("JITTOR_HOME", pathlib.Path.home())) / ".cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp"
_FLAGS = {f"FLAGS: -I{_ONEDNN}/include -L{_ONEDNN}/lib -lmkldnn -Wl,-rpath,{_ONEDNN}/lib ": 1}


@functools.cache
def has_bfloat16() -> bool:
    """True where the processor multiplies bfloat16 matrices in hardware (AMX), so that bfloat16 is faster than float32."""
    try:
        return "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _run(kind, shape, inputs, geometry):
    with jt.flag_scope(compile_options=_FLAGS):
        return jt.code(list(shape), "float32", inputs, cpu_header=_CPP, data=geometry, cpu_src=f"""
            onednn::{kind}(in0_p, in0->shape, in1_p, in1->shape, out0_p, out0->shape, data);""")


class _Convolution(jt.Function):
    """y = x * w; the gradients are oneDNN's backward-data and backward-weights convolutions."""

    def execute(self, x, weight, geometry):
        self.x, self.weight, self.geometry = x, weight, geometry
        sizes = [
            (size + 2 * geometry[f"padding{i}"] - geometry[f"dilation{i}"] * (kernel - 1) - 1) // geometry[f"stride{i}"] + 1
            for i, (size, kernel) in enumerate(zip(x.shape[2:], weight.shape[2:]))
        ]
        return _run("forward", [x.shape[0], weight.shape[0], *sizes], [x, weight], geometry)

    def grad(self, grad_y):
        # Jittor is lazy: the gradient of an input that nobody asks for is never computed.
        return (
            _run("backward_x", self.x.shape, [grad_y, self.weight], self.geometry),
            _run("backward_w", self.weight.shape, [grad_y, self.x], self.geometry),
            None,
        )


def convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, bfloat16=False):
    """Cross-correlation as in `torch.nn.functional.conv2d` / `conv3d`.

    x: float32 (N, C, *spatial) with 2 or 3 spatial axes; weight: float32 (O, C // groups, *kernel); bias: (O,) or None;
    stride, padding, dilation: an int or one per spatial axis. bfloat16 rounds both operands to bfloat16 (8 bits of
    mantissa) and adds in float32. Returns float32 (N, O, *spatial_out).
    """
    rank = len(x.shape) - 2
    geometry = {"groups": groups, "bfloat16": int(bfloat16)}
    for name, value in (("stride", stride), ("padding", padding), ("dilation", dilation)):
        values = (value,) * rank if isinstance(value, int) else tuple(value)
        geometry.update({f"{name}{axis}": int(values[axis]) for axis in range(rank)})
    y = _Convolution.apply(x, weight, geometry)
    return y if bias is None else y + bias.reshape((1, -1) + (1,) * rank)
