"""Sampling at given points."""

from export.errors import refusal
from export.registry import lowers


@lowers("nn.grid_sample")
def grid_sample(g, out, input, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """input (N, C, H, W), grid (N, h, w, 2) of x, y in -1 .. 1."""
    if g.opset < 16:
        raise refusal("grid_sample", f"ONNX has it since opset 16, and this is {g.opset}", "export with --opset 16")
    if input.ndim != 4:
        raise refusal("grid_sample of a volume", "ONNX engines on the CPU sample images only")
    if g.opset >= 20 and mode == "bilinear":
        mode = "linear"
    return g.op("GridSample", input, grid, mode=mode, padding_mode=padding_mode, align_corners=int(align_corners))
