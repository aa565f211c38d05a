"""MedSegDiff's outputs against published numbers: 06 of the reference, section 10, by lucidrains' PyTorch code with the heads
and depths passed on. Weights are those of the formula in test_sam_goldens.py; norms' gains and shifts and the attention maps
follow the rule of vectors, whatever their axes."""

import json
import pathlib

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models import cpu
from models.medsegdiff.build import build
from tests.models.test_sam_goldens import check, example, filled, formula

pytestmark = pytest.mark.slow

GOLDENS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "reference" / "goldens" / "gold_msd.json"
MODELS = {"S32": {"dim": 32, "dim_mults": (1, 2, 4)}, "S64": {}}


@pytest.fixture(scope="module")
def goldens():
    if not GOLDENS.exists():
        pytest.skip("gold_msd.json is not beside this checkout (../shared/reference/goldens)")
    return {name: (gold["mean"], gold["std"], gold["absmax"], *gold["at"])
            for name, gold in json.loads(GOLDENS.read_text()).items() if "mean" in gold}


def filled_unet(**changes):
    model = build("medsegdiff-s", image_size=64, **changes)
    for key, var in model.state_dict().items():
        shape = [int(size) for size in var.shape]
        last = key.split(".")[-1]
        if last in ("g", "b", "ff_parser_attn_map"):
            w = (2 * formula(key, var.numel()) - 1).reshape(shape)
            var.assign(jt.array((0.01 * w if last == "b" else 1 + 0.1 * w).astype(np.float32)))
        else:
            var.assign(jt.array(filled(key, shape)))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_medsegdiff(name, goldens):
    model = filled_unet(**MODELS[name])
    shape = (1, model.config.dim, 64, 64)
    with cpu.installed(), jt.no_grad():
        found = {
            name: model(2 * example("x", 2, 1, 64, 64) - 1, jt.array([3, 50]), 2 * example("cond", 2, 3, 64, 64) - 1),
            f"{name}_cond0": model.conditioners[0](2 * example("cx", *shape) - 1, 2 * example("cc", *shape) - 1),
        }
        jt.sync(list(found.values()))
        check(name, found, {key: goldens[key] for key in found})
