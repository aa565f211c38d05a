"""The project's own networks, at the smallest crop that they take."""

import pytest

from export import Input
from models.roi.build import build


@pytest.mark.parametrize("name, crop_shape, large", [("roi2d", (32, 32), (64, 64)), ("roi3d", (8, 16, 16), (8, 16, 16))])
def test_roi(agrees, kinds, name, crop_shape, large):
    model = build(name, crop_shape=crop_shape, large_crop_shape=large)
    graph, = model.graphs()
    dynamic = graph.dynamic
    assert list(dynamic["crop"]) == ([0, 2, 3] if name == "roi2d" else [0])
    inputs = [Input(key, array.shape, dynamic=dynamic[key]) for key, array in graph.cases[0].items()]
    exported = agrees(model, *inputs, tolerance=1e-5)
    assert [tensor.name for tensor in exported.graph.input] == ["crop", "box_px"]
    found = kinds(exported)
    assert "BatchNormalization" not in found and ("Shape" in found) == (len(dynamic["crop"]) > 1)
