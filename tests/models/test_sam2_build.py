"""Named models: their parameters and keys, their weights on disk, official checkpoints through the converter."""

import pathlib
import pickle
import struct
import subprocess
import sys

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models.checkpoints import __main__ as command
from models.checkpoints import convert, registry
from models.checkpoints.tensors import Storage, Tensor
from models.sam.build import parameter_count
from models.sam2.build import build, load_weights, save_weights
from models.sam2.config import CONFIGS
from tests.models.test_checkpoints_hostile import storage, write_zip

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
KEYS = REPOSITORY.parent / "shared" / "reference" / "keys"

# name: (parameters of the trunk, of the neck, of the whole, keys in the official file, the list of these keys). Published,
# reference/04 section 1.
OFFICIAL = {
    "sam2-t": (26_849_472, 369_664, 38_945_986, 468, "sam2_hiera_t"),
    "sam2-s": (33_947_328, 369_664, 46_043_842, 516, "sam2_hiera_s"),
    "sam2-b+": (68_675_712, 431_104, 80_833_666, 612, "sam2_hiera_bplus"),
    "sam2-l": (212_149_296, 553_984, 224_430_130, 900, "sam2_hiera_l"),
    "sam2.1-t": (26_849_472, 369_664, 38_962_498, 471, "sam2.1_hiera_t"),
    "sam2.1-s": (33_947_328, 369_664, 46_060_354, 519, "sam2.1_hiera_s"),
    "sam2.1-b+": (68_675_712, 431_104, 80_850_178, 615, "sam2.1_hiera_bplus"),
    "sam2.1-l": (212_149_296, 553_984, 224_446_642, 903, "sam2.1_hiera_l"),
    "medsam2": (26_849_472, 369_664, 38_962_498, 471, "sam2.1_hiera_t"),
}
SHARED = {"memory_attention": 5_922_304, "memory_encoder": 1_384_608, "sam_prompt_encoder": 6_220,
          "sam_mask_decoder": 4_215_109, "obj_ptr_proj": 197_376, "mask_downsample": 17}


def official_keys(name):
    """The keys and shapes of the official file."""
    path = KEYS / f"{OFFICIAL[name][4]}.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared/reference/keys)")
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return {key: tuple(int(n) for n in shape.strip("()").split(",") if n.strip()) for key, shape in rows}


def test_every_name_is_official_or_nano():
    assert set(CONFIGS) == {*OFFICIAL, "sam2-nano"}
    assert all(config.name == name for name, config in CONFIGS.items())
    assert {name for name, config in CONFIGS.items() if config.version == "2.0"} == {f"sam2-{s}" for s in ("t", "s", "b+", "l")}
    assert {name: config.image_size for name, config in CONFIGS.items() if config.image_size != 1024} == {
        "medsam2": 512, "sam2-nano": 256}


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_of_the_official_sizes(name):
    """Jittor is lazy: weights that nobody looks at are never made."""
    trunk, neck, total, keys, _ = OFFICIAL[name]
    model = build(name)
    assert parameter_count(model.image_encoder.trunk) == trunk
    assert parameter_count(model.image_encoder.neck) == neck
    assert {part: parameter_count(getattr(model, part)) for part in SHARED} == SHARED
    assert parameter_count(model) == total
    assert len(model.state_dict()) == keys
    if model.config.version == "2.1":
        assert parameter_count(model.obj_ptr_tpos_proj) == 16_448


@pytest.mark.parametrize("name", OFFICIAL)
def test_keys_and_shapes_of_the_official_files(name):
    """Also through the converter's rules and its strict check, as tensors of one element each."""
    expected = official_keys(name)
    assert {key: tuple(map(int, var.shape)) for key, var in build(name).state_dict().items()} == expected
    one = Storage("0", "float32", 1)
    state = {key: Tensor(one, "float32", 0, shape, (0,) * len(shape)) for key, shape in expected.items()}
    ours, left_out = convert.renamed(state, registry.model_of(name).rules)
    convert.check_fit(ours, registry.expected(name)[0], name)
    assert not left_out


