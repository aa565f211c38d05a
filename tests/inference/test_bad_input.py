"""Input that nobody vouches for: one clear line for each bad case, no file of it, all the others done."""

import errno
import io
import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from inference.__main__ import main
from inference.case import CaseError, read_case

IMAGE = np.full((20, 30), 100, np.uint8)
RGB = np.full((20, 30, 3), 100, np.uint8)
VOLUME = np.full((6, 20, 30), 100, np.uint8)
BOXES = np.array([[1, 2, 9, 8]])
BOXES_3D = np.array([[1, 2, 0, 9, 8, 5]])


EXPLOSIONS = []


def explode():
    EXPLOSIONS.append("unpickled")


class Bomb:
    """Leaves a trace in EXPLOSIONS when it is unpickled."""

    def __reduce__(self):
        return explode, ()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npz_of_bytes(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, data in members.items():
            archive.writestr(f"{key}.npy", data)
    return stream.getvalue()


def npy(shape, data=b"", descr="|u1", version=b"\x01\x00") -> bytes:
    """An npy file whose header claims `shape` and `descr`, whatever the data are."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + data


def damaged(data: bytes) -> bytes:
    """The npz with bytes in the middle of its first member flipped."""
    middle = 60
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle:middle + 40]) + data[middle + 40:]


def encrypted(data: bytes) -> bytes:
    """The npz with the flag that says a member is encrypted, in its local and in its central headers."""
    # After the signature come the versions (which depend on Python's own), then the flags.
    return re.sub(rb"(?s)(PK\x03\x04.{2}|PK\x01\x02.{4})\x00", lambda found: found[1] + b"\x01", data)


GOOD = npz(imgs=np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8), boxes=BOXES)
BOXES_NPY = npy((1, 4), bytes(4 * 4), "<i4")
NO_NPZ = "must be an npz, a zip archive of arrays; got {:,} bytes that are none, or not the whole of one".format
RANKS_2D = "imgs must be (H, W) or (H, W, 1) or (H, W, 3) or (H, W, 4); got "
RANKS_3D = "imgs must be (D, H, W) or (D, H, W, 1) or (D, H, W, 3); got "
NO_NUMBERS = "must be numbers; got pickled Python objects, which are never unpickled"
ONE_NAN = np.where(np.arange(600).reshape(20, 30) == 77, np.nan, IMAGE)


def imgs(member: bytes) -> bytes:
    """An npz with good boxes and this for its imgs.npy."""
    return npz_of_bytes(boxes=BOXES_NPY, imgs=member)


def boxes(*rows, dtype=None) -> bytes:
    """An npz with a good image of 30 x 20 px, or a good volume of 6 slices, and these boxes."""
    return npz(imgs=VOLUME if rows and len(rows[0]) == 6 else IMAGE, boxes=np.array(rows, dtype))


def spacing(*values) -> bytes:
    return npz(imgs=VOLUME, boxes=BOXES_3D, spacing=values)


# what is wrong: (file name, bytes, what the line says after "error: <file name>: ")
FILES = {
    "empty": ("2Dx.npz", b"", NO_NPZ(0)),
    "not a zip": ("2Dx.npz", b"not a zip" * 9, NO_NPZ(81)),
    "truncated": ("2Dx.npz", GOOD[:-30], NO_NPZ(len(GOOD) - 30)),
    "plain npy": ("2Dx.npz", npy((20, 30), bytes(600)), NO_NPZ(728)),
    "pickle": ("2Dx.npz", pickle.dumps({"imgs": Bomb()}), "must be an npz, a zip archive of arrays; got "),
    "damaged": ("2Dx.npz", damaged(GOOD), "imgs must be a whole npy array; got "),
    "encrypted": ("2Dx.npz", encrypted(GOOD), "boxes must be a whole npy array; got RuntimeError: File 'boxes.npy' is "
                  "encrypted, password required for extraction"),
    "empty zip": ("2Dx.npz", npz(), "must hold an array boxes; got none"),
    "no imgs": ("2Dx.npz", npz(image=IMAGE, boxes=BOXES), "must hold an array imgs; got image, boxes"),
    "no boxes": ("2Dx.npz", npz(imgs=IMAGE), "must hold an array boxes; got imgs"),
    "member that is no npy": ("2Dx.npz", imgs(b"P5 20 30 255 "), "imgs must be a whole npy array; got ValueError: "),
    "member that is empty": ("2Dx.npz", imgs(b""), "imgs must be a whole npy array; got ValueError: "),
    "npy 3.0": ("2Dx.npz", imgs(npy((1, 1), b"1", version=b"\x03\x00")),
                "imgs must be npy format 1.0 or 2.0; got 3.0"),
    "endless header": ("2Dx.npz", imgs(b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b" " * 50_000),
                       "imgs must be a whole npy array; got ValueError: "),
}
TYPES = {
    "pickled imgs": ("2Dx.npz", npz(imgs=np.array([Bomb()]), boxes=BOXES), f"imgs {NO_NUMBERS}"),
    "pickled boxes": ("3Dx.npz", npz(imgs=VOLUME, boxes=np.array([{"z_min": Bomb()}])), f"boxes {NO_NUMBERS}"),
    "pickled spacing": ("3Dx.npz", spacing(Bomb(), 1, 1), f"spacing {NO_NUMBERS}"),
    "text": ("2Dx.npz", npz(imgs=IMAGE.astype(str), boxes=BOXES), "imgs must be integers or floats; got dtype <U3"),
    "bool": ("2Dx.npz", npz(imgs=IMAGE > 0, boxes=BOXES), "imgs must be integers or floats; got dtype bool"),
    "complex": ("2Dx.npz", npz(imgs=IMAGE * 1j, boxes=BOXES), "imgs must be integers or floats; got dtype complex128"),
}
CLAIMS = {
    "70,000 x 70,000": ("2Dx.npz", imgs(npy((70000, 70000), b"1234")), f"imgs must take at most {2**31:,} bytes; "
                        "got (70000, 70000) of uint8, 4,900,000,000 bytes"),
    "a billion boxes": ("2Dx.npz", npz_of_bytes(boxes=npy((10**9, 4), b"", "<i4"), imgs=npy((1, 1), b"1")),
                        "boxes must take at most 8,388,608 bytes; got (1000000000, 4) of int32, 16,000,000,000 bytes"),
    "more than it holds": ("2Dx.npz", imgs(npy((2000, 2000), b"1234")), "imgs must hold as many bytes as its shape "
                           "says, 4,000,000 for (2000, 2000) of uint8; got 4"),
    "less than it holds": ("2Dx.npz", imgs(npy((2, 2), bytes(9_000_000))), "imgs must hold as many bytes as its shape "
                           "says, 4 for (2, 2) of uint8; got 9,000,000"),
    "negative length": ("2Dx.npz", imgs(npy((-2, -2), b"1234")), "imgs must have a shape without negative lengths; "
                        "got (-2, -2)"),
}
SHAPES = {
    "rank 0": ("2Dx.npz", npz(imgs=np.uint8(3), boxes=BOXES), RANKS_2D + "()"),
    "rank 1": ("2Dx.npz", npz(imgs=IMAGE[0], boxes=BOXES), RANKS_2D + "(30,)"),
    "two channels": ("2Dx.npz", npz(imgs=RGB[..., :2], boxes=BOXES), RANKS_2D + "(20, 30, 2)"),
    "no pixels": ("2Dx.npz", npz(imgs=IMAGE[:0], boxes=BOXES), "imgs must not be empty; got (0, 30)"),
    "volume of rank 2": ("3Dx.npz", npz(imgs=IMAGE, boxes=BOXES_3D), RANKS_3D + "(20, 30)"),
    "volume of rank 5": ("3Dx.npz", npz(imgs=VOLUME[None, None], boxes=BOXES_3D), RANKS_3D + "(1, 1, 6, 20, 30)"),
    "volume named 2D": ("2Dx.npz", npz(imgs=VOLUME, boxes=BOXES_3D), "boxes must be (N, 4) xyxy px; got (1, 6)"),
    "image named 3D": ("3Dx.npz", npz(imgs=IMAGE, boxes=BOXES), "boxes must be (N, 6) xyzxyz voxel; got (1, 4)"),
}
VALUES = {
    "NaN": ("2Dx.npz", npz(imgs=ONE_NAN, boxes=BOXES), "imgs must hold values 0..255; got nan"),
    "inf": ("2Dx.npz", npz(imgs=IMAGE * np.inf, boxes=BOXES), "imgs must hold values 0..255; got inf"),
    "below 0": ("2Dx.npz", npz(imgs=IMAGE.astype(np.int16) - 101, boxes=BOXES), "imgs must hold values 0..255; got -1"),
    "above 255": ("3Dx.npz", npz(imgs=VOLUME.astype(np.uint16) * 30, boxes=BOXES_3D),
                  "imgs must hold values 0..255; got 3000"),
    "0..1": ("2Dx.npz", npz(imgs=IMAGE / 200, boxes=BOXES), "imgs must hold values 0..255; got fractions 0..1, "
             "0.5..0.5: scale them by 255"),
    "spacing 0": ("3Dx.npz", spacing(1, 0, 5), "spacing must be 3 positive numbers, x, y, z in mm; got [1, 0, 5]"),
    "spacing NaN": ("3Dx.npz", spacing(1, np.nan, 5),
                    "spacing must be 3 positive numbers, x, y, z in mm; got [1.0, nan, 5.0]"),
    "spacing of two": ("3Dx.npz", spacing(1, 5), "spacing must be 3 positive numbers, x, y, z in mm; got (2,)"),
}
PLACES = {
    "zero boxes": ("2Dx.npz", npz(imgs=IMAGE, boxes=np.zeros((0, 4))),
                   "boxes must hold at least one box, (N, 4) xyxy px; got (0, 4)"),
    "empty list": ("3Dx.npz", npz(imgs=VOLUME, boxes=[]),
                   "boxes must hold at least one box, (N, 6) xyzxyz voxel; got (0,)"),
    "rank 1": ("2Dx.npz", npz(imgs=IMAGE, boxes=BOXES[0]), "boxes must be (N, 4) xyxy px; got (4,)"),
    "five columns": ("2Dx.npz", npz(imgs=IMAGE, boxes=np.ones((3, 5))), "boxes must be (N, 4) xyxy px; got (3, 5)"),
    "five columns, no prefix": ("x.npz", npz(imgs=IMAGE, boxes=np.ones((3, 5))),
                                "boxes must be (N, 4) xyxy px or (N, 6) xyzxyz voxel; got (3, 5)"),
    "more than labels": ("2Dx.npz", npz(imgs=IMAGE, boxes=np.zeros((65536, 4), np.int16)),
                         "boxes must hold at most 65535 boxes; got 65536"),
    "NaN": ("2Dx.npz", boxes((1, 2, 9, 8), (1, 2, np.nan, 8)),
            "boxes[1] must lie within -16777216..16777216; got x_max nan"),
    "inf": ("3Dx.npz", boxes((1, 2, -np.inf, 9, 8, 5)), "boxes[0] must lie within -16777216..16777216; got z_min -inf"),
    "2^64 - 1": ("2Dx.npz", boxes((1, 2, 9, 2**64 - 1), dtype=np.uint64),
                 "boxes[0] must lie within -16777216..16777216; got y_max 1.84467e+19"),
    "inverted x": ("2Dx.npz", boxes((1, 2, 9, 8), (9, 2, 1, 8)),
                   "boxes[1] must have x_min <= x_max; got x_min 9, x_max 1"),
    "inverted z": ("3Dx.npz", boxes((1, 2, 5, 9, 8, 3)), "boxes[0] must have z_min <= z_max; got z_min 5, z_max 3"),
    "right of the image": ("2Dx.npz", boxes((30, 2, 40, 8)),
                           "boxes[0] must overlap the image, x 0..29; got x_min 30, x_max 40"),
    "above the image": ("2Dx.npz", boxes((1, 2, 9, 8), (1, -9, 9, -1)),
                        "boxes[1] must overlap the image, y 0..19; got y_min -9, y_max -1"),
    "behind the volume": ("3Dx.npz", boxes((1, 2, 6, 9, 8, 9)),
                          "boxes[0] must overlap the image, z 0..5; got z_min 6, z_max 9"),
}
BAD = {f"{kind}: {what}": bad
       for kind, group in (("file", FILES), ("type", TYPES), ("claim", CLAIMS), ("shape", SHAPES), ("value", VALUES),
                           ("boxes", PLACES)) for what, bad in group.items()}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", BAD)
def test_one_line_and_the_others_are_done(tmp_path, capsys, box_filler, bad):
    name, data, rule = BAD[bad]
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    (inputs / name).write_bytes(data)
    (inputs / "0 before.npz").write_bytes(GOOD)
    (inputs / "z after.npz").write_bytes(GOOD)
    assert main(["-i", str(inputs), "-o", str(outputs)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {name}: {rule}") and printed.err.count("\n") == 1
    if rule[-1].isdigit() or rule[-1] in ")]":
        assert printed.err == f"error: {name}: {rule}\n"
    assert printed.out == f"2 of 3 cases written to {outputs}\n"
    assert sorted(os.listdir(outputs)) == ["0 before.npz", "z after.npz"]
    assert EXPLOSIONS == []


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_a_case_error_or_harmless(tmp_path):
    """Flipped, lost and doubled bytes of a good file: read_case returns a case in order, or raises CaseError."""
    rng = np.random.default_rng(1)
    good = [npz(imgs=IMAGE, boxes=BOXES), npz_of_bytes(imgs=npy((20, 30), bytes(600)), boxes=BOXES_NPY),
            npz(imgs=VOLUME, boxes=BOXES_3D, spacing=[1, 1, 5])]
    refused = 0
    for trial in range(600):
        data = bytearray(good[trial % 3])
        place, length = rng.integers(len(data)), rng.integers(1, 9)
        if trial % 4 == 0:
            del data[place:place + length]
        elif trial % 4 == 1:
            data[place:place] = data[place:place + length]
        else:
            data[place:place + length] = rng.bytes(length)
        path = tmp_path / ("3Dx.npz" if trial % 3 == 2 else "2Dx.npz")
        path.write_bytes(data)
        try:
            case = read_case(path)
        except CaseError as error:
            refused += 1
            assert str(error).startswith(path.name) and "\n" not in str(error)
        else:
            assert case.image.dtype == np.uint8 and case.boxes.dtype == np.int32 and len(case.boxes) > 0
    assert refused > 300


def test_the_bomb_would_go_off_if_it_were_unpickled():
    np.load(io.BytesIO(npz(imgs=np.array([Bomb()]))), allow_pickle=True)["imgs"]
    assert EXPLOSIONS.pop() == "unpickled"


@pytest.mark.parametrize("name", ["with space.npz", "a..b.npz", "2D ...npz", "ünï.npz", "-o.npz", "%s{}.npz", "~.npz"])
def test_odd_names_are_just_names(tmp_path, capsys, box_filler, name):
    inputs, outputs = tmp_path / "in put", tmp_path / "out put"
    inputs.mkdir()
    (inputs / name).write_bytes(GOOD)
    assert main(["-i", str(inputs), "-o", str(outputs)]) == 0
    assert os.listdir(outputs) == [name] and capsys.readouterr().err == ""
    assert sorted(os.listdir(tmp_path)) == ["in put", "out put"]


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path, capsys, box_filler):
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "a\nb.npz").write_bytes(b"")
    (inputs / "c\nd.npz").write_bytes(GOOD)
    assert main(["-i", str(inputs), "-o", str(tmp_path / "out"), "-v"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(r"error: 'a\nb.npz': must be an npz") and printed.err.count("\n") == 1
    assert r"'c\nd.npz' objects 1" in printed.out
    assert os.listdir(tmp_path / "out") == ["c\nd.npz"]


def test_what_is_no_file(tmp_path, capsys, box_filler):
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    (inputs / "folder.npz").mkdir(parents=True)
    (inputs / "good.npz").write_bytes(GOOD)
    os.mkfifo(inputs / "pipe.npz")
    (inputs / "dangling.npz").symlink_to(tmp_path / "nowhere")
    assert main(["-i", str(inputs), "-o", str(outputs)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: dangling.npz: must be a file that can be read; got No such file or directory",
        "error: pipe.npz: must be a file; got something else of that name"]
    assert os.listdir(outputs) == ["good.npz"]


def test_output_folder_that_is_a_file(tmp_path, capsys, box_filler, write_case):
    write_case("2Da.npz", tmp_path / "in", imgs=IMAGE, boxes=BOXES)
    (tmp_path / "out").write_text("mine")
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: output folder {tmp_path / 'out'} must be a folder that can be made; " \
                                      "got File exists\n"
    assert (tmp_path / "out").read_text() == "mine" and box_filler == []


def test_output_folder_that_cannot_be_made(tmp_path, capsys, box_filler, write_case):
    write_case("2Da.npz", tmp_path / "in", imgs=IMAGE, boxes=BOXES)
    assert main(["-i", str(tmp_path / "in"), "-o", "/proc/medseg"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: output folder /proc/medseg must be a folder that can be made; got ")
    assert box_filler == []


def test_output_folder_that_this_user_cannot_write(tmp_path, capsys, box_filler, write_case, monkeypatch):
    write_case("2Da.npz", tmp_path / "in", imgs=IMAGE, boxes=BOXES)
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write wherever a disk lets it
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: output folder {tmp_path / 'out'} must be one that this user can write\n"
    assert os.listdir(tmp_path / "out") == [] and box_filler == []


def test_a_disk_that_fills(full_disk, tmp_path, capsys, box_filler, write_case, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    monkeypatch.setattr("inference.segment.open_segmenter", lambda *_: lambda case: noise * (case.name == "2Db"))
    for name in ("2Da.npz", "2Db.npz", "2Dc.npz"):
        write_case(name, tmp_path / "in", imgs=np.zeros((200, 200), np.uint8), boxes=BOXES)
    assert main(["-i", str(tmp_path / "in"), "-o", str(full_disk)]) == 1
    assert capsys.readouterr().err == f"error: 2Db.npz: cannot be written to {full_disk}; got No space left on device\n"
    assert sorted(os.listdir(full_disk)) == ["2Da.npz", "2Dc.npz"]


def test_a_disk_that_fills_where_none_can_be_mounted(tmp_path, capsys, box_filler, write_case, monkeypatch):
    fsync, calls = os.fsync, []

    def full_at_the_second(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    for name in ("2Da.npz", "2Db.npz", "2Dc.npz"):
        write_case(name, tmp_path / "in", imgs=IMAGE, boxes=BOXES)
    outputs = tmp_path / "out"
    assert main(["-i", str(tmp_path / "in"), "-o", str(outputs)]) == 1
    assert capsys.readouterr().err == f"error: 2Db.npz: cannot be written to {outputs}; got No space left on device\n"
    assert sorted(os.listdir(outputs)) == ["2Da.npz", "2Dc.npz"]
