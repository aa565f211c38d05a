"""Named models: their parameters and keys, their weights on disk, what their configurations promise."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import models  # noqa: F401
from models.sam.build import BUFFERS, build, load_weights, parameter_count, save_weights
from models.sam.config import CONFIGS, ViTConfig

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
KEYS = REPOSITORY.parent / "shared" / "reference" / "keys"

# name: (parameters of the image encoder, of the whole, keys in the official file, the list of these keys). Published,
# reference/02 section 1 and 8, 03 section 1.
OFFICIAL = {
    "sam-vit-b": (89_670_912, 93_735_472, 314, "sam_vit_b"),
    "sam-vit-l": (308_278_272, 312_342_832, 482, "sam_vit_l"),
    "sam-vit-h": (637_026_048, 641_090_608, 594, "sam_vit_h"),
    "medsam-vit-b": (89_670_912, 93_735_472, 314, "sam_vit_b"),
    "litemedsam": (5_726_740, 9_791_300, 435, "litemedsam"),
    "efficientvit-sam-l0": (30_728_224, 34_792_784, 409, "evitsam_l0"),
    "efficientvit-sam-l1": (43_585_568, 47_650_128, 515, "evitsam_l1"),
    "efficientvit-sam-l2": (57_264_032, 61_328_592, 645, "evitsam_l2"),
    "efficientvit-sam-xl0": (112_893_344, 116_957_904, 455, "evitsam_xl0"),
    "efficientvit-sam-xl1": (199_281_568, 203_346_128, 701, "evitsam_xl1"),
    "medficientsam-l0": (30_728_224, 34_792_784, 409, "evitsam_l0"),
    "medficientsam-l1": (43_585_568, 47_650_128, 515, "evitsam_l1"),
    "medficientsam-l2": (57_264_032, 61_328_592, 645, "evitsam_l2"),
}
TINY = ViTConfig(image_size=16, embed_dim=8, depth=1, num_heads=2, global_blocks=(), patch_size=4, window_size=3)


def test_every_name_is_official_or_nano():
    assert set(CONFIGS) == {*OFFICIAL, "medsam-nano", "medficientsam-nano"}
    assert all(config.name == name for name, config in CONFIGS.items())


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_of_the_official_sizes(name):
    """Jittor is lazy: weights that nobody looks at are never made."""
    encoder, total, keys, _ = OFFICIAL[name]
    model = build(name)
    assert parameter_count(model.image_encoder) == encoder
    assert parameter_count(model.prompt_encoder) == 6_220
    assert parameter_count(model.mask_decoder) == 4_058_340
    assert parameter_count(model) == total
    state = model.state_dict()
    # Jittor's batch norms do not count the batches they have seen.
    assert len(state) + sum(key.endswith("running_var") for key in state) == keys
    assert parameter_count(model) - parameter_count(model.prompt_encoder) == total - 6_220  # MedSAM trains these


@pytest.mark.parametrize("name", OFFICIAL)
def test_keys_and_shapes_of_the_official_files(name):
    path = KEYS / f"{OFFICIAL[name][3]}.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared/reference/keys)")
    expected = dict(line.split("\t") for line in path.read_text().splitlines())
    expected = {key: shape for key, shape in expected.items() if not key.endswith("num_batches_tracked")}
    got = {key: str(tuple(int(size) for size in var.shape)) for key, var in build(name).state_dict().items()}
    assert got == expected


@pytest.mark.parametrize("name", ["medsam-nano", "medficientsam-nano"])
def test_the_small_ones_fit_each_other(name):
    """One is distilled from the other, so their embeddings have one shape; and their decoders are one decoder."""
    model, other = build(name), build("medsam-nano")
    assert model.config.encoder.grid == 32 and model.config.prompt_dim == 128
    for part in ("prompt_encoder", "mask_decoder"):
        shapes = [{key: list(var.shape) for key, var in getattr(m, part).state_dict().items()} for m in (model, other)]
        assert shapes[0] == shapes[1]
    assert 1e6 < parameter_count(model) < 3e6


def test_buffers_are_in_the_state_dict_and_are_not_trained():
    """After train(), as an optimiser would find them."""
    for name in ("litemedsam", "medficientsam-l0"):
        model = build(name)
        model.train()
        stopped = {key for key, var in model.state_dict().items() if var.is_stop_grad()}
        assert stopped == {key for key in model.state_dict() if key.split(".")[-1] in BUFFERS}
        assert "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" in stopped


def test_weights_survive_the_disk(tmp_path):
    a, b = (build("medsam-nano", encoder=TINY) for _ in range(2))
    save_weights(a, tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    facts = load_weights(b, tmp_path / "a.safetensors")
    assert facts == a.facts()
    assert (facts["family"], facts["image_size"], facts["normalise"]) == ("medsam-nano", "256", "min_max")
    state = a.state_dict()
    assert all((var.numpy() == state[key].numpy()).all() for key, var in b.state_dict().items())


def test_wrong_weights_are_refused_and_nothing_of_them_is_loaded(tmp_path):
    model = build("medsam-nano", encoder=TINY)
    arrays = {key: np.array(var.numpy()) for key, var in model.state_dict().items()}
    before = {key: array.copy() for key, array in arrays.items()}
    arrays["image_encoder.pos_embed"] = arrays["image_encoder.pos_embed"][:, :2].copy()
    arrays["module.mask_decoder.iou_token.weight"] = arrays.pop("mask_decoder.iou_token.weight")
    save_file({key: array + 1 for key, array in arrays.items()}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError) as error:
        load_weights(model, tmp_path / "b.safetensors")
    assert str(error.value).endswith(
        "b.safetensors: does not fit medsam-nano: missing mask_decoder.iou_token.weight; unexpected "
        "module.mask_decoder.iou_token.weight; image_encoder.pos_embed is [1, 2, 4, 8], not [1, 4, 4, 8]")
    assert all((var.numpy() == before[key]).all() for key, var in model.state_dict().items())


def test_half_precision_weights_become_float32(tmp_path):
    model = build("medsam-nano", encoder=TINY)
    arrays = {key: np.full(var.shape, 0.5, np.float16) for key, var in model.state_dict().items()}
    save_file(arrays, tmp_path / "half.safetensors")
    load_weights(model, tmp_path / "half.safetensors")
    assert all(str(var.dtype) == "float32" and (var.numpy() == 0.5).all() for var in model.state_dict().values())


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="sam-vit-x.*known: sam-vit-b, .*medficientsam-nano"):
        build("sam-vit-x")


def test_configurations_are_free_of_jittor():
    """A data loader or a runtime asks for them without starting Jittor."""
    code = "import sys; from models.sam.config import CONFIGS; assert CONFIGS; sys.exit('jittor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
