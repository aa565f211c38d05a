"""Named MedSegDiffs: parameters, keys, ablations, what their configurations promise. Counts are those of 06 of the reference,
section 4, which the logs of the earlier port's runs confirm."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest

import models  # noqa: F401
from inference.diffusion.ensemble import Ensemble
from inference.diffusion.schedule import Diffusion
from models.medsegdiff.build import build, load_weights, open_file, parameter_count, save_weights
from models.medsegdiff.config import CONFIGS, from_facts

KEYS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "reference" / "keys" / "msd_S_64.txt"
TINY = {"image_size": 16, "dim": 8, "dim_mults": (1, 2)}

# (name, px): parameters with 3 channels and self-conditioning
COUNTS = {
    ("medsegdiff-s", 64): 56_251_521, ("medsegdiff-s", 128): 57_664_641, ("medsegdiff-s", 256): 63_317_121,
    ("medsegdiff-b", 64): 221_209_729, ("medsegdiff-b", 128): 222_653_569, ("medsegdiff-b", 256): 228_428_929,
    ("medsegdiff-l", 64): 885_557_377, ("medsegdiff-l", 256): 892_853_377,
    ("medsegdiff++", 64): 932_849_793, ("medsegdiff++", 256): 940_145_793,
}


def test_every_name_is_official_or_nano():
    assert set(CONFIGS) == {name for name, _ in COUNTS} | {"medsegdiff-nano"}
    assert all(config.name == name for name, config in CONFIGS.items())


@pytest.mark.parametrize("name, size", COUNTS)
def test_parameters(name, size):
    """A fourth channel, or a guess that is not taken, is 3,136 weights: 7 x 7 x 64."""
    for channels, self_condition, more in ((3, True, 0), (3, False, -3136), (4, True, 3136), (4, False, 0)):
        model = build(name, image_size=size, channels=channels, self_condition=self_condition)
        assert parameter_count(model) == COUNTS[name, size] + more


def test_parameters_by_module():
    model = build("medsegdiff-s", image_size=64)
    names = {key.split(".")[0] for key in model.state_dict()}
    counts = {name: parameter_count(getattr(model, name)) for name in names}
    assert counts == {
        "init_conv": 6_336, "cond_init_conv": 9_472, "time_mlp": 82_432, "conditioners": 5_485_056, "downs": 5_204_160,
        "mid_block1": 4_984_832, "mid_transformer": 2_166_784, "mid_block2": 4_984_832, "cond_downs": 5_204_160,
        "cond_mid_block1": 4_984_832, "ups": 22_986_432, "final_res_block": 152_128, "final_conv": 65}


def test_keys_and_shapes():
    """Among them `g` and `b` of the layer norms and the `fn` of residuals, which the earlier port calls otherwise."""
    if not KEYS.exists():
        pytest.skip(f"{KEYS.name} is not beside this checkout (../shared/reference/keys)")
    expected = dict(line.split("\t") for line in KEYS.read_text().splitlines())
    state = build("medsegdiff-s", image_size=64).state_dict()
    assert {key: str(tuple(map(int, var.shape))) for key, var in state.items()} == expected and len(state) == 550


@pytest.mark.parametrize("changes, counts", [
    ({}, (56_251_521, 52_770_433, 52_728_961, 49_247_873)),
    ({"dim": 32, "dim_mults": (1, 2, 4)}, (4_096_065, 3_794_113, 3_870_785, 3_568_833)),
])
def test_flags_of_the_earlier_port(changes, counts):
    """full, disable_ff_parser, disable_dynamic_encoding, both; the static map and the conditioners stay in all."""
    for i, count in enumerate(counts):
        flags = {"disable_ff_parser": bool(i & 1), "disable_dynamic_encoding": bool(i & 2)}
        model = build("medsegdiff-s", image_size=64, **flags, **changes)
        assert parameter_count(model) == count
        keys = set(model.state_dict())
        assert "conditioners.0.ff_parser_attn_map" in keys and "conditioners.0.block.block1.proj.weight" in keys
        assert any(".to_dynamic_ff_parser_attn_map." in key for key in keys) == (not i & 1)


@pytest.mark.parametrize("switch, gone", [
    ("ff_parser", ("ff_parser_attn_map",)), ("self_condition", ()),
    ("dynamic_encoding", (".norm_input.", ".norm_condition.", *(f"conditioners.{level}.block." for level in range(4)))),
    ("attention", ("downs.0.2.", "downs.1.2.", "downs.2.2.", "downs.3.2.", "ups.0.2.", "ups.1.2.", "ups.2.2.", "ups.3.2.",
                   "mid_transformer.")),
])
def test_ablations_take_their_parameters_away_and_no_others(switch, gone):
    full = build("medsegdiff-s", image_size=64)
    state = build("medsegdiff-s", image_size=64, **{switch: False}).state_dict()
    assert set(full.state_dict()) - set(state) == {key for key in full.state_dict() if any(part in key for part in gone)}
    assert list(state["init_conv.weight"].shape) == [64, 1 if switch == "self_condition" else 2, 7, 7]


def test_without_ff_parser_and_dynamic_encoding_there_are_no_conditioners():
    state = build("medsegdiff-s", image_size=64, ff_parser=False, dynamic_encoding=False).state_dict()
    assert not any(key.startswith("conditioners.") for key in state)


@pytest.mark.parametrize("size, levels, patch", [
    (256, 4, 2), (64, 6, 2), (32, 6, 1), (48, 5, 3), (64, 5, 2), (40, 4, 5), (72, 4, 3)])
def test_patch_size(size, levels, patch):
    """The smallest from 2 that divides the side of the last level, at most that side."""
    config = build("medsegdiff-s", image_size=size, dim=8, dim_mults=(1,) * levels).config
    assert config.patch_size == patch and config.last_size == size >> levels - 1


@pytest.mark.parametrize("changes, message", [
    ({"dim": 20}, "dim and dim times each of dim_mults must be multiples of 8, .*; got 20, 20, 40, 80, 80"),
    ({"image_size": 60}, "image_size must be halved 3 times and then be a multiple of cond_patch_size, 4; got 60"),
    ({"cond_patch_size": 3}, "image_size must be halved 3 times and then be a multiple of cond_patch_size, 3; got 64"),
])
def test_bad_configurations(changes, message):
    with pytest.raises(ValueError, match=f"^medsegdiff-nano: {message}$"):
        build("medsegdiff-nano", **changes)


def test_weights_survive_the_disk_with_what_must_be_known_of_them(tmp_path):
    """Size, channels and self-conditioning come from the file: nobody has to give them again."""
    a, b = (build("medsegdiff-nano", cond_patch_size=2, channels=4, **TINY) for _ in range(2))
    save_weights(a, tmp_path / "a.safetensors")
    facts = load_weights(b, tmp_path / "a.safetensors")
    assert facts == a.facts() and facts.items() >= {
        "family": "medsegdiff-nano", "image_size": "16", "channels": "4", "value_range": "-1,1", "timesteps": "100",
        "schedule": "cosine", "objective": "pred_x0", "self_condition": "true", "ff_parser": "true", "steps": "10",
        "samples": "5", "fusion": "mean"}.items()
    assert all((var.numpy() == a.state_dict()[key].numpy()).all() for key, var in b.state_dict().items())


@pytest.mark.parametrize("changes", [{}, {"diffusion": Diffusion(50, "linear", "pred_v"), "ensemble": Ensemble(3, 2, "staple"),
                                          "ff_parser": False, "self_condition": False, "attention": False}])
def test_a_model_is_built_again_from_its_file(changes, tmp_path):
    model = build("medsegdiff-nano", cond_patch_size=2, **TINY | changes)
    save_weights(model, tmp_path / "a.safetensors")
    again = open_file(tmp_path / "a.safetensors")
    assert again.config == model.config and set(again.state_dict()) == set(model.state_dict())
    assert from_facts({"family": "medsegdiff-s", "image_size": "64"}) == dataclasses.replace(CONFIGS["medsegdiff-s"],
                                                                                             image_size=64)


def test_weights_for_another_objective_are_refused(tmp_path):
    """Their shapes are the same. How many masks are drawn is no part of them."""
    save_weights(build("medsegdiff-nano", diffusion=Diffusion(objective="pred_v"), **TINY), tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match="v.safetensors: does not fit medsegdiff-nano: it was made with objective pred_v, not "
                                         "pred_x0$"):
        load_weights(build("medsegdiff-nano", **TINY), tmp_path / "v.safetensors")
    load_weights(build("medsegdiff-nano", diffusion=Diffusion(objective="pred_v"), ensemble=Ensemble(1, 1), **TINY),
                 tmp_path / "v.safetensors")


def test_configurations_and_sampling_are_free_of_jittor(repo):
    code = ("import sys; from models.medsegdiff import config; from inference.diffusion import ensemble, sampling, schedule; "
            "sys.exit('jittor' in sys.modules or 'SimpleITK' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=repo, check=False).returncode == 0
