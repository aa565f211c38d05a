import numpy as np
import pytest
from jittor import nn

from export import ExportError, Input, to_onnx

IMAGE = Input("image", (1, 2, 8, 9), dynamic={0: "batch", 2: "height", 3: "width"})
SIZES = {"batch": 1, "height": 9, "width": 8}, {"batch": 3, "height": 11, "width": 14}


def test_pooling(agrees):
    modules = {
        "max": nn.MaxPool2d(2), "max_padded": nn.MaxPool2d(3, 2, 1), "max_ceil": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        "mean": nn.AvgPool2d(2, 2), "mean_padded": nn.AvgPool2d(3, 2, 1),
        "mean_ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True), "mean_ceil_inside": nn.AvgPool2d(3, 2, 1, True, False),
        # Jittor counts the padding all the same where there is no ceil_mode; the export must agree with Jittor.
        "mean_uncounted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "pool": nn.Pool(2, 1, op="maximum"), "least": nn.Pool(2, 2, op="minimum"), "global": nn.AdaptiveAvgPool2d(1),
        "adaptive": nn.AdaptiveAvgPool2d((2, 4)), "uneven": nn.AdaptiveAvgPool2d((4, 3)),
        "adaptive_max": nn.AdaptiveMaxPool2d(2),
    }
    agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, (1, 2, 6, 8), modules=modules)


def test_pooling_of_volumes(agrees):
    modules = {"max": nn.MaxPool3d(2), "mean": nn.AvgPool3d((1, 2, 2), (1, 2, 2)), "global": nn.AdaptiveAvgPool3d(1)}
    agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, (1, 2, 4, 6, 6), modules=modules)


def test_pooling_of_dynamic_sizes(agrees):
    modules = {
        "max": nn.MaxPool2d(3, 2, 1), "mean": nn.AvgPool2d(2), "max_ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
        "max_ceil_padded": nn.MaxPool2d((3, 4), 2, 1, ceil_mode=True),
        "least_ceil": nn.Pool(3, 2, ceil_mode=True, op="minimum"),
        "mean_ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True), "same_ceil": nn.MaxPool2d(3, 1, 1, ceil_mode=True),
        "global": nn.AdaptiveAvgPool2d(1), "global_max": nn.AdaptiveMaxPool2d(1), "adaptive": nn.AdaptiveAvgPool2d(3),
        "adaptive_columns": nn.AdaptiveAvgPool2d((None, 4)), "adaptive_uneven": nn.AdaptiveAvgPool2d((4, 3)),
    }
    agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, IMAGE, modules=modules, sizes=SIZES)


@pytest.mark.parametrize("module, match", [
    (nn.AdaptiveMaxPool2d(3), "adaptive max pooling of a dynamic axis"),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), "pooling with ceil_mode on a dynamic axis"),
    (nn.MaxPool2d(2, 2, 1, ceil_mode=True), "its last window may lie outside"),
])
def test_pooling_that_depends_on_a_dynamic_size(module, match):
    with pytest.raises(ExportError, match=match):
        to_onnx(module, [IMAGE])


def distinct(shape):
    return np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype(np.float32)


def test_where_the_largest_were(agrees):
    modules = {"plain": nn.MaxPool2d(2, return_indices=True), "padded": nn.MaxPool2d(3, 2, 1, return_indices=True)}
    agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, (1, 2, 6, 8), modules=modules, values=distinct)


def test_resize(agrees, kinds):
    modules = {"nearest": nn.Upsample(scale_factor=2), "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
               "to_size": nn.Resize((7, 5), "bilinear"), "shuffle": nn.PixelShuffle(2)}

    def run(self, x):
        return {name: getattr(self, name)(x) for name in modules} | {
            "corners": nn.interpolate(x, size=(9, 7), mode="bilinear", align_corners=True),
            "smaller": nn.interpolate(x, size=(2, 3), mode="bilinear"),
            "half": nn.interpolate(x, scale_factor=0.5, mode="nearest"),
            "thirds": nn.interpolate(x, scale_factor=3, mode="nearest"),
            "cubic": nn.interpolate(x, size=(8, 9), mode="bicubic"),
            "nearest_size": nn.resize(x, (6, 9), mode="nearest"),
            "tensorflow": nn.resize(x, (8, 12), "bilinear", tf_mode=True),
        }

    agrees(run, (1, 4, 4, 6), modules=modules, tolerance=1e-5)


def test_grid_sample(agrees):
    def run(self, x, grid):
        border = nn.grid_sample(x, grid, padding_mode="border", align_corners=True)
        return {
            "zeros": nn.grid_sample(x, grid * 0.7), "border": border, "nearest": nn.grid_sample(x, grid, "nearest"),
            "reflection": nn.grid_sample(x, grid * 0.4, padding_mode="reflection", align_corners=True),
        }

    agrees(run, (1, 2, 5, 6), (1, 3, 4, 2), tolerance=1e-5)
