"""The project's own networks, at the smallest crop that they take."""

import pytest

from export import Input
from models.roi.build import build
from models.roi.config import Look


@pytest.mark.parametrize("name, look", [("roi2d", Look(((32, 32), (64, 64)), (256,))), ("roi3d", Look(((8, 16, 16),)))])
def test_roi(agrees, kinds, name, look):
    model = build(name, looks=(look,), look_for_many=look)
    graph, = model.graphs()
    dynamic = graph.dynamic
    assert list(dynamic["crop"]) == ([0, 2, 3] if name == "roi2d" else [0])
    inputs = [Input(key, array.shape, dynamic=dynamic[key]) for key, array in graph.cases[0].items()]
    exported = agrees(model, *inputs, tolerance=1e-5)
    assert [tensor.name for tensor in exported.graph.input] == ["crop", "box_px"]
    found = kinds(exported)
    assert "BatchNormalization" not in found and ("Shape" in found) == (len(dynamic["crop"]) > 1)
