"""Checkpoints that attack their reader: each is refused in a line that says why, and a canary shows that nothing ran.

Every attack that Python's own unpickler would carry out is first given to it, so that the canary is known to sing.
"""

import copyreg
import functools
import io
import os
import pickle
import struct
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from models.checkpoints import __main__ as command
from models.checkpoints.errors import CheckpointError
from models.checkpoints.files import read_checkpoint
from models.checkpoints.tensors import MAX_BYTES

CANARY = "canary-of-the-checkpoint-tests"


class Asks:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class HasState(Asks):
    """Pickles as a call, then BUILD with `state`."""

    def __init__(self, function, arguments, state):
        self.reduced = function, arguments, state


def write_zip(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/byteorder", b"little")
        for name, data in (records or {}).items():
            archive.writestr(f"a/data/{name}", data)


def write_legacy(path: Path, pickled: bytes, keys: list[str] = (), storages: bytes = b""):
    start = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in start) + pickled + pickle.dumps(list(keys), 2) + storages)


WRITERS = {"zip": write_zip, "legacy": write_legacy}
TOUCH = f"touch {CANARY}"
OPEN = f"open({CANARY!r}, 'w').close()"

# What is pickled, and what the refusal names.
LIVE = {
    "os.system": (pickle.dumps(Asks(os.system, TOUCH), 2), "posix.system"),
    "os.system, protocol 4": (pickle.dumps({"state_dict": Asks(os.system, TOUCH)}, 4), "posix.system"),
    "os.system, protocol 0": (pickle.dumps(Asks(os.system, TOUCH), 0), "posix.system"),
    "eval": (pickle.dumps(Asks(eval, OPEN), 2), "builtin"),
    "exec": (pickle.dumps(Asks(exec, OPEN), 2), "builtin"),
    "subprocess": (pickle.dumps(Asks(subprocess.check_call, ["touch", CANARY]), 2), "check_call"),
    "io.open": (pickle.dumps(Asks(io.open, CANARY, "w"), 2), "io.open"),
    "getattr": (pickle.dumps(Asks(getattr, Asks(os.popen, TOUCH), "read"), 2), "builtin"),
    "partial of os.system": (pickle.dumps(Asks(functools.partial, os.system, TOUCH), 2), "posix.system"),
    "map": (pickle.dumps(Asks(map, os.system, [TOUCH]), 2), "itertools.imap"),
    "a dotted name": (b"\x80\x04\x8c\x02os\x94\x8c\x0bpath.exists\x93\x8c\x01x\x85R0"
                      + pickle.dumps(Asks(os.system, TOUCH), 4)[2:], "os.path.exists"),
    "INST": (b"(S'" + TOUCH.encode() + b"'\nios\nsystem\n.", "opcode INST"),
    "OBJ": (b"(cos\nsystem\nS'" + TOUCH.encode() + b"'\no.", "os.system"),
    "EXT1": (b"\x80\x02\x82\xf0(X" + struct.pack("<I", len(TOUCH)) + TOUCH.encode() + b"tR.", "opcode EXT1"),
    "after honest weights": (pickle.dumps({"state_dict": {}, "epoch": 1, "z": Asks(os.system, TOUCH)}, 2), "posix.system"),
    "BUILD": (pickle.dumps(HasState(functools.partial, (print,), (os.system, (), {}, None)), 2), "builtin"),
}
# Names and tricks that Python would refuse here for want of torch, or that do no harm without more.
REFUSED = {
    "torch.load": (b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00x\x85R.", "torch.load"),
    "torch.hub": (b"\x80\x02ctorch.hub\nload\nX\x01\x00\x00\x00x\x85R.", "torch.hub.load"),
    "torch.serialization": (b"\x80\x02ctorch.serialization\nload\n)R.", "torch.serialization.load"),
    "attributes of an allowed name": (b"\x80\x04\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93.",
                                      "_rebuild_tensor_v2.__globals__"),
    "an allowed name under another module": (b"\x80\x02cevil\n_rebuild_tensor_v2\n)R.", "evil._rebuild_tensor_v2"),
    "a space for a dot": (b"\x80\x02ctorch._utils _rebuild\ntensor_v2\n)R.", "torch._utils._rebuild.tensor_v2"),
    "a storage called": (b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.", "torch.FloatStorage called"),
    "BUILD of a name": (b"\x80\x02ccollections\nOrderedDict\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb.", "os.system"),
    "BUILD on a name": (b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.", "BUILD on collections OrderedDict"),
    "BUILD on a list": (b"\x80\x02]}b.", "BUILD on a list"),
    "NEWOBJ_EX": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "opcode NEWOBJ_EX"),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "opcode EXT4"),
    "a name made of numbers": (b"\x80\x04K\x01K\x02\x93.", "STACK_GLOBAL on 2"),
    "REDUCE of a string": (b"\x80\x02X\x01\x00\x00\x00x)R.", "REDUCE on 'x'"),
    "APPEND to a dict": (b"\x80\x02}K\x01a.", "APPEND on a dict"),
    "SETITEM of a list": (b"\x80\x02]K\x01K\x01s.", "SETITEM on a list"),
    "a persistent id as text": (b"\x80\x02Pstorage\n.", "opcode PERSID"),
    "a whole module": (b"\x80\x02(X\x06\x00\x00\x00moduleK\x01tQ.", "a whole pickled module"),
    "an empty stack": (b"\x80\x02R.", "whole; got IndexError"),
    "no STOP": (b"\x80\x02}", "got ValueError"),
    "a memo that is not there": (b"\x80\x02h\x05.", "got KeyError"),
    "OrderedDict of numbers": (b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.", "pairs with a string each; got 5"),
    "a parameter of a string": (b"\x80\x02ctorch._utils\n_rebuild_parameter\nX\x01\x00\x00\x00x\x88}\x87R.",
                                "made of a tensor; got 'x'"),
    "too few arguments": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "got 0 arguments"),
    "a line break in a name": (b"\x80\x04\x8c\x02o\n\x8c\x06system\x93.", r"'o\\n.system'"),
}


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    """A folder of its own for the canary."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def extension():
    """Extension 240 registered as os.system, as a program may have registered its own."""
    copyreg.add_extension("posix", "system", 240)
    yield
    copyreg.remove_extension("posix", "system", 240)


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("attack", [*LIVE, *REFUSED])
def test_nothing_of_it_runs(attack, container, extension, capsys):
    pickled, named = (LIVE | REFUSED)[attack]
    WRITERS[container](Path("evil.pth"), pickled)
    with pytest.raises(CheckpointError, match=named) as caught:
        read_checkpoint(Path("evil.pth"))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("evil.pth: ")
    assert command.main(["show", "evil.pth"]) == 1
    assert command.main(["convert", "evil.pth", "-o", "w.safetensors", "--model", "sam-vit-b"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert sorted(os.listdir()) == ["evil.pth"]


@pytest.mark.parametrize("attack", ["os.system", "os.system, protocol 4", "os.system, protocol 0", "eval", "exec", "subprocess",
                                    "io.open", "INST", "OBJ", "EXT1", "after honest weights"])
def test_python_s_own_unpickler_would_have_run_it(attack, extension):
    pickle.loads(LIVE[attack][0])
    assert os.path.exists(CANARY)


def test_an_inert_name_is_passed_over_and_still_not_run():
    write_zip(Path("evil.pth"), pickle.dumps({"epoch": 1, "z": Asks(os.system, TOUCH)}, 2))
    tree = read_checkpoint(Path("evil.pth"), inert=("posix.system",))
    assert tree["z"].name == "posix system" and not os.path.exists(CANARY)


def storage(key="0", numel=4, kind="FloatStorage") -> bytes:
    return (b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\nX" + struct.pack("<I", len(key)) + key.encode()
            + b"X\x03\x00\x00\x00cpu" + pickle.dumps(numel, 2)[2:-1] + b"tQ")


def tensor(store: bytes, offset, size, stride) -> bytes:
    """A state dict with the tensor `w`, as torch.save writes it, the numbers as given."""
    numbers = b"".join(pickle.dumps(part, 2)[2:-1] for part in (offset, size, stride))
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + store + numbers + b"\x89}tRs."


FOUR = {"0": struct.pack("<4f", 1, 2, 3, 4)}
LIES = {
    "storage larger than its record": (tensor(storage(numel=400), 0, (400,), (1,)), "1,600 bytes .* take; got 16"),
    "storage smaller than its record": (tensor(storage(numel=2), 0, (2,), (1,)), "8 bytes .* take; got 16"),
    "storage of another type": (tensor(storage(kind="DoubleStorage"), 0, (4,), (1,)), "32 bytes .* take; got 16"),
    "no such storage": (tensor(storage("7"), 0, (4,), (1,)), "storage '7'; got no such record"),
    "a path for a key": (tensor(storage("../../etc/passwd"), 0, (4,), (1,)), "got no such record"),
    "negative numel": (tensor(storage(numel=-1), 0, (4,), (1,)), "number of elements; got '0', -1"),
    "numel of many digits": (tensor(storage(numel=10**5000), 0, (4,), (1,)), "an integer of 16610 bits"),
    "negative stride": (tensor(storage(), 3, (4,), (-1,)), "integers from 0; got -1"),
    "negative offset": (tensor(storage(), -1, (4,), (1,)), "integers from 0; got -1"),
    "negative size": (tensor(storage(), 0, (-4,), (1,)), "integers from 0; got -4"),
    "offset out of range": (tensor(storage(), 1, (4,), (1,)), "needs 5 of 4 elements"),
    "stride out of range": (tensor(storage(), 0, (2, 2), (3, 1)), "needs 5 of 4 elements"),
    "a product beyond 64 bits": (tensor(storage(), 0, (1 << 33, 1 << 33), (0, 0)), "at most 68,719,476,736 bytes"),
    "a product that wraps to 0": (tensor(storage(), 0, (1 << 32, 1 << 32), (0, 0)), "at most"),
    "a huge expansion": (tensor(storage(), 0, (1 << 40,), (0,)), "at most"),
    "a size beyond 64 bits": (tensor(storage(), 0, (1 << 64, 0), (0, 0)), "integers from 0; got an integer of 65 bits"),
    "a fraction for a size": (tensor(storage(), 0, (1.5,), (1,)), "integers from 0; got 1.5"),
    "a truth for a size": (tensor(storage(), 0, (True,), (1,)), "integers from 0; got True"),
    "more strides than axes": (tensor(storage(), 0, (2,), (1, 1)), "got 1 axes and 2 strides"),
    "forty axes": (tensor(storage(), 0, (1,) * 40, (0,) * 40), "at most 32 axes"),
    "a shape of text": (tensor(storage(), 0, "abc", (1,)), "must be tuples; got 'abc'"),
    "an unknown type": (tensor(storage(kind="ByteTensor"), 0, (4,), (1,)), "torch.ByteTensor"),
    "a persistent id of two": (b"\x80\x02K\x01K\x02\x86Q.", "persistent id must be .*; got a tuple of 2"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_sizes(lie):
    pickled, message = LIES[lie]
    write_zip(Path("lie.pth"), pickled, FOUR)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(Path("lie.pth"))


def test_the_same_without_a_lie():
    write_zip(Path("a.pth"), tensor(storage(), 1, (3, 2), (1, 0)), FOUR)
    assert read_checkpoint(Path("a.pth"))["w"].array().tolist() == [[2, 2], [3, 3], [4, 4]]
    write_legacy(Path("b.pth"), tensor(storage(), 0, (2,), (3,)), ["0"], struct.pack("<q", 4) + FOUR["0"])
    assert read_checkpoint(Path("b.pth"))["w"].array().tolist() == [1, 4]


@pytest.mark.parametrize("keys, stored, message", [
    (["0"], struct.pack("<q", 5) + FOUR["0"], "4 elements that its tensors name; got 5"),
    (["0"], struct.pack("<q", -4) + FOUR["0"], "got -4"),
    (["0"], struct.pack("<q", 4) + FOUR["0"][:9], "16 bytes; got 9: the file is cut off"),
    (["0", "0"], 2 * (struct.pack("<q", 4) + FOUR["0"]), "used and listed once"),
    (["1"], struct.pack("<q", 4) + FOUR["0"], "used and listed once"),
    ([], b"", "got none for '0'"),
])
def test_lies_in_the_legacy_format(keys, stored, message):
    write_legacy(Path("lie.pth"), tensor(storage(), 0, (4,), (1,)), keys, stored)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(Path("lie.pth"))


def test_one_storage_under_two_sizes():
    two = b"\x80\x02]" + storage(numel=4) + b"a" + storage(numel=1 << 40) + b"a."
    write_zip(Path("lie.pth"), two, FOUR)
    with pytest.raises(CheckpointError, match="same wherever it is used; got 4 float32 and 1,099,511,627,776 float32"):
        read_checkpoint(Path("lie.pth"))


def deep_key() -> bytes:
    """A dict whose key is a tuple of a tuple of ... of which each holds the one below twice: its hash takes 2 ** 60 steps."""
    return b"\x80\x02}" + b")q\x00" + b"".join(b"h\x00\x86q\x00" for _ in range(60)) + b"K\x01s."


BOMBS = {
    "memo of a billion": b"\x80\x02}r\xff\xff\xff\x3f.",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "text that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "a frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"}.",
    "a key that hashes for ever": deep_key(),
    "lists of lists": b"\x80\x02]q\x00" + b"]q\x010h\x00" * 200 + b"".join(b"]h\x00ah\x00aq\x00" for _ in range(60)) + b".",
    "itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "a long integer": b"\x80\x02\x8b" + struct.pack("<i", 1 << 17) + b"\x7f" * (1 << 17) + b".",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_little_memory_and_time(bomb, capsys):
    write_zip(Path("bomb.pth"), BOMBS[bomb])
    tracemalloc.start()
    status = command.main(["show", "bomb.pth"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status in (0, 1) and peak < 8 << 20
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_an_expanded_tensor_costs_nothing_until_it_is_an_array():
    write_zip(Path("big.pth"), tensor(storage(), 0, (MAX_BYTES // 4,), (0,)), FOUR)
    assert command.main(["show", "big.pth"]) == 0


def test_a_compressed_archive():
    write_zip(Path("a.pth"), b"\x80\x02}.", {"0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="must be stored as it is; got a compressed"):
        read_checkpoint(Path("a.pth"))


def test_two_records_of_one_name():
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile("a.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data.pkl", pickle.dumps(Asks(os.system, TOUCH), 2))
    with pytest.raises(CheckpointError, match="'a/data.pkl' must be there once; got it twice"):
        read_checkpoint(Path("a.pth"))
    assert not os.path.exists(CANARY)
