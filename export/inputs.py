"""What an exported model is fed: names, shapes, types, and which axes are dynamic."""

import inspect
import re
from dataclasses import dataclass, field

import jittor as jt
import numpy as np

_SPEC = re.compile(r"(?P<name>[^=:,]+)=(?P<shape>\d+(x\d+)*)(:(?P<dtype>[a-z]+\d*)(:(?P<below>\d+))?)?")
_PRIMES = ((11, 17), (13, 23), (19, 31), (29, 41), (37, 47), (43, 59), (53, 67), (61, 73))
_DTYPES = ("float32", "float64", "float16", "int32", "int64", "int16", "int8", "uint8", "bool")


def call(model: jt.Module, inputs: dict):
    """The model on inputs by name: given to `execute` by name where it has arguments of those names, else in order."""
    if set(inputs) <= set(inspect.signature(model.execute).parameters):
        return model(**inputs)
    return model(*inputs.values())


@dataclass(frozen=True)
class Input:
    """One input of a model.

    shape    an example shape; the sizes of dynamic axes are the smallest that the model is traced with
    dtype    as NumPy calls it
    dynamic  axis to the name of its size; axes of one name are of one size. Default: axis 0 is "batch"
    below    for integers: the examples are drawn from 0 .. below - 1
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    dynamic: dict[int, str] = field(default_factory=lambda: {0: "batch"})
    below: int = 2

    def __post_init__(self):
        if self.dtype not in _DTYPES:
            raise ValueError(f"input {self.name}: dtype must be one of {', '.join(_DTYPES)}; got {self.dtype}")
        for axis in self.dynamic:
            if not 0 <= axis < len(self.shape):
                raise ValueError(f"input {self.name}: a dynamic axis must be one of 0..{len(self.shape) - 1}; "
                                 f"got {axis}")

    def sizes(self, values: dict[str, int]) -> list[int]:
        """The shape with dynamic axes of the sizes `values`."""
        return [values.get(self.dynamic.get(axis), size) for axis, size in enumerate(self.shape)]

    def example(self, values: dict[str, int], rng: np.random.Generator) -> np.ndarray:
        """Random values: normal for floats, 0 .. below - 1 for integers."""
        shape = self.sizes(values)
        if self.dtype.startswith("float"):
            return rng.standard_normal(shape).astype(self.dtype)
        return rng.integers(0, self.below, shape).astype(self.dtype)


def parse_input(text: str) -> Input:
    """"x=1x3x224x224", "ids=1x16:int32:1000" (values below 1000). Raises ValueError."""
    match = _SPEC.fullmatch(text)
    if not match:
        raise ValueError(f"an input must read NAME=SIZExSIZE..., as x=1x3x224x224 or ids=1x16:int32:1000; got {text}")
    shape = tuple(map(int, match["shape"].split("x")))
    return Input(match["name"], shape, match["dtype"] or "float32", below=int(match["below"] or 2))


def parse_dynamic(text: str) -> tuple[str, dict[int, str]]:
    """"x:0,2,3", "x:0,2=height" (a name shared with another input's axis) or "x:" (none): (input, axis to name)."""
    name, separator, axes = text.partition(":")
    dynamic = {}
    try:
        for part in filter(None, axes.split(",")):
            axis, _, symbol = part.partition("=")
            dynamic[int(axis)] = symbol or ("batch" if int(axis) == 0 else f"{name}_{int(axis)}")
    except ValueError:
        separator = ""
    if not separator:
        raise ValueError(f"dynamic axes must read INPUT:AXIS,AXIS=NAME,..., as x:0,2,3; got {text}")
    return name, dynamic


def symbol_values(inputs: list[Input]) -> dict[str, tuple[int, int]]:
    """The two sizes at which each dynamic axis is traced.

    A first axis, such as the batch, takes two primes of its own (times its example size). Every other axis takes its
    example size s and a multiple of its own, 2s, 3s, ..., which divide as s does. So no two axes, nor sizes derived
    from them, share a pair by chance.
    """
    values, factor, primes = {}, 2, iter(_PRIMES)
    for spec in inputs:
        for axis, symbol in spec.dynamic.items():
            size = spec.shape[axis]
            if symbol in values:
                continue
            if axis == 0:
                small, large = next(primes)
                values[symbol] = (small * size, large * size)
            else:
                values[symbol] = (size, factor * size)
                factor += 1
    return values
