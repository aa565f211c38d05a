"""Padding."""

from jittor import nn

from export.errors import refusal
from export.registry import lowers, rewrites

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_MODULES = {
    "ReflectionPad2d": "reflect", "ZeroPad2d": "constant", "ConstantPad2d": "constant", "ReplicationPad2d": "replicate",
}


@lowers("nn.pad")
def pad(g, out, x, padding, mode="constant", value=0):
    """padding: (left, right) of the last axis, then of the one before, and so on."""
    if mode == "circular" and g.opset < 19:
        raise refusal("pad(mode='circular')", f"ONNX has it since opset 19, and this is {g.opset}",
                      "export with --opset 19")
    untouched = [0] * (x.ndim - len(padding) // 2)
    begins, ends = untouched + list(padding[::2])[::-1], untouched + list(padding[1::2])[::-1]
    fill = g.scalar(value, out.dtype) if mode == "constant" else None
    return g.op("Pad", x, g.sizes(begins + ends), fill, mode=_MODES[mode])


def _pads(mode):
    def rewrite(module, x):
        return nn.pad(x, [module.pl, module.pr, module.pt, module.pb], mode, getattr(module, "value", 0))
    return rewrite


for _module, _mode in _MODULES.items():
    rewrites(f"nn.{_module}")(_pads(_mode))
