"""MedSegDiff's denoiser through the project's exporter: one step as one graph, the engines agree with Jittor."""

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from export import Input, export
from models import cpu
from models.medsegdiff.build import build

TINY = {"image_size": 16, "dim": 8, "dim_mults": (1, 2), "cond_patch_size": 2, "cond_depth": 1}


@pytest.mark.parametrize("changes", [{}, {"self_condition": False, "ff_parser": False, "channels": 4}], ids=["full", "plain"])
def test_one_step(changes, tmp_path):
    model = build("medsegdiff-nano", **TINY | changes)
    rng = np.random.default_rng(0)
    for key, var in model.state_dict().items():
        if ".to_patches.1." in key:  # zero at first
            var.assign(jt.array(rng.standard_normal(var.shape, np.float32) * np.float32(0.3)))
    graph, = model.graphs()
    inputs = [Input(name, array.shape, str(array.dtype), graph.dynamic[name]) for name, array in graph.cases[0].items()]
    assert [spec.name for spec in inputs] == ["noisy", "time", "image", "guess"][:3 if changes else 4]
    assert graph.cases[0]["time"].dtype == np.float32 and graph.facts["timesteps"] == "100"
    with cpu.installed():
        exported = export(graph.module, inputs, tmp_path / "step.onnx", cases=graph.cases)
    assert exported.assumptions == []
    operators = {node.op_type for node in exported.model.graph.node}
    assert not {"DFT", "Loop", "If", "Shape"} & operators and "MatMul" in operators
