"""Resampling of images to another size."""

import math

import numpy as np
from jittor import nn

from export.errors import refusal
from export.registry import lowers, rewrites
from export.symbolic import value

_MODES = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}


@lowers("nn.resize")
def resize(g, out, img, size, mode="nearest", align_corners=False, tf_mode=False):
    if mode not in _MODES:
        raise refusal(f"resize(mode={mode!r})", "Jittor's own is wrong, and ONNX has no such mode",
                      "use nn.AvgPool2d or nn.AdaptiveAvgPool2d")
    if align_corners:
        transformation = "align_corners"
    else:
        transformation = "asymmetric" if mode == "nearest" or tf_mode else "half_pixel"
    how = {"mode": _MODES[mode], "coordinate_transformation_mode": transformation}
    if mode == "nearest":
        how["nearest_mode"] = "floor"
    if mode == "bicubic":
        how["cubic_coeff_a"] = -0.75
    factors = [_whole_factor(old, new) for old, new in zip(img.shape[2:], out.shape[2:])]
    if all(factors):
        return g.op("Resize", img, None, g.constant(np.array([1, 1, *factors], np.float32)), **how)
    sizes = g.op("Concat", g.sizes(img.shape[:2]), g.sizes(list(size)), axis=0)
    return g.op("Resize", img, None, None, sizes, **how)


def _whole_factor(old, new):
    """The factor of an enlargement by a whole number, which holds at every size of a dynamic axis; else 0."""
    if type(old) is not type(new):
        return 0
    first, second = ((value(old, which), value(new, which)) for which in (0, 1))
    if any(after % before for before, after in (first, second)):
        return 0
    return first[1] // first[0] if first[1] * second[0] == second[1] * first[0] else 0


@rewrites("nn.interpolate")
def interpolate(X, size=None, scale_factor=None, mode="bilinear", align_corners=False, tf_mode=False):
    if scale_factor is not None:
        size = [_scaled(X.shape[-2], scale_factor), _scaled(X.shape[-1], scale_factor)]
    if isinstance(size, int):
        size = (size, size)
    return nn.resize(X, size, mode, align_corners, tf_mode)


@rewrites("nn.Upsample")
def upsample(module, x):
    factors = module.scale_factor if isinstance(module.scale_factor, tuple) else (module.scale_factor,) * 2
    size = [_scaled(x.shape[2], factors[0]), _scaled(x.shape[3], factors[1])]
    return nn.resize(x, size, module.mode, module.align_corners)


def _scaled(size, factor):
    """int(size * factor), also of a dynamic size."""
    factor = int(factor) if factor == int(factor) else factor
    return math.floor(size * factor)


@lowers("nn.PixelShuffle")
def pixel_shuffle(g, out, module, x):
    return g.op("DepthToSpace", x, blocksize=int(module.upscale_factor), mode="CRD")
