"""Named models of the SAMed family: parameters, what is trained, and how a base's weights become theirs."""

import subprocess
import sys

import cv2
import jittor as jt
import numpy as np
import pytest
from safetensors.numpy import save_file

import models  # noqa: F401
from models.sam.build import build as build_sam
from models.samed.base import load_base
from models.samed.build import build, load_weights, parameter_count, save_weights
from models.samed.config import CONFIGS

RNG = np.random.default_rng(0)
CLASSES = tuple(f"organ {i}" for i in range(13))

# name: (parameters at 512 px and 8 classes, of these trained). Published, reference/05 section 2.
OFFICIAL = {"samed": (92_192_469, 4_913_621), "samed-s": (92_216_021, 1_645_909), "samed-h": (638_474_453, 5_421_525)}


def size_of(state):
    return sum(var.numel() for var in state.values())


def test_every_name_is_official_or_nano():
    assert set(CONFIGS) == {*OFFICIAL, "samed-nano"}
    assert all(config.name == name for name, config in CONFIGS.items())


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_trained_parameters(name):
    total, trained = OFFICIAL[name]
    model = build(name)
    assert parameter_count(model) == total
    assert size_of(model.trained_state()) == trained


def test_parameters_at_other_sizes_ranks_and_classes():
    """Reference/05 section 12."""
    assert parameter_count(build("samed", image_size=224)) == 91_538_133
    model = build("samed", rank=7)
    assert parameter_count(model) - size_of(model.base_state()) == 7 * 36_864 - 2 * 128  # the frequencies are no parameter
    for classes, count in {1: 3_777_698, 2: 3_918_019, 3: 4_058_340, 13: 5_461_550}.items():
        assert parameter_count(build("samed", classes=CLASSES[:classes]).sam.mask_decoder) == count


def test_keys_are_those_of_the_wrapped_module():
    """Reference/05 section 3; without the LoRAs they are SAM's."""
    model = build("samed")
    keys = {f"sam.image_encoder.blocks.11.attn.qkv.{name}" for name in
            ("qkv.weight", "qkv.bias", "linear_a_q.weight", "linear_b_q.weight", "linear_a_v.weight", "linear_b_v.weight")}
    assert {key for key in model.state_dict() if ".blocks.11.attn.qkv." in key} == keys
    plain = build_sam("sam-vit-b").state_dict()
    for name in ("samed", "samed-s"):
        base = build(name).base_state()
        assert {key for key in base if "output_hypernetworks_mlps" not in key} == {
            key for key in plain if "output_hypernetworks_mlps" not in key}


def test_what_is_trained_of_samed_s():
    keys = build("samed-s").trained_state()
    assert "sam.mask_decoder.iou_token.weight" in keys and "sam.prompt_encoder.no_mask_embed.weight" in keys
    in_transformer = {key.split(".transformer.")[1] for key in keys if ".transformer." in key}
    assert "final_attn_token_to_image.v_proj.w_b.weight" in in_transformer and len(in_transformer) == 28
    assert all(key.split(".")[-2] in ("w_a", "w_b") for key in in_transformer)


@pytest.fixture
def base_file(tmp_path):
    """medsam-nano's weights, 256 px and SAM's four tokens."""
    arrays = {key: RNG.standard_normal(list(map(int, var.shape))).astype(np.float32)
              for key, var in build_sam("medsam-nano").state_dict().items()}
    save_file(arrays, tmp_path / "base.safetensors")
    return tmp_path / "base.safetensors", arrays


def test_a_base_is_fitted_to_another_size_and_number_of_classes(base_file):
    """Positions by OpenCV's bilinear resize; windows' tables and all other arrays as they are."""
    path, arrays = base_file
    model = build("samed-nano", image_size=160, classes=CLASSES[:5])
    before = {key: var.numpy().copy() for key, var in model.base_state().items()}
    left = load_base(model, path)
    after = {key: var.numpy() for key, var in model.base_state().items()}
    assert left and all("mask_tokens" in key or "mlps" in key or "iou_prediction_head" in key for key in left)
    assert "mask_decoder.mask_tokens.weight" in left and "mask_decoder.output_hypernetworks_mlps.0.layers.0.bias" in left
    for key, array in after.items():
        if key in left:
            expected = before[key]
        elif key == "image_encoder.pos_embed":
            expected = cv2.resize(arrays[key][0, ..., :64], (20, 20))  # OpenCV takes that many channels
            array = array[0, ..., :64]
        elif "rel_pos" in key and key.split(".")[2] in ("2", "5"):
            expected = cv2.resize(arrays[key], (arrays[key].shape[1], 39))
        else:
            expected = arrays[key]
        assert array.shape == expected.shape and np.abs(array - expected).max() < 1e-5, key


def test_a_base_that_fits_as_it_is_gives_its_tokens_too(base_file):
    path, arrays = base_file
    model = build("samed-nano")  # three classes and the background: four tokens
    assert load_base(model, path) == []
    assert all((var.numpy() == arrays[key]).all() for key, var in model.base_state().items())


def test_another_base_is_refused(base_file, tmp_path):
    _, arrays = base_file
    arrays["image_encoder.neck.0.weight"] = arrays["image_encoder.neck.0.weight"][:, :64].copy()
    del arrays["mask_decoder.iou_token.weight"]
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"must be weights of medsam-nano: missing mask_decoder.iou_token.weight; "
                                         r"image_encoder.neck.0.weight is \[128, 64, 1, 1\], not \[128, 128, 1, 1\]$"):
        load_base(build("samed-nano"), tmp_path / "other.safetensors")


def test_whole_models_survive_the_disk(tmp_path):
    a, b = build("samed-nano", image_size=32), build("samed-nano", image_size=32)
    save_weights(a, tmp_path / "a.safetensors")
    assert load_weights(b, tmp_path / "a.safetensors") == {
        "family": "samed-nano", "image_size": "32", "slice_size": "0", "value_range": "0,1",
        "classes": "right ventricle,myocardium,left ventricle"}
    assert all((var.numpy() == a.state_dict()[key].numpy()).all() for key, var in b.state_dict().items())
    a.merge()
    with pytest.raises(ValueError, match="samed-nano must be unmerged"):
        save_weights(a, tmp_path / "a.safetensors")


def test_outputs_at_another_size_than_the_configured():
    model = build("samed-nano", image_size=32, classes=CLASSES[:2])
    image = RNG.uniform(0, 1, (2, 3, 48, 40)).astype(np.float32)
    with jt.no_grad():
        found = model(jt.array(image))
        alone = model(jt.array(image[1:]))
    assert {name: list(var.shape) for name, var in found.items()} == {
        "masks": [2, 3, 48, 40], "iou_predictions": [2, 3], "low_res_logits": [2, 3, 24, 20]}
    for name, var in found.items():
        assert np.abs(var.numpy()[1:] - alone[name].numpy()).max() < 1e-5


@pytest.mark.parametrize("changes, message", [
    ({"image_size": 250}, "image_size must be a multiple of 8; got 250"),
    ({"base": "litemedsam"}, "base must have a ViT for an encoder; got litemedsam"),
    ({"rank": 0}, "rank and the number of classes must be 1 or more; got 0 and 3"),
])
def test_bad_configurations(changes, message):
    with pytest.raises(ValueError, match=f"^samed-nano: {message}$"):
        build("samed-nano", **changes)


def test_configurations_are_free_of_jittor(repo):
    code = "import sys; from models.samed.config import CONFIGS; assert CONFIGS; sys.exit('jittor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo, check=False).returncode == 0
