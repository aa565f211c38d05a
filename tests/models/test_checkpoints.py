"""Checkpoints that PyTorch wrote (tests/models/checkpoints/make.py) are read bit for bit and converted strictly."""

import io
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from models.checkpoints import __main__ as command
from models.checkpoints import convert, registry
from models.checkpoints.errors import CheckpointError
from models.checkpoints.files import read_checkpoint
from models.checkpoints.tensors import Storage, Tensor
from models.weights import write_weights

FOLDER = Path(__file__).parent / "checkpoints"
NET = {"image_encoder.conv.weight": (4, 3, 3, 3), "image_encoder.norm.weight": (4,), "image_encoder.norm.bias": (4,),
       "image_encoder.norm.running_mean": (4,), "image_encoder.norm.running_var": (4,),
       "mask_decoder.weight": (2, 4), "mask_decoder.bias": (2,)}


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as stored:
        return dict(stored)


@pytest.fixture
def tiny_model(monkeypatch):
    """A registered model of seven keys, in place of those that are built in Jittor."""
    monkeypatch.setitem(registry.MODELS, "tiny", registry.Model("none:none", registry.SAM))
    monkeypatch.setattr(registry, "expected", lambda name: (dict(NET), {"family": "tiny"}))


def same_bits(got: np.ndarray, wanted: np.ndarray) -> bool:
    return got.dtype == wanted.dtype and got.shape == wanted.shape and got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", ["zip.pth", "zip_protocol4.pth", "legacy.pth"])
def test_every_tensor_of_another_program_bit_for_bit(name, expected):
    tree = read_checkpoint(FOLDER / name)
    keys = {key for key in expected if not key.startswith("net/")} - ({"uint16"} if name == "legacy.pth" else set())
    assert set(tree["tensors"]) == keys and {"bfloat16", "transposed_rows", "expanded", "bool", "empty"} < keys
    for key in keys:
        assert same_bits(tree["tensors"][key].array(), expected[key]), key
    assert tree["tensors"]["bfloat16"].dtype == "bfloat16"
    assert tree["tensors"]["rows"].storage is tree["tensors"]["base"].storage
    assert same_bits(tree["nested"]["deep"]["base"].array(), expected["base"])
    assert tree["nested"]["deep"][7].array() == -7
    plain = {key: tree[key] for key in ("epoch", "loss", "best", "name", "done", "shape", "device", "history")}
    assert plain == {"epoch": 12, "loss": 0.125, "best": None, "name": "größer", "done": True, "shape": (2, 3),
                     "device": "cpu", "history": [1, -2, 3 << 40, (0.5, "x")]}


def test_a_file_of_a_big_endian_machine(tmp_path, expected):
    """The same archive with every storage's bytes turned round by hand and the record that says so."""
    sizes = {"float32": 4, "float16": 2, "float64": 8, "int64": 8, "int32": 4, "int16": 2, "bfloat16": 2, "uint16": 2}
    tensors = read_checkpoint(FOLDER / "zip.pth")["tensors"].values()
    storages = {tensor.storage.key: sizes.get(tensor.dtype, 1) for tensor in tensors}
    with zipfile.ZipFile(FOLDER / "zip.pth") as source, zipfile.ZipFile(tmp_path / "big.pth", "w") as target:
        for name in source.namelist():
            data, key = source.read(name), name.rpartition("/data/")[2]
            if "/data/" in name and len(data):
                data = np.frombuffer(data, np.uint8).reshape(-1, storages[key])[:, ::-1].tobytes()
            target.writestr(name, b"big" if name.endswith("/byteorder") else data)
    tree = read_checkpoint(tmp_path / "big.pth")
    for key, tensor in tree["tensors"].items():
        assert same_bits(tensor.array(), expected[key]), key


def test_the_shape_is_known_without_an_array_and_an_array_is_a_view():
    tree = read_checkpoint(FOLDER / "zip.pth")
    base = tree["tensors"]["base"].array()
    assert not base.flags.writeable and not base.flags.owndata
    # A second tensor of the same storage looks at the same bytes.
    assert np.shares_memory(base, tree["tensors"]["rows"].array())


