"""npz files by ISA-L and by zlib: each reads what the other writes, and neither is fooled."""

import importlib
import sys
import zipfile
import zlib

import numpy as np
import pytest

import inference.case
import inference.zipped
from inference.case import CaseError, read_case, write_segs


@pytest.fixture(params=["isal", "zlib"])
def deflate(request, monkeypatch):
    """Cases are read and written by ISA-L, or as where the package isal is not installed. Which it is."""
    if request.param == "isal":
        pytest.importorskip("isal", reason="not installed: only zlib can be tested")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    importlib.reload(inference.zipped)
    monkeypatch.setattr(inference.case, "zipfile", inference.zipped.zipfile)
    yield request.param
    monkeypatch.undo()
    importlib.reload(inference.zipped)


def noisy_volume() -> np.ndarray:
    """uint8 (12, 90, 80): half noise, which hardly packs, and half zeros, which do."""
    volume = np.zeros((12, 90, 80), np.uint8)
    volume[:6] = np.random.default_rng(1).integers(0, 256, (6, 90, 80))
    return volume


def test_python_s_own_zipfile_is_left_alone(deflate):
    assert zipfile.zlib is zlib and zipfile.crc32 is zlib.crc32
    assert (inference.zipped.zipfile is zipfile) == (deflate == "zlib")


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_reads_what_zlib_packed(deflate, level, tmp_path):
    volume = noisy_volume()
    with zipfile.ZipFile(tmp_path / "3Da.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for key, array in {"imgs": volume, "boxes": np.array([[1, 2, 3, 40, 50, 9]])}.items():
            with archive.open(f"{key}.npy", "w") as stream:
                np.save(stream, array)
    assert np.array_equal(read_case(tmp_path / "3Da.npz").image, volume)


def test_numpy_reads_what_it_packs(deflate, tmp_path):
    segs = noisy_volume()
    write_segs(tmp_path / "a.npz", segs)
    assert (tmp_path / "a.npz").stat().st_size < 0.6 * segs.size
    with np.load(tmp_path / "a.npz") as loaded:
        assert np.array_equal(loaded["segs"], segs)
    assert zipfile.ZipFile(tmp_path / "a.npz").testzip() is None


def test_a_flipped_byte_of_the_image_is_found(deflate, tmp_path):
    """By the archive's checksum where the stream still unpacks: noise is stored as it is, so a byte of it is one pixel."""
    path = tmp_path / "3Da.npz"
    np.savez_compressed(path, imgs=noisy_volume(), boxes=[[1, 2, 3, 40, 50, 9]])
    broken = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("imgs.npy")
    broken[info.header_offset + info.compress_size // 2] ^= 1
    path.write_bytes(broken)
    with pytest.raises(CaseError, match=r"3Da.npz: imgs must be a whole npy array"):
        read_case(path)
