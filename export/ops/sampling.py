"""Sampling at given points."""

import jittor as jt
import numpy as np

from export.registry import lowers, rewrites


@lowers("nn.grid_sample")
def grid_sample(g, out, input, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """input (N, C, H, W), grid (N, h, w, 2) of x, y in -1 .. 1."""
    if g.opset < 16 or input.ndim != 4:
        return NotImplemented  # ONNX has it since opset 16, and engines on the CPU sample images only
    if g.opset >= 20 and mode == "bilinear":
        mode = "linear"
    return g.op("GridSample", input, grid, mode=mode, padding_mode=padding_mode, align_corners=int(align_corners))


@rewrites("nn.affine_grid")
def affine_grid(theta, size, align_corners=False):
    """theta (N, k, k + 1), size (N, C, *spatial): the points (N, *spatial, k) that an affine map takes a grid to. The
    grid, x first and a 1 last, is a constant."""
    spatial = list(size[2:])
    lines = [np.linspace(-1, 1, count) * (1 if align_corners else (count - 1) / count) for count in spatial]
    points = np.meshgrid(*lines, indexing="ij")
    grid = np.stack([*points[::-1], np.ones(spatial)], -1).reshape(1, -1, len(spatial) + 1)
    moved = jt.matmul(jt.array(grid.astype(str(theta.dtype))), theta.transpose(0, 2, 1))
    return moved.reshape([theta.shape[0], *spatial, len(spatial)])