@pytest.mark.parametrize("source, out", [("plain.pth", ""), ("training.pth", ""), ("finetuned.ckpt", "deep/er")])
def test_convert_to_safetensors(source, out, tiny_model, tmp_path, expected, capsys):
    target = tmp_path / out / "w.safetensors"
    assert command.main(["convert", str(FOLDER / source), "-o", str(target), "--model", "tiny"]) == 0
    digest = subprocess.run(["sha256sum", FOLDER / source], capture_output=True, text=True, check=True).stdout.split()[0]
    with safe_open(target, framework="numpy") as file:
        assert file.metadata() == {"family": "tiny", "model": "tiny", "source": source, "source_sha256": digest}
        assert set(file.keys()) == set(NET)
        for key in NET:
            assert same_bits(file.get_tensor(key), expected[f"net/{key}"])
    said = capsys.readouterr().out
    assert f"{source}: left out 1 keys *.num_batches_tracked" in said and digest in said and "7 keys, 134 elements" in said
    assert [path.name for path in target.parent.iterdir()] == ["w.safetensors"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_a_distilled_encoder_takes_the_other_parts_from_elsewhere(tiny_model, tmp_path, expected, capsys):
    distilled, plain, target = FOLDER / "distilled.ckpt", FOLDER / "plain.pth", tmp_path / "w.safetensors"
    arguments = ["convert", str(distilled), "-o", str(target), "--model", "tiny"]
    assert command.main(arguments) == 1 and not target.exists()
    assert "2 missing: mask_decoder.weight, mask_decoder.bias" in capsys.readouterr().err
    assert command.main([*arguments, "--with", str(plain)]) == 0
    assert "left out 6 keys teacher_encoder.*" in capsys.readouterr().out
    with safe_open(target, framework="numpy") as file:
        assert file.metadata()["source"] == "distilled.ckpt + plain.pth"
        # The teacher's are the student's plus one: had they been taken, this would see it.
        assert all(same_bits(file.get_tensor(key), expected[f"net/{key}"]) for key in NET)
    assert command.main([*arguments, "--part", "image_encoder"]) == 0
    with safe_open(target, framework="numpy") as file:
        assert set(file.keys()) == {key for key in NET if key.startswith("image_encoder.")}
        assert file.metadata()["part"] == "image_encoder"


def test_what_does_not_fit_is_listed_and_nothing_is_written(tiny_model, monkeypatch, tmp_path, capsys):
    shapes = {key: shape for key, shape in NET.items() if key != "mask_decoder.bias"}
    shapes |= {"mask_decoder.weight": (4, 2), **{f"extra.{i}": (1,) for i in range(25)}}
    monkeypatch.setattr(registry, "expected", lambda name: (shapes, {}))
    assert command.main(["convert", str(FOLDER / "plain.pth"), "-o", str(tmp_path / "w.safetensors"), "--model", "tiny"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "plain.pth: does not fit tiny, whose 31 keys must all be there and no other:"
    assert lines[1].startswith("  25 missing: extra.0, extra.1, ") and lines[1].endswith("extra.19 and 5 more")
    assert lines[2:] == ["  1 unexpected: mask_decoder.bias", "  1 mis-shaped: mask_decoder.weight [2, 4] for [4, 2]"]
    assert not list(tmp_path.iterdir())


def test_half_precisions_become_float32_and_others_stay(expected):
    tensors = read_checkpoint(FOLDER / "zip.pth")["tensors"]
    arrays = convert.arrays_of({key: tensors[key] for key in ("float16", "bfloat16", "float64", "int64", "bool")})
    assert {key: str(array.dtype) for key, array in arrays.items()} == {
        "float16": "float32", "bfloat16": "float32", "float64": "float64", "int64": "int64", "bool": "bool"}
    np.testing.assert_array_equal(arrays["float16"], expected["float16"].astype(np.float32))


def test_keys_by_the_rules_of_the_sam_family():
    storage = Storage("0", "float32", 1)
    names = ["module.a.weight", "model.b.weight", "c.num_batches_tracked", "_orig_mod.module.d", "teacher_encoder.e",
             "student_encoder.module.f", "plain.model.g"]
    state = {name: Tensor(storage, "float32", 0, (), ()) for name in names}
    ours, left_out = convert.renamed(state, registry.SAM)
    assert list(ours) == ["a.weight", "b.weight", "d", "image_encoder.module.f", "plain.model.g"]
    assert left_out == {"*.num_batches_tracked": 1, "teacher_encoder.*": 1}
    with pytest.raises(CheckpointError, match="one key for a; got two, 'module.a' the second"):
        convert.renamed({"a": state["plain.model.g"], "module.a": state["plain.model.g"]}, registry.SAM)


@pytest.mark.parametrize("tree, message", [
    ([1], "must hold a dict; got a list of 1"),
    ({}, "got nothing"),
    ({"epoch": 3, "net": {}}, "must hold a state dict, or one under state_dict or model; got 'epoch', 'net'"),
    ({"state_dict": {"a": 3}}, "must hold tensors under names; got 3 under 'a'"),
])
def test_no_state_dict(tree, message):
    with pytest.raises(CheckpointError, match=message):
        convert.state_of(tree)


def test_show(tmp_path, capsys, tiny_model):
    assert command.main(["show", str(FOLDER / "plain.pth")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "image_encoder.conv.weight\tfloat32\t(4, 3, 3, 3)" in lines and lines[-1] == "8 tensors, 135 elements"
    assert command.main(["show", str(FOLDER / "training.pth")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "epoch\tint\t3" in lines and lines[-1] == "8 tensors, 135 elements in its state dict"
    target = str(tmp_path / "w.safetensors")
    command.main(["convert", str(FOLDER / "plain.pth"), "-o", target, "--model", "tiny"])
    capsys.readouterr()
    assert command.main(["show", target]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "mask_decoder.weight\tF32\t(2, 4)" in lines and lines[-1] == "7 tensors, 134 elements"


def test_bad_arguments_and_unreadable_files(tmp_path, capsys):
    plain = str(FOLDER / "plain.pth")
    assert command.main(["convert", plain, "-o", "w.safetensors", "--model", "sam-vit-x"]) == 2
    assert "model must be one of sam-vit-b, " in capsys.readouterr().err
    assert command.main(["convert", plain, "-o", "w.pth", "--model", "sam-vit-b"]) == 2
    for content, message in ((b"", "an empty file"), (b"<!DOCTYPE html><html>", "a web page"),
                             (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
                             (b"\x80\x02}.", "a bare pickle"), (b"hello", "5 bytes of something else")):
        (tmp_path / "x.pth").write_bytes(content)
        assert command.main(["show", str(tmp_path / "x.pth")]) == 1
        assert message in capsys.readouterr().err
    assert command.main(["show", str(tmp_path / "none.pth")]) == 1
    assert capsys.readouterr().err == "none.pth: must be a file that can be read; got No such file or directory\n"


def test_the_tar_format_is_refused(tmp_path, capsys):
    import tarfile

    with tarfile.open(tmp_path / "old.pth", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert command.main(["show", str(tmp_path / "old.pth")]) == 1
    assert "the tar archive of PyTorch before 0.1.9" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth"])
def test_a_damaged_file_is_refused_in_a_line(name, tmp_path):
    """Cut off anywhere, or with bytes changed anywhere: a CheckpointError or a tree, and never anything else."""
    whole, rng, refused = (FOLDER / name).read_bytes(), np.random.default_rng(0), 0
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3 == 0:
            del data[rng.integers(len(data)):]
        else:
            for at in rng.integers(len(data) if trial % 3 == 1 else min(900, len(data)), size=3):
                data[at] = rng.integers(256)
        (tmp_path / "x.pth").write_bytes(data)
        try:
            tree = read_checkpoint(tmp_path / "x.pth")
            state = tree.get("tensors") if isinstance(tree, dict) else None
            for tensor in (state or {}).values():
                if isinstance(tensor, Tensor) and tensor.nbytes < 1 << 20:
                    tensor.array()
        except CheckpointError as error:
            refused += 1
            assert str(error) and "\n" not in str(error)
    assert refused > 75


def test_changed_weights_do_not_pass_the_checksum(tmp_path, expected):
    data = (FOLDER / "zip.pth").read_bytes()
    at = data.index(expected["base"].tobytes())
    (tmp_path / "x.pth").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
    with pytest.raises(CheckpointError, match="checksum"):
        read_checkpoint(tmp_path / "x.pth")["tensors"]["base"].array()


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_weights(tmp_path / "w.safetensors", {"a": np.zeros(3, np.float32)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert (tmp_path / "w.safetensors").read_bytes() == b"old"


def test_where_names_a_file_and_a_command_that_the_parser_takes(capsys):
    for name in registry.MODELS:
        assert command.main(["where", name]) == 0
        said = capsys.readouterr().out
        lines = [line.split("-m models.checkpoints ")[1].split() for line in said.splitlines() if "then: python" in line]
        assert lines and "github.com/" in said
        for line in lines:
            args = command._parser().parse_args(line)
            assert args.model == name and args.out.name == f"{name}.safetensors"
    assert command.main(["where"]) == 0 and "medsam-vit-b" in capsys.readouterr().out
    assert command.main(["where", "sam-vit-x"]) == 2


def test_neither_jittor_nor_torch_is_needed_to_read(repo):
    code = ("import sys, models.checkpoints.__main__ as m; m.main(['show', sys.argv[1]]); "
            "assert not {'jittor', 'torch'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code, FOLDER / "zip.pth"], cwd=repo, check=True, capture_output=True)


@pytest.mark.parametrize("name, keys", [
    *((f"sam-vit-{size}", f"sam_vit_{size}") for size in "blh"), ("medsam-vit-b", "sam_vit_b"), ("litemedsam", "litemedsam"),
    *((f"efficientvit-sam-{size}", f"evitsam_{size}") for size in ("l0", "l1", "l2", "xl0", "xl1")),
    *((f"medficientsam-{size}", f"evitsam_{size}") for size in ("l0", "l1", "l2")),
])
def test_official_keys_fit_our_models(name, keys, repo):
    """The key lists of the originals, as tensors of one element each, through the rules and the strict check."""
    path = repo.parent / "shared" / "reference" / "keys" / f"{keys}.txt"
    if not path.is_file():
        pytest.skip("no key lists: ../shared/reference/keys does not exist beside this checkout")
    storage, state = Storage("0", "float32", 1), {}
    for line in path.read_text().splitlines():
        key, shape = line.split("\t")
        shape = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
        state[key] = Tensor(storage, "float32", 0, shape, (0,) * len(shape))
    ours, _ = convert.renamed(state, registry.model_of(name).rules)
    convert.check_fit(ours, registry.expected(name)[0], name)
