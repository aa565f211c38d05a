"""Functions of Jittor that have no rule, and come down to operators that have one."""

import jittor as jt
import numpy as np
from jittor import nn
from jittor.weightnorm import weight_norm

from export import Input


def test_arithmetic_of_jittor(agrees):
    agrees(lambda self, x: {
        "atan2": jt.arctan2(x, x + 3), "hypot": jt.hypot(x, x + 1), "expm1": jt.expm1(x), "log": jt.safe_log(x * x),
        "degrees": jt.rad2deg(x), "radians": jt.deg2rad(x), "log_sigmoid": nn.log_sigmoid(x),
        "complement": jt.bitwise_not(x.int32()), "above": jt.isposinf(x / 0), "below": jt.isneginf(x / 0),
        "among": jt.isin(x.int32(), jt.array([0, 2])), "cumprod": jt.cumprod(x * x + 1, 1),
    }, (1, 3, 4), tolerance=5e-6)


def test_order_statistics(agrees):
    def distinct(shape):
        return np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype(np.float32)

    agrees(lambda self, x: {"third": jt.kthvalue(x, 3, 1)[0], "kept": jt.kthvalue(x, 2, 1, keepdim=True)[0]}, (1, 7),
           values=distinct)


def test_matrices_of_jittor(agrees):
    agrees(lambda self, x: {
        "lower": jt.tril(x), "upper": jt.triu(x, 1), "outer": jt.outer(x[0, 0], x[0, 1]), "kron": nn.kron(x[0], x[0]),
        "tensordot": nn.tensordot(x, self.table.weight, 1), "cross": jt.cross(x[:, :, :3], x[:, :, 1:], -1),
        "bilinear": self.bilinear(x[:, 0], x[:, 1]), "grid": jt.meshgrid(x[0, 0], x[0, 1]),
        "places": jt.meshgrid(jt.arange(3), jt.arange(4))[0] + x,
    }, (1, 3, 4), modules={"table": nn.Embedding(4, 2), "bilinear": nn.Bilinear(4, 4, 3)}, tolerance=5e-6)


def test_grids_of_affine_maps(agrees):
    agrees(lambda self, theta, image: nn.grid_sample(image, nn.affine_grid(theta * 0.3, (theta.shape[0], 2, 4, 5))),
           (1, 2, 3), (1, 2, 6, 5), tolerance=1e-5)


def test_weight_norm(agrees):
    linear = nn.Linear(4, 3)
    weight_norm(linear, "weight", -1)
    agrees(lambda self, x: self.linear(x), (1, 4), modules={"linear": linear})


def test_outputs_inside_each_other(agrees):
    exported = agrees(lambda self, x: {"boxes": (x, [x * 2, None]), "score": x.sum(1)}, (1, 4))
    assert [output.name for output in exported.graph.output] == ["boxes_0", "boxes_1_0", "score"]


def test_pixel_shuffles_of_any_size(agrees):
    def run(self, x):
        batch, channels, height, width = x.shape
        folded = x.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        return self.shuffle(folded.reshape(batch, channels * 4, height // 2, width // 2) * 2)

    image = Input("x", (1, 3, 4, 6), dynamic={0: "batch", 2: "height", 3: "width"})
    agrees(run, image, modules={"shuffle": nn.PixelShuffle(2)},
           sizes=({"batch": 1, "height": 4, "width": 6}, {"batch": 2, "height": 8, "width": 2}))
