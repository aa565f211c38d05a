"""Outputs of the official sizes against published numbers, with weights that a formula gives: 02 and 03 of the reference,
section 9, computed by the original PyTorch code in float32. The numbers have six digits.
"""

import zlib

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models import cpu
from models.sam.build import build

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""Of the largest magnitude of a tensor, for means and single values; of the deviation, for itself."""


def formula(name: str, count: int) -> np.ndarray:
    """`count` float64 numbers in 0..1 that depend on a name: a hash of the index, shifted by the CRC-32 of the name."""
    x = np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(zlib.crc32(name.encode()))
    x = x.astype(np.uint32)
    for shift, factor in ((16, 2246822519), (13, 3266489917)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return (x ^ (x >> np.uint32(16))) / 2.0**32


def filled(key: str, shape) -> np.ndarray:
    """The weights of a state-dict key, float32."""
    count = int(np.prod(shape))
    w = 2 * formula(key, count) - 1
    last = key.split(".")[-1]
    if last == "running_mean":
        w = 0.01 * w
    elif last == "running_var":
        w = 1 + 0.1 * w
    elif len(shape) >= 2:
        w = w * np.sqrt(3 * shape[0] / count)
    else:
        w = 1 + 0.1 * w if last == "weight" else 0.01 * w
    return w.reshape(shape).astype(np.float32)


def filled_model(name):
    model = build(name)
    for key, var in model.state_dict().items():
        var.assign(jt.array(filled(key, [int(size) for size in var.shape])))
    return model


def example(name, *shape):
    return jt.array(formula(name, int(np.prod(shape))).reshape(shape).astype(np.float32))


def worst_error(expected, got) -> float:
    """expected: mean, std, largest magnitude, and the values at flat indices 0, n // 3, n // 2 and n - 1."""
    flat = got.numpy().astype(float).ravel()
    mean, std, largest, *values = expected
    places = [flat[i] for i in (0, len(flat) // 3, len(flat) // 2, len(flat) - 1)]
    found = [flat.mean(), np.abs(flat).max(), *places[:len(values)]]
    error = np.abs(np.array(found) - [mean, largest, *values]).max() / largest
    return max(error, abs(flat.std() / std - 1) if std else 0)


def check(model, tensors, expected):
    errors = {name: worst_error(expected[name], tensor) for name, tensor in tensors.items()}
    print(model, {name: f"{error:.1e}" for name, error in errors.items()})
    assert set(errors) == set(expected)
    assert all(error < TOLERANCE for error in errors.values()), errors


def test_the_formula():
    assert zlib.crc32(b"input") == 3626513111
    assert formula("input", 4).round(8).tolist() == [0.13260064, 0.10679462, 0.97029542, 0.62236212]
    assert formula("image_encoder.neck.0.weight", 3).round(8).tolist() == [0.21823284, 0.49441159, 0.45569458]


SAM_VIT_B = {
    "embedding": (0.000838858, 1.00774, 4.36611, 2.23102, -1.17305, -1.658, 2.12321),
    "box tokens": (0.436242, 0.557848, 1.10311, 0.772167, 0.877247, -0.50841, 1.01308),
    "no mask": (-0.00128765, 0.0612081, 0.108221, -0.09301, -0.0187956, 0.0688069, 0.0100654),
    "positions": (0.445985, 0.548723, 1.0, 0.981785, 0.137544, 0.189993, 0.843737),
    "three masks": (-0.14451, 0.679214, 1.94926, 0.132699, -1.02515, -0.856986, -0.322424),
    "three ious": (0.892949, 0.103981, 1.02561, 0.881559, 0.771676, 0.771676, 1.02561),
    "one mask": (0.099503, 0.459632, 1.43962, 0.833378, -0.392683, 0.81536, 0.0379387),
    "one iou": (-0.351181, 0, 0.351181),
    "point tokens": (0.278515, 0.510237, 1.10076, 0.544856, 0.95312, 0.310492, 0.105324),
    "mask prompt": (-0.0596071, 0.666328, 2.40856, 0.127669, -1.0258, 1.31938, -1.11793),
}


def test_sam_vit_b():
    model = filled_model("sam-vit-b")
    boxes = jt.array(np.array([[100, 150, 700, 800]], np.float32))
    points = jt.array(np.array([[[300, 400], [10, 20]]], np.float32)), jt.array(np.array([[1, 0]], np.int32))
    with cpu.installed(), jt.no_grad():
        tensors = {"embedding": model.image_encoder(example("input", 1, 3, 1024, 1024))}
        tensors["embedding"].sync()
        tensors["box tokens"], no_mask = model.prompt_encoder(boxes=boxes)
        tensors["no mask"] = no_mask.broadcast([1, 256, 64, 64])
        tensors["positions"] = model.prompt_encoder.get_dense_pe(64, 64)
        tensors["three masks"], tensors["three ious"] = model.decode(tensors["embedding"], boxes, multimask_output=True)
        tensors["one mask"], tensors["one iou"] = model.decode(tensors["embedding"], boxes)
        tensors["point tokens"], _ = model.prompt_encoder(points=points)
        _, tensors["mask prompt"] = model.prompt_encoder(masks=example("mask", 1, 1, 256, 256))
        assert list(tensors["point tokens"].shape) == [1, 3, 256]
        check("sam-vit-b", tensors, SAM_VIT_B)


LITEMEDSAM = {
    "embedding": (-0.00263474, 1.00149, 3.99472, 2.0737, -0.122036, -0.0313716, 0.765931),
    "box tokens": (0.438586, 0.555951, 1.10198, 0.74821, 0.880621, -0.538133, 1.00727),
    "one mask": (0.10041, 1.02673, 3.74731, 0.886065, 0.798473, 1.34824, -0.438337),
    "one iou": (-0.387242, 0, 0.387242),
}


def test_litemedsam():
    model = filled_model("litemedsam")
    boxes = jt.array(np.array([[30, 40, 180, 200]], np.float32))
    with cpu.installed(), jt.no_grad():
        tensors = {"embedding": model.image_encoder(example("input", 1, 3, 256, 256))}
        tensors["box tokens"], _ = model.prompt_encoder(boxes=boxes)
        tensors["one mask"], tensors["one iou"] = model.decode(tensors["embedding"], boxes)
        check("litemedsam", tensors, LITEMEDSAM)


EFFICIENTVIT_STAGE_2 = (0.00325838, 0.153021, 0.714397, 0.0172875, 0.0214147, -0.0415078, -0.199264)  # of L0 and L1
EFFICIENTVIT = {
    "medficientsam-l0": {
        "stage 2": EFFICIENTVIT_STAGE_2,
        "stage 3": (0.00200202, 0.0549677, 0.213929, 0.0298442, -0.124276, -0.0696033, -0.00765605),
        "stage 4": (0.00191712, 0.0863407, 0.285101, 0.113768, 0.134696, 0.121985, 0.0217253),
        "embedding": (0.00379699, 1.00393, 4.31494, -1.25342, 1.02778, 0.355492, 1.05309),
        "one mask": (0.520316, 0.575159, 2.72893, 0.207678, -0.460941, 0.376905, -0.645819),
        "one iou": (-0.583823, 0, 0.583823),
    },
    "medficientsam-l1": {
        "stage 2": EFFICIENTVIT_STAGE_2,
        "stage 3": (-0.000273353, 0.0580872, 0.224177, 0.032438, -0.171037, -0.0594479, -0.0240691),
        "stage 4": (7.30286e-06, 0.153662, 0.557941, 0.0739781, 0.214379, 0.111417, -0.0286369),
        "embedding": (0.00735586, 0.999669, 3.94425, -1.86483, -1.08665, 0.49428, -1.35774),
        "one mask": (0.270637, 0.601987, 1.9886, 0.437851, -0.610581, 0.62309, -0.278867),
        "one iou": (-0.578308, 0, 0.578308),
    },
    "medficientsam-l2": {
        "stage 2": (0.017222, 0.223434, 1.20201, 0.0866858, -0.127172, -0.0849241, -0.224889),
        "stage 3": (0.000702619, 0.083334, 0.37647, 0.0340774, -0.193996, -0.0535465, -0.00427032),
        "stage 4": (-0.0209824, 0.330261, 1.29769, 0.255067, 0.44212, -0.0893057, -0.175414),
        "embedding": (0.00245589, 1.00489, 3.94074, -0.759972, 1.01551, -0.341995, 1.30169),
        "one mask": (0.245459, 0.68686, 1.81663, 0.696483, -0.00709032, 0.652029, -0.120435),
        "one iou": (-0.27419, 0, 0.27419),
    },
}


@pytest.mark.parametrize("name", EFFICIENTVIT)
def test_efficientvit(name):
    model = filled_model(name)
    boxes = jt.array(np.array([[60, 80, 360, 400]], np.float32))
    with cpu.installed(), jt.no_grad():
        features = model.image_encoder.backbone(example("input", 1, 3, 512, 512))
        assert [list(x.shape[1:]) for x in features] == [
            [32, 256, 256], [64, 128, 128], [128, 64, 64], [256, 32, 32], [512, 16, 16]]
        tensors = {f"stage {i}": features[i] for i in (2, 3, 4)}
        tensors["embedding"] = model.image_encoder.norm(model.image_encoder.neck(features))
        tensors["one mask"], tensors["one iou"] = model.decode(tensors["embedding"], boxes)
        check(name, tensors, EFFICIENTVIT[name])
