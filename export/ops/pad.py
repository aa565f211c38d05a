"""Padding."""

from jittor import nn

from export.graph import UNTIL_THE_END
from export.registry import lowers, rewrites
from export.symbolic import Sym

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_MODULES = {
    "ReflectionPad2d": "reflect", "ZeroPad2d": "constant", "ConstantPad2d": "constant", "ReplicationPad2d": "replicate",
}


@lowers("nn.pad")
def pad(g, out, x, padding, mode="constant", value=0):
    """padding: (left, right) of the last axis, then of the one before, and so on."""
    untouched = [0] * (x.ndim - len(padding) // 2)
    begins, ends = untouched + list(padding[::2])[::-1], untouched + list(padding[1::2])[::-1]
    if mode == "circular" and g.opset < 19:
        return _wrapped(g, x, begins, ends)
    return padded(g, x, begins, ends, value, out.dtype, _MODES[mode])


def padded(g, x, begins, ends, value, dtype, mode="constant"):
    """x with `begins` and `ends` (a number or dynamic size each axis) more elements before and after."""
    fill = g.scalar(value, dtype) if mode == "constant" else None
    return g.op("Pad", x, g.sizes([*begins, *ends]), fill, mode=mode)


def _wrapped(g, x, begins, ends):
    """What ONNX's Pad can do since opset 19: the far end of every axis before it, its beginning after it."""
    tensor = g.operand(x)
    for axis, (begin, end) in enumerate(zip(begins, ends)):
        along, parts = g.int64s(axis), [tensor]
        if type(begin) is Sym or begin > 0:
            parts.insert(0, g.op("Slice", tensor, g.sizes([-begin]), g.int64s(UNTIL_THE_END), along))
        if type(end) is Sym or end > 0:
            parts.append(g.op("Slice", tensor, g.int64s(0), g.sizes([end]), along))
        tensor = g.op("Concat", *parts, axis=axis) if len(parts) > 1 else tensor
    return tensor


def _pads(mode):
    def rewrite(module, x):
        return nn.pad(x, [module.pl, module.pr, module.pt, module.pb], mode, getattr(module, "value", 0))
    return rewrite


for _module, _mode in _MODULES.items():
    rewrites(f"nn.{_module}")(_pads(_mode))
