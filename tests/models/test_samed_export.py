"""SAMed through the project's exporter, its LoRAs merged: the engines agree with Jittor at several numbers of images."""

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from export import Input, export
from models import cpu
from models.samed.build import build


@pytest.mark.parametrize("decoder_lora", [False, True])
def test_one_graph(decoder_lora, tmp_path):
    model = build("samed-nano", image_size=32, decoder_lora=decoder_lora)
    rng = np.random.default_rng(0)
    for var in model.trained_state().values():
        if var.ndim > 1:
            var.assign(jt.array(rng.standard_normal(var.shape, np.float32) / np.float32(np.sqrt(var.shape[1]))))
    image = rng.uniform(0, 1, (2, 3, 32, 32)).astype(np.float32)
    with cpu.installed(), jt.no_grad():
        expected = model(jt.array(image))["masks"].numpy().copy()
    graph, = model.graphs()
    assert model.is_merged and graph.name == "" and graph.facts == model.facts()
    inputs = [Input(name, array.shape, dynamic=graph.dynamic[name]) for name, array in graph.cases[0].items()]
    with cpu.installed():
        exported = export(graph.module, inputs, tmp_path / "samed.onnx", cases=[{"image": image}, *graph.cases])
        merged = graph.module(jt.array(image))["masks"].numpy()
    assert np.abs(merged - expected).max() < 1e-4 * expected.std()
    assert exported.assumptions == []
    assert [output.name for output in exported.model.graph.output] == ["masks"]
    assert not any("linear_a" in tensor.name or "w_a" in tensor.name for tensor in exported.model.graph.initializer)
    assert not {"Loop", "If"} & {node.op_type for node in exported.model.graph.node}
