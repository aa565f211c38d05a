import jittor as jt
import numpy as np
import pytest
from jittor import nn


def randomised(module):
    """A module with parameters and running statistics that are not 1 and 0."""
    rng = np.random.default_rng(3)
    for value in vars(module).values():
        if isinstance(value, jt.Var):
            value.assign(jt.array(rng.uniform(0.5, 1.5, value.shape).astype(np.float32)))
    return module


def channels_first(x, weight, bias):
    """LayerNorm over the channels of an image, as in SAM."""
    mean = x.mean(1, keepdims=True)
    centred = x - mean
    deviation = jt.sqrt((centred * centred).mean(1, keepdims=True) + 1e-6)
    return centred / deviation * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize("opset", [16, 17, 21])
def test_normalisations(agrees, kinds, opset):
    modules = {
        "batch": nn.BatchNorm2d(4), "batch_plain": nn.BatchNorm2d(4, affine=False, eps=1e-3), "layer": nn.LayerNorm(5),
        "layer_of_two": nn.LayerNorm((6, 5), eps=1e-3), "layer_plain": nn.LayerNorm(5, elementwise_affine=False),
        "group": nn.GroupNorm(2, 4), "group_plain": nn.GroupNorm(4, 4, affine=False), "instance": nn.InstanceNorm2d(4),
        "instance_plain": nn.InstanceNorm2d(4, affine=False),
    }
    for module in modules.values():
        randomised(module)

    def run(self, x):
        return {name: getattr(self, name)(x) for name in modules} | {
            "layer_function": nn.layer_norm(x, (5,), self.layer.weight, self.layer.bias),
            "group_function": nn.group_norm(x, 2, self.group.weight, self.group.bias),
            "batch_function": nn.batch_norm(
                x, self.batch.running_mean, self.batch.running_var, self.batch.weight, self.batch.bias),
            "instance_function": nn.instance_norm(x),
            "channels_first": channels_first(x, self.group.weight, self.group.bias),
        }

    exported = agrees(run, (1, 4, 6, 5), modules=modules, opset=opset, tolerance=1e-5)
    found = kinds(exported)
    assert found.count("LayerNormalization") == (4 if opset >= 17 else 0)
    assert found.count("GroupNormalization") == (3 if opset >= 21 else 0)
    assert found.count("BatchNormalization") == 3
    assert "layer.weight" in {tensor.name for tensor in exported.graph.initializer}


def test_volumes_and_vectors(agrees):
    modules = {"volume": nn.BatchNorm3d(3), "vector": nn.BatchNorm1d(3), "groups": nn.GroupNorm(3, 3)}
    for module in modules.values():
        randomised(module)

    def run(self, x):
        return {"volume": self.volume(x), "vector": self.vector(x.mean((2, 3, 4))), "groups": self.groups(x)}

    agrees(run, (1, 3, 2, 3, 4), modules=modules, tolerance=1e-5)
