"""LoRA: its arithmetic, merging, and the files that SAMed exchanges."""

import io
import pathlib
import pickle
import zipfile
from collections import OrderedDict

import jittor as jt
import numpy as np
import pytest
from jittor import nn

import models  # noqa: F401
from models.checkpoints.errors import CheckpointError
from models.checkpoints.write import write_torch
from models.samed.build import build
from models.samed.lora import LoRAProjection, LoRAQkv
from models.samed.lora_file import load_lora, lora_state, save_lora

RNG = np.random.default_rng(0)
CHECKPOINTS = pathlib.Path(__file__).parent / "checkpoints"
KEYS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "reference" / "keys"

# name: (its list of keys, tensors and elements in the published file). Reference/05, section 2.
FILES = {
    "samed": ("samed_vit_b_sam_lora_image_encoder", 215, 4_913_877),
    "samed-s": ("samed_vit_b_sam_lora_image_encoder_mask_decoder", 161, 1_646_165),
    "samed-h": ("samed_vit_h_sam_lora_image_encoder", 295, 5_421_781),
}


def randomise(state):
    for var in state.values():
        var.assign(jt.array(RNG.standard_normal(list(map(int, var.shape))).astype(np.float32) * 0.1))


def arrays_of(state):
    return {key: var.numpy().astype(float) for key, var in state.items()}


def test_lora_of_a_fused_projection():
    layer = LoRAQkv(nn.Linear(6, 18), rank=2)
    randomise(layer.state_dict())
    p = arrays_of(layer.state_dict())
    x = RNG.standard_normal((2, 3, 4, 6))
    expected = x @ p["qkv.weight"].T + p["qkv.bias"]
    expected[..., :6] += x @ p["linear_a_q.weight"].T @ p["linear_b_q.weight"].T
    expected[..., -6:] += x @ p["linear_a_v.weight"].T @ p["linear_b_v.weight"].T
    for change in (lambda: None, layer.merge, layer.merge, layer.unmerge):
        change()
        assert np.abs(layer(jt.array(x.astype(np.float32))).numpy() - expected).max() < 1e-6
    assert (layer.qkv.weight.numpy() == p["qkv.weight"]).all()


def test_lora_of_one_projection():
    layer = LoRAProjection(nn.Linear(6, 4), rank=3)
    randomise(layer.state_dict())
    p = arrays_of(layer.state_dict())
    x = RNG.standard_normal((2, 5, 6))
    expected = x @ p["proj.weight"].T + p["proj.bias"] + x @ p["w_a.weight"].T @ p["w_b.weight"].T
    for change in (lambda: None, layer.merge):
        change()
        assert np.abs(layer(jt.array(x.astype(np.float32))).numpy() - expected).max() < 1e-6


def test_start():
    """B is zero; A is uniform within 1 / sqrt(inputs), PyTorch's Kaiming with a = sqrt(5)."""
    layer = LoRAQkv(nn.Linear(400, 1200), rank=50)
    for name in "qv":
        a = getattr(layer, f"linear_a_{name}").weight.numpy()
        assert not getattr(layer, f"linear_b_{name}").weight.numpy().any()
        assert 0.0499 < np.abs(a).max() <= 0.05 and abs(a.std() * np.sqrt(3) / 0.05 - 1) < 0.02


@pytest.mark.parametrize("decoder_lora", [False, True])
def test_a_fresh_model_is_its_base_to_the_last_bit_and_merging_changes_nothing_but_the_work(decoder_lora):
    jt.set_global_seed(0)
    model = build("samed-nano", image_size=32, decoder_lora=decoder_lora)
    image = jt.array(RNG.uniform(0, 1, (1, 3, 32, 32)).astype(np.float32))

    def logits():
        with jt.no_grad():
            return model(image)["low_res_logits"].numpy().copy()

    fresh = logits()
    model.merge()  # of B = 0: the weights stay what they are
    assert (logits() == fresh).all()
    model.unmerge()
    randomise({key: var for key, var in lora_state(model).items() if "_b_" in key or key in ("fati_qb", "fati_vb")})
    adapted = logits()
    assert np.abs(adapted - fresh).max() > 0.01 * np.abs(fresh).max()
    weights = {key: var.numpy().copy() for key, var in model.base_state().items()}
    model.merge()
    assert model.is_merged and np.abs(logits() - adapted).max() < 1e-5 * np.abs(adapted).max()
    changed = {key for key, var in model.base_state().items() if (var.numpy() != weights[key]).any()}
    assert len(changed) == 6 + 14 * decoder_lora
    model.unmerge()
    assert all((var.numpy() == weights[key]).all() for key, var in model.base_state().items())
    assert np.abs(logits() - adapted).max() < 1e-5 * np.abs(adapted).max()


