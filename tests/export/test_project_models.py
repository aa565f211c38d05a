"""The project's own networks, at the smallest crop that they take."""

import pytest

from export import Input
from models.roi.build import build


@pytest.mark.parametrize("name, crop_shape", [("roi2d", (32, 32)), ("roi3d", (8, 16, 16))])
def test_roi(agrees, kinds, name, crop_shape):
    model = build(name, crop_shape=crop_shape)
    examples = model.example_inputs(1)
    inputs = [Input(key, array.shape) for key, array in examples.items()]
    exported = agrees(model, *inputs, tolerance=1e-5)
    assert [tensor.name for tensor in exported.graph.input] == ["crop", "box_px"]
    found = kinds(exported)
    assert "BatchNormalization" not in found and "Shape" not in found
