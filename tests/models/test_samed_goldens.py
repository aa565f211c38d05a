"""SAMed's outputs against published numbers: 05 of the reference, section 11, by the original PyTorch code. Weights are those
of the formula in test_sam_goldens.py, named by the base's own keys, and for LoRAs by those of the published file."""

import json
import pathlib

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models import cpu
from models.samed.build import build
from models.samed.lora_file import lora_state
from tests.models.test_sam_goldens import check, example, filled, formula

pytestmark = pytest.mark.slow

GOLDENS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "reference" / "goldens" / "gold_samed.json"


@pytest.fixture(scope="module")
def goldens():
    if not GOLDENS.exists():
        pytest.skip("gold_samed.json is not beside this checkout (../shared/reference/goldens)")
    return {case: {name: (gold["mean"], gold["std"], gold["absmax"], *gold["at"]) for name, gold in tensors.items()}
            for case, tensors in json.loads(GOLDENS.read_text()).items()}


@pytest.fixture(scope="module")
def model():
    model = build("samed", image_size=224)
    for key, var in model.base_state().items():
        var.assign(jt.array(filled(key, [int(size) for size in var.shape])))
    return model


def outputs(model):
    with cpu.installed(), jt.no_grad():
        found = model(example("input", 2, 3, 224, 224))
        jt.sync(list(found.values()))
        return found


def fill_loras(model):
    for key, var in lora_state(model).items():
        if key.startswith("w_"):
            w = 2 * formula(key, var.numel()) - 1
            w = w * np.sqrt(3 / int(var.shape[1]))
            var.assign(jt.array(w.reshape(var.shape).astype(np.float32)))


def test_samed(model, goldens):
    plain = outputs(model)
    assert [list(plain[name].shape) for name in ("masks", "iou_predictions", "low_res_logits")] == [
        [2, 9, 224, 224], [2, 9], [2, 9, 56, 56]]
    check("B = 0", plain, goldens["lora_zero"])
    fill_loras(model)
    adapted = outputs(model)
    check("LoRA filled", adapted, goldens["lora_filled"])
    model.merge()
    merged = outputs(model)
    check("merged", merged, goldens["lora_filled"])
    assert np.abs(merged["low_res_logits"].numpy() - adapted["low_res_logits"].numpy()).max() < 1e-5 * 2.505
    model.unmerge()
