"""A flat dict of float32 tensors as torch.save writes it (the zip archive, since PyTorch 1.6), without PyTorch."""

import io
import pathlib
import pickle
import struct
import zipfile

import numpy as np

from inference.files import write_whole


def write_torch(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes float32 arrays, C order, as contiguous CPU tensors, whole or not at all. Raises OSError."""
    path = pathlib.Path(path)
    records = {"data.pkl": _pickled(arrays), "byteorder": b"little"}
    records |= {f"data/{i}": np.ascontiguousarray(array, "<f4").tobytes() for i, array in enumerate(arrays.values())}
    records["version"] = b"3\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records.items():
            archive.writestr(f"{path.stem}/{name}", data)
    write_whole(path, packed.getbuffer())


def _pickled(arrays):
    """{key: torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, OrderedDict())}, each storage a
    persistent id ("storage", torch.FloatStorage, its record, "cpu", elements): opcodes of pickle's protocol 2."""
    out = io.BytesIO()
    out.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK)
    for i, (key, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in np.empty(array.shape, np.float32).strides]
        out.write(_text(key) + _name("torch._utils", "_rebuild_tensor_v2") + pickle.MARK)
        out.write(pickle.MARK + _text("storage") + _name("torch", "FloatStorage") + _text(str(i)) + _text("cpu")
                  + _number(array.size) + pickle.TUPLE + pickle.BINPERSID)
        out.write(_number(0) + _tuple(array.shape) + _tuple(strides) + pickle.NEWFALSE)
        out.write(_name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE)
        out.write(pickle.TUPLE + pickle.REDUCE)
    out.write(pickle.SETITEMS + pickle.STOP)
    return out.getvalue()


def _text(text):
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _name(module, attribute):
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def _number(number):
    return pickle.BININT + struct.pack("<i", number)


def _tuple(numbers):
    return pickle.MARK + b"".join(map(_number, numbers)) + pickle.TUPLE
