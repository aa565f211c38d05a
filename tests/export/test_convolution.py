import jittor as jt
import numpy as np
from jittor import nn
from onnx import numpy_helper

from export import Input, to_onnx


def initializers(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


class ConvRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 3)

    def execute(self, x):
        return nn.relu(self.conv(x))


def test_convolutions_of_images(agrees):
    modules = {
        "plain": nn.Conv2d(4, 6, 3, padding=1),
        "strided": nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(0, 2), bias=False),
        "depthwise": nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), "grouped": nn.Conv2d(4, 6, 1, groups=2),
        "transposed": nn.ConvTranspose2d(4, 3, 2, stride=2),
        "transposed_more": nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1, bias=False),
        "transposed_groups": nn.ConvTranspose2d(4, 6, 3, padding=1, groups=2),
    }

    def run(self, x):
        return {name: getattr(self, name)(x) for name in modules} | {
            "function": nn.conv2d(x, self.plain.weight, stride=2, padding=1),
            "transposed_function": nn.conv_transpose2d(x, self.transposed.weight, self.transposed.bias, stride=3),
        }

    exported = agrees(run, (1, 4, 6, 7), modules=modules, tolerance=5e-6)
    weights = initializers(exported)
    np.testing.assert_array_equal(weights["plain.weight"], modules["plain"].weight.numpy())
    assert weights["transposed.weight"].shape == (4, 3, 2, 2)


def test_convolutions_of_sequences_and_volumes(agrees):
    modules = {
        "volume": nn.Conv3d(2, 3, 3, padding=1),
        "volume_strided": nn.Conv3d(2, 3, (1, 2, 2), stride=(1, 2, 2), bias=False),
        "volume_transposed": nn.ConvTranspose3d(2, 3, 2, stride=2), "sequence": nn.Conv1d(2, 3, 3, stride=2, padding=1),
    }

    def run(self, x):
        results = {name: getattr(self, name)(x) for name in modules if name != "sequence"}
        return results | {
            "sequence": self.sequence(x.flatten(2)), "function": nn.conv3d(x, self.volume.weight, stride=2),
        }

    agrees(run, (1, 2, 3, 4, 4), modules=modules, tolerance=5e-6)


def test_a_faster_operator_installed_by_other_code_is_exported_as_the_plain_one(agrees, kinds):
    """models.cpu puts C++ kernels in the place of Conv2d's execute and of nn.relu; those have no ONNX form."""
    def kernel(x):
        return jt.code(x.shape, "float32", [x], cpu_src="for (int i = 0; i < in0->num; i++) out0_p[i] = 0;")

    model = ConvRelu()
    original_execute, original_relu = nn.Conv2d.execute, nn.relu
    installed = lambda self, x: kernel(original_execute(self, x))  # noqa: E731
    replaced = lambda x: kernel(original_relu(x))  # noqa: E731
    nn.Conv2d.execute, nn.relu = installed, replaced
    try:
        exported, _ = to_onnx(model, [Input("x", (1, 4, 6, 7))])
        assert nn.Conv2d.execute is installed and nn.relu is replaced  # put back as they were found
    finally:
        nn.Conv2d.execute, nn.relu = original_execute, original_relu
    assert kinds(exported) == ["Conv", "Relu"]