def test_every_lora_takes_gradients():
    """Also A, once B is not zero."""
    model = build("samed-nano", image_size=32, decoder_lora=True)
    model.train()
    loras = {key: var for key, var in model.trained_state().items() if ".w_" in key or ".linear_" in key}
    randomise(loras)
    loss = model(jt.array(RNG.uniform(0, 1, (1, 3, 32, 32)).astype(np.float32)))["low_res_logits"].sqr().sum()
    gradients = jt.grad(loss, list(loras.values()))
    assert len(loras) == 6 * 4 + 14 * 2
    assert all(np.abs(gradient.numpy()).max() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", FILES)
def test_the_published_files(name):
    path, tensors, elements = FILES[name]
    state = lora_state(build(name))
    assert (len(state), sum(var.numel() for var in state.values())) == (tensors, elements)
    path = KEYS / f"{path}.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared/reference/keys)")
    expected = dict(line.split("\t") for line in path.read_text().splitlines())
    assert {key: str(tuple(map(int, var.shape))) for key, var in state.items()} == expected


def test_which_var_is_under_which_key():
    """Even is q, odd is v; of the decoder layer 0 first."""
    model = build("samed-nano", decoder_lora=True)
    state, layers = lora_state(model), model.sam.mask_decoder.transformer.layers
    blocks = model.sam.image_encoder.blocks
    assert state["w_a_003"] is blocks[1].attn.qkv.linear_a_v.weight
    assert state["w_b_010"] is blocks[5].attn.qkv.linear_b_q.weight
    assert state["sa_a_001"] is layers[0].self_attn.v_proj.w_a.weight
    assert state["cti_b_002"] is layers[1].cross_attn_token_to_image.q_proj.w_b.weight
    assert state["cit_a_000"] is layers[0].cross_attn_image_to_token.q_proj.w_a.weight
    assert state["fati_vb"] is model.sam.mask_decoder.transformer.final_attn_token_to_image.v_proj.w_b.weight


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("decoder_lora", [False, True])
def test_files_survive_the_disk(suffix, decoder_lora, tmp_path):
    a, b = (build("samed-nano", image_size=32, decoder_lora=decoder_lora) for _ in range(2))
    randomise(lora_state(a))
    save_lora(a, tmp_path / f"epoch_159.{suffix}")
    before = b.sam.image_encoder.blocks[0].attn.qkv.qkv.weight.numpy().copy()
    load_lora(b, tmp_path / f"epoch_159.{suffix}")
    assert all((var.numpy() == lora_state(a)[key].numpy()).all() for key, var in lora_state(b).items())
    assert (b.sam.image_encoder.blocks[0].attn.qkv.qkv.weight.numpy() == before).all()


def test_files_that_do_not_fit_are_refused_and_nothing_of_them_is_loaded(tmp_path):
    save_lora(build("samed-nano", rank=2), tmp_path / "rank2.pth")
    model = build("samed-nano")
    before = arrays_of(lora_state(model))
    with pytest.raises(CheckpointError, match=r"(?s)^rank2.pth: does not fit samed-nano.*24 mis-shaped: w_a_000 \[2, 128\]"):
        load_lora(model, tmp_path / "rank2.pth")
    assert all((var.numpy() == before[key]).all() for key, var in lora_state(model).items())
    with pytest.raises(ValueError, match="lora.npz: must end in .pth or .safetensors"):
        save_lora(model, tmp_path / "lora.npz")
    model.merge()
    with pytest.raises(ValueError, match="must be unmerged"):
        load_lora(model, tmp_path / "rank2.pth")


class Calls(pickle.Unpickler):
    """What a pickle says, as tuples: nothing is imported."""

    def find_class(self, module, name):
        return OrderedDict if name == "OrderedDict" else lambda *arguments: (f"{module}.{name}", arguments)

    def persistent_load(self, saved):
        kind, storage, *rest = saved
        return kind, storage()[0], *rest


def records(path):
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_pth_files_say_what_those_of_torch_save_say(tmp_path):
    """plain.pth is PyTorch's own (checkpoints/make.py): a state dict with one tensor that is not float32."""
    with np.load(CHECKPOINTS / "expected.npz") as file:
        arrays = {key.removeprefix("net/"): file[key] for key in file if key.startswith("net/")}
    theirs = records(CHECKPOINTS / "plain.pth")
    write_torch(tmp_path / "ours.pth", {key: array.astype(np.float32) for key, array in arrays.items()})
    ours = records(tmp_path / "ours.pth")
    assert (ours["version"], ours["byteorder"]) == (theirs["version"], theirs["byteorder"])
    said, expected = (Calls(io.BytesIO(file["data.pkl"])).load() for file in (ours, theirs))
    assert list(said) == list(expected)
    floats = [key for key, array in arrays.items() if array.dtype == np.float32]
    assert len(floats) == len(said) - 1
    for key in floats:
        assert said[key] == expected[key]
        record = f"data/{said[key][1][0][2]}"
        assert ours[record] == theirs[record]
