"""The operators of a segmentation network together: what roi2d and roi3d are made of."""

import jittor as jt
import numpy as np
from jittor import nn

from export import Input


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm(outputs)

    def execute(self, x):
        return nn.relu(self.norm(self.conv(x)))


class UNet3d(nn.Module):
    """Normalisation by reductions, two levels, nearest upsampling by repetition, pixel shuffle by reshape +
    transpose."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([Block(2, 4), Block(4, 6, stride=2)])
        self.up = nn.ModuleList([Block(10, 4)])
        self.size = nn.Linear(3, 4)
        self.head = nn.Conv3d(4, 8, 1)

    def execute(self, crop, box_px):
        batch = crop.shape[0]
        flat = crop.reshape(batch, -1)
        flat = flat - flat.mean(1, keepdims=True)
        x = (flat / (jt.sqrt((flat * flat).mean(1, keepdims=True)) + 1e-3)).reshape(crop.shape)
        skip = self.down[0](x) + self.size(jt.log(jt.maximum(box_px, 1.0))).reshape([batch, 4, 1, 1, 1])
        deep = self.down[1](skip)
        _, channels, depth, height, width = deep.shape
        deep = deep.reshape([batch, channels, depth, 1, height, 1, width, 1]).expand(-1, -1, -1, 2, -1, 2, -1, 2)
        deep = deep.reshape([batch, channels, depth * 2, height * 2, width * 2])
        x = self.head(self.up[0](jt.concat([skip, deep], dim=1)))
        _, _, depth, height, width = x.shape
        x = x.reshape([batch, 1, 2, 2, 2, depth, height, width]).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return jt.sigmoid(x.reshape([batch, 1, depth * 2, height * 2, width * 2]))


def test_unet3d(agrees, kinds):
    model = UNet3d()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm):
            module.running_mean.assign(jt.array(np.linspace(-0.1, 0.1, module.num_features, dtype=np.float32)))
            module.running_var.assign(jt.array(np.linspace(0.5, 2, module.num_features, dtype=np.float32)))
    exported = agrees(model, Input("crop", (1, 2, 4, 6, 4)), Input("box_px", (1, 3)), tolerance=5e-6)
    assert [tensor.name for tensor in exported.graph.input] == ["crop", "box_px"]
    found = kinds(exported)
    assert found.count("Conv") == 4 and "BatchNormalization" not in found and "Shape" not in found
    names = {tensor.name for tensor in exported.graph.initializer}
    assert {key for key, _ in model.named_parameters() if "norm" not in key} <= names
