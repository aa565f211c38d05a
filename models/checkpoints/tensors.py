"""Storages and tensors of a checkpoint: views into the mapped file until an array is asked for."""

import math
import zlib
from dataclasses import dataclass, field

import numpy as np

from models.checkpoints.errors import CheckpointError, brief

# How the elements of a dtype are stored. numpy has no bfloat16: those are the upper halves of float32.
DTYPES = {
    "float64": "f8", "float32": "f4", "float16": "f2", "bfloat16": "u2",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "u1",
}
# A tensor expanded with stride 0 can claim any size from a storage of one element.
MAX_BYTES = 64 << 30


@dataclass(eq=False)
class Storage:
    """A flat run of elements in the file.

    key        its name in the file. dtype: a key of DTYPES, or None for plain bytes. numel: elements, or bytes
    data       those bytes, set once the container has found them
    crc        CRC-32 that the zip archive gives for them; None in the legacy format, which has none
    big_endian whether they were written by such a machine
    """

    key: str
    dtype: str | None
    numel: int
    data: memoryview | None = None
    crc: int | None = None
    big_endian: bool = False
    _sound: bool = field(default=False, repr=False)

    @property
    def nbytes(self) -> int:
        return self.numel * (np.dtype(DTYPES[self.dtype]).itemsize if self.dtype else 1)

    def checked_data(self) -> memoryview:
        """The bytes. Raises CheckpointError where their checksum says that they are damaged."""
        if not self._sound and self.crc is not None and zlib.crc32(self.data) != self.crc:
            raise CheckpointError(f"storage {brief(self.key)} must have the checksum {self.crc:08x} of its archive; "
                                  f"got {zlib.crc32(self.data):08x}: the file is damaged, fetch it again")
        self._sound = True
        return self.data


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage. dtype: a key of DTYPES; offset, shape, stride: in elements, as PyTorch has them.

    Raises CheckpointError where the view leaves its storage.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self):
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
            wrong = next(number for number in numbers if not (type(number) is int and 0 <= number < 1 << 63))
            raise CheckpointError(f"a tensor's offset, shape and stride must be integers from 0; got {brief(wrong)}")
        if len(self.shape) != len(self.stride) or len(self.shape) > 32:
            raise CheckpointError(f"a tensor must have a stride for each of at most 32 axes; got {len(self.shape)} axes "
                                  f"and {len(self.stride)} strides")
        if self.nbytes > MAX_BYTES:
            raise CheckpointError(f"a tensor must take at most {MAX_BYTES:,} bytes; got {list(self.shape)} of {self.dtype}")
        held = self.storage.nbytes // self.itemsize
        needed = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride)) + 1 if self.numel else 0
        if needed > held:
            raise CheckpointError(f"a tensor must lie inside its storage; got {list(self.shape)} with stride "
                                  f"{list(self.stride)} from {self.offset}, which needs {needed:,} of {held:,} elements")

    @property
    def itemsize(self) -> int:
        return np.dtype(DTYPES[self.dtype]).itemsize

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.itemsize

    def array(self) -> np.ndarray:
        """The elements, bit for bit, in C order; bfloat16 as the float32 of the same value. Read-only where it can be a
        view of the file. Raises CheckpointError on damaged bytes."""
        stored = np.dtype(DTYPES[self.dtype]).newbyteorder(">" if self.storage.big_endian else "<")
        if not self.numel:
            array = np.zeros(self.shape, stored)
        else:
            flat = np.frombuffer(self.storage.checked_data(), stored, self.storage.nbytes // self.itemsize)
            steps = [step * self.itemsize for step in self.stride]
            array = np.lib.stride_tricks.as_strided(flat[self.offset:], self.shape, steps, writeable=False)
        # Not ascontiguousarray, which turns a scalar into a vector.
        array = np.asarray(array, stored.newbyteorder("="), order="C")
        if self.dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array != 0 if self.dtype == "bool" else array