def test_the_small_one_has_the_same_parts():
    """And none of its tokens is padding."""
    model, config = build("sam2-nano"), CONFIGS["sam2-nano"]
    parts = [{key.partition(".")[0] for key in m.state_dict()} for m in (model, build("sam2.1-t"))]
    assert parts[0] == parts[1]
    assert 1e6 < parameter_count(model) < 3e6
    sides = [config.image_size // config.trunk.patch_stride // 2**stage for stage in range(4)]
    assert sides == [128, 64, 32, 16] and config.grid == 32
    assert all(side % window == 0 for side, window in zip(sides, config.trunk.window_sizes))


@pytest.mark.parametrize("name, grid, dim", [("sam2-l", 64, 256), ("sam2.1-b+", 64, 256), ("medsam2", 32, 256),
                                             ("sam2-nano", 32, 64)])
def test_shapes(name, grid, dim):
    """Reference/04 section 12; Jittor knows them without computing anything."""
    model = build(name)
    side, memory_dim = model.config.image_size, model.config.memory_dim
    maps = model.forward_image(jt.zeros([1, 3, side, side]))
    memory = model.encode_new_memory(maps[2], jt.zeros([2, 1, side, side]), jt.zeros([2, 1]))
    features = model.prepare_memory_conditioned_features(
        maps[2], jt.stack([memory] * 3, dim=1), jt.zeros([3], "int32"), jt.zeros([2, 5, dim]), jt.zeros([5]))
    output = model.forward_sam_heads(features, maps[:2], multimask_output=True)
    assert [list(x.shape) for x in (*maps, memory, features, output.low_res_multimasks, output.high_res_masks)] == [
        [1, dim // 8, 4 * grid, 4 * grid], [1, dim // 4, 2 * grid, 2 * grid], [1, dim, grid, grid],
        [2, memory_dim, grid, grid], [2, dim, grid, grid], [2, 3, 4 * grid, 4 * grid], [2, 1, side, side]]


def torch_zip(arrays):
    """(pickled, records) of {"model": state dict} as torch.save writes them."""
    def text(string):
        return b"X" + struct.pack("<I", len(string)) + string.encode()

    entries, records = b"", {}
    for i, (key, array) in enumerate(arrays.items()):
        strides = tuple(size // array.itemsize for size in array.strides)
        numbers = b"".join(pickle.dumps(part, 2)[2:-1] for part in (0, array.shape, strides))
        entries += (text(key) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(str(i), array.size) + numbers + b"\x89}tRs")
        records[str(i)] = array.tobytes()
    return b"\x80\x02}" + text("model") + b"}" + entries + b"s.", records


def test_a_checkpoint_there_and_back(tmp_path, monkeypatch, capsys):
    """From a file as the official ones are written, through the converter, into a model, to the disk, into another."""
    monkeypatch.setitem(registry.MODELS, "sam2-nano", registry.Model("models.sam2.build:build", registry.SAM2))
    rng = np.random.default_rng(0)
    arrays = {key: rng.standard_normal(var.shape, np.float32) for key, var in build("sam2-nano").state_dict().items()}
    write_zip(tmp_path / "nano.pt", *torch_zip(arrays))
    converted = tmp_path / "nano.safetensors"
    assert command.main(["convert", str(tmp_path / "nano.pt"), "-o", str(converted), "--model", "sam2-nano"]) == 0
    first, second = build("sam2-nano"), build("sam2-nano")
    facts = load_weights(first, converted)
    assert (facts["family"], facts["grid"], facts["source"]) == ("sam2-nano", "32", "nano.pt")
    save_weights(first, tmp_path / "again.safetensors")
    assert load_weights(second, tmp_path / "again.safetensors") == first.facts()
    for model in (first, second):
        assert all(np.array_equal(var.numpy(), arrays[key]) for key, var in model.state_dict().items())


def test_2_1_does_not_pass_for_2_0(tmp_path):
    new, old = build("sam2-nano"), build("sam2-nano", version="2.0")
    save_weights(new, tmp_path / "new.safetensors")
    save_weights(old, tmp_path / "old.safetensors")
    with pytest.raises(ValueError, match="unexpected no_obj_embed_spatial; unexpected obj_ptr_tpos_proj.bias; "
                                         "unexpected obj_ptr_tpos_proj.weight$"):
        load_weights(old, tmp_path / "new.safetensors")
    with pytest.raises(ValueError, match="missing no_obj_embed_spatial; missing obj_ptr_tpos_proj"):
        load_weights(new, tmp_path / "old.safetensors")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="sam2-x.*known: sam2-t, .*sam2-nano"):
        build("sam2-x")


def test_configurations_are_free_of_jittor():
    """A data loader or a runtime asks for them without starting Jittor."""
    code = ("import sys; from models.sam2.config import CONFIGS; assert CONFIGS; "
            "sys.exit('jittor' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
