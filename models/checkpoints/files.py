"""The two containers that torch.save has written: a zip archive (since 1.6), and before it pickles and raw storages."""

import io
import mmap
import struct
import zipfile
import zlib
from pathlib import Path

from models.checkpoints.errors import CheckpointError, brief, naming
from models.checkpoints.rebuild import Rebuilder
from models.checkpoints.unpickle import unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LEGACY_START = b"\x80\x02\x8a\x0a" + _LEGACY_MAGIC.to_bytes(10, "little")
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def read_checkpoint(path: Path, inert: tuple[str, ...] = ()) -> object:
    """What torch.save was given: dicts, lists, tuples, strings and numbers with a Tensor for every tensor and parameter.

    inert: names, "module.name", beyond those known that are passed over where the pickle calls them.
    The file stays mapped as long as a Tensor of it lives. Raises CheckpointError with the file's name.
    """
    path = Path(path)
    with naming(path):
        mapped = _map(path)
        if mapped[:4] == b"PK\x03\x04":
            return _read_zip(mapped, Rebuilder(inert))
        if mapped[:len(_LEGACY_START)] == _LEGACY_START:
            return _read_legacy(mapped, Rebuilder(inert))
        raise CheckpointError(f"must be a file of torch.save; got {_what_it_is(mapped)}")


def _map(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"must be a file that can be read; got {error.strerror or error}") from error
    except ValueError as error:
        raise CheckpointError("must be a checkpoint; got an empty file") from error


def _what_it_is(mapped: mmap.mmap) -> str:
    start = mapped[:512]
    if start[257:262] == b"ustar":
        return "the tar archive of PyTorch before 0.1.9: load and save it with a newer one"
    if start.lstrip()[:1] == b"<":
        return "a web page: the download asked for something, look into the file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: the file itself has yet to be fetched"
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return "a bare pickle, which is not read"
    return f"{len(mapped):,} bytes of something else"


def _read_zip(mapped: mmap.mmap, rebuild: Rebuilder) -> object:
    records = _zip_records(mapped)
    pickles = [name for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(f"must be a zip archive with one data.pkl in its folder; got {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    order = bytes(records[f"{root}byteorder"][0]) if f"{root}byteorder" in records else b"little"
    if order not in (b"little", b"big"):
        raise CheckpointError(f"its byteorder must be little or big; got {brief(order.decode('latin-1'))}")
    pickled, crc = records[pickles[0]]
    if zlib.crc32(pickled) != crc:
        raise CheckpointError("its data.pkl must have the checksum of its archive; got another: fetch the file again")
    result = _unpickle(io.BytesIO(pickled), rebuild)
    for key, storage in rebuild.storages.items():
        name = f"{root}data/{key}"
        if name not in records:
            raise CheckpointError(f"must hold storage {brief(key)}; got no such record")
        storage.data, storage.crc = records[name]
        storage.big_endian = order == b"big"
        if len(storage.data) != storage.nbytes:
            raise CheckpointError(f"storage {brief(key)} must have the {storage.nbytes:,} bytes that its {storage.numel:,} "
                                  f"{storage.dtype or 'bytes'} take; got {len(storage.data):,}")
    return result


def _zip_records(mapped: mmap.mmap) -> dict[str, tuple[memoryview, int]]:
    """Bytes, in place, and CRC-32 of every record. torch.save compresses nothing, so what would is no such file."""
    view = memoryview(mapped)
    records = {}
    try:
        with zipfile.ZipFile(mapped) as archive:
            infos = archive.infolist()
    except Exception as error:  # zipfile raises many kinds on broken bytes
        raise CheckpointError(f"must be a whole zip archive; got {brief(str(error))}: fetch it again") from error
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise CheckpointError(f"record {brief(info.filename)} must be stored as it is; got a compressed or encrypted one")
        if info.filename in records:
            raise CheckpointError(f"record {brief(info.filename)} must be there once; got it twice")
        header = view[info.header_offset:info.header_offset + _LOCAL_HEADER.size]
        magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header) if len(header) == _LOCAL_HEADER.size else (b"", 0, 0)
        start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if info.header_offset < 0 or magic != b"PK\x03\x04" or start + info.file_size > len(view):
            raise CheckpointError(f"record {brief(info.filename)} must lie inside the file; got it cut off: fetch it again")
        records[info.filename] = view[start:start + info.file_size], info.CRC
    return records


def _read_legacy(mapped: mmap.mmap, rebuild: Rebuilder) -> object:
    """Magic number, protocol, facts of the machine, the object, the keys of its storages; then each storage's numel as
    int64 and its elements."""
    plain = Rebuilder()
    mapped.seek(0)
    magic, protocol, facts = (_unpickle(mapped, plain) for _ in range(3))
    if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
        raise CheckpointError(f"must be of the legacy protocol {_LEGACY_PROTOCOL}; got {brief(protocol)}")
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise CheckpointError("must be written by a little-endian machine; got another")
    result = _unpickle(mapped, rebuild)
    keys = _unpickle(mapped, plain)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError(f"must list the names of its storages; got {brief(keys)}")
    at, view = mapped.tell(), memoryview(mapped)
    for key in keys:
        storage = rebuild.storages.get(key)
        if storage is None or storage.data is not None:
            raise CheckpointError(f"storage {brief(key)} must be used and listed once; got it otherwise")
        if (held := int.from_bytes(view[at:at + 8], "little", signed=True)) != storage.numel:
            raise CheckpointError(f"storage {brief(key)} must have the {storage.numel:,} elements that its tensors name; "
                                  f"got {held:,}")
        storage.data = view[at + 8:at + 8 + storage.nbytes]
        if len(storage.data) != storage.nbytes:
            raise CheckpointError(f"storage {brief(key)} must have {storage.nbytes:,} bytes; got {len(storage.data):,}: the "
                                  "file is cut off, fetch it again")
        at += 8 + storage.nbytes
    if missing := [key for key, storage in rebuild.storages.items() if storage.data is None]:
        raise CheckpointError(f"must list the storages of all its tensors; got none for {brief(missing[0])}")
    return result


def _unpickle(stream, rebuild: Rebuilder) -> object:
    return unpickle(stream, rebuild.find, rebuild.call, rebuild.persistent)
