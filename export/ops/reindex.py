"""Jittor's `reindex`: y[i0, i1, ...] = x[index of i0, i1, ...], the index written in C++.

The graph computes the indices (engines fold them where no size is dynamic) and gathers by them. Where Jittor has a
function for it, that one's own rule makes a better graph.
"""

import jittor as jt
import numpy as np

from export.errors import refusal
from export.index_text import names, parse
from export.ops.reshape import reshaped
from export.registry import lowers
from export.symbolic import Sym

_SIGNS = {
    "+": "Add", "-": "Sub", "*": "Mul", "<": "Less", "<=": "LessOrEqual", ">": "Greater", ">=": "GreaterOrEqual",
    "==": "Equal", "&&": "And", "||": "Or",
}


@lowers("reindex", "reindex_var")
def reindex(g, out, x, *args, **kwargs):
    shape, indexes, value, conditions, extras = _arguments(*args, **kwargs)
    trees, conditions = [_parsed(text) for text in indexes], [_parsed(text) for text in conditions]
    kept = _leading_axes(trees, conditions, shape, x.shape)
    where = _Indices(g, shape, kept, x.shape, extras)
    flat, inside = where.flat(trees[kept:], x.shape[kept:], conditions)
    merged = reshaped(g, x, [*_kept_sizes(kept), -1])
    if inside is not None:
        # Not Where: without AVX-512, OpenVINO 2026.4 computes it wrong where it fuses it with the comparisons (always 0).
        flat = g.op("Mul", flat, g.op("Cast", inside, to=np.dtype("int64")))
    gathered = g.op("Gather", merged, flat, axis=kept)
    if inside is None:
        return gathered
    return g.op("Where", inside, gathered, g.scalar(value, out.dtype))


@lowers("reindex_reduce")
def reindex_reduce(g, out, y, op, shape, indexes, overflow_conditions=(), extras=()):
    """x[index of i0, i1, ...] += y[i0, i1, ...], on zeros."""
    if str(op) != "add" or g.opset < 16:
        raise refusal(f"reindex_reduce({str(op)!r})", f"ONNX has no such scatter at opset {g.opset}",
                      "write a rule for the function that calls it: @lowers(that_function) (export/README.md)")
    shape = list(shape)
    trees, conditions = [_parsed(text) for text in indexes], [_parsed(text) for text in overflow_conditions]
    kept = _leading_axes(trees, conditions, y.shape, shape)
    where = _Indices(g, y.shape, kept, shape, list(extras))
    flat, inside = where.flat(trees[kept:], shape[kept:], conditions)
    count = 1
    for size in shape[kept:]:
        count = size * count
    if inside is not None:
        flat = g.op("Where", inside, flat, g.size(count))  # one place more, for what falls outside
    whole = g.op("Expand", flat, g.op("Shape", y))
    indices = reshaped(g, whole, [*_kept_sizes(kept), -1])
    updates = reshaped(g, y, [*_kept_sizes(kept), -1])
    zeros = g.op("Expand", g.scalar(0, out.dtype), g.sizes([*shape[:kept], count + 1]))
    added = g.op("ScatterElements", zeros, indices, updates, axis=kept, reduction="add")
    only = g.op("Slice", added, g.int64s(0), g.sizes([count]), g.int64s(kept))
    return reshaped(g, only, shape)


def _arguments(*args, shape=None, indexes=None, overflow_value=0, overflow_conditions=(), extras=()):
    """The arguments of both of Jittor's forms: (shape, texts, ...), or (Vars of one shape, ...)."""
    args = list(args)
    if indexes is None:
        first = args.pop(0) if args else shape
        if first and isinstance(first[0], jt.Var):
            shape, extras = first[0].shape, first
            places = ",".join(f"i{axis}" for axis in range(len(shape)))
            indexes = [f"@e{i}({places})" for i in range(len(first))]
        else:
            shape, indexes = first, args.pop(0)
    rest = dict(zip(("overflow_value", "overflow_conditions", "extras"), args))
    return (list(shape), list(indexes), rest.get("overflow_value", overflow_value),
            list(rest.get("overflow_conditions", overflow_conditions)), list(rest.get("extras", extras)))


def _parsed(text):
    try:
        return parse(text)
    except ValueError as error:
        raise refusal("reindex", f"its index {text!r} is C++ or holds a dynamic size: {error}",
                      "use the function of Jittor that says the same (roll, flip, pad, PixelShuffle, x[...]), or write "
                      "a rule for the function that calls it: @lowers(that_function) (export/README.md, \"Add an "
                      "operator\")") from error


def _leading_axes(trees, conditions, shape, sizes):
    """How many axes at the front stay as they are, and are no part of any other index: the batch, as a rule."""
    kept = 0
    while kept < min(len(trees), len(shape)) and trees[kept] == f"i{kept}" and _same(shape[kept], sizes[kept]):
        kept += 1
    used = set().union(*map(names, [*trees[kept:], *conditions]))
    kept = next((axis for axis in range(kept) if f"i{axis}" in used), kept)
    return min(kept, len(trees) - 1, len(shape) - 1)


def _same(size, other):
    if type(size) is Sym and type(other) is Sym:
        return (size.first, size.second) == (other.first, other.second)
    return type(size) is type(other) and size == other


def _kept_sizes(kept):
    return [0] * kept


class _Indices:
    """Emits the value of index texts over the axes `kept` and on of `shape`, as int64 operands that broadcast."""

    def __init__(self, g, shape, kept, sizes, extras):
        self.g, self.shape, self.kept, self.sizes, self.extras = g, list(shape), kept, list(sizes), extras
        self._axes = {}

    def flat(self, trees, sizes, conditions):
        """The place in an array of `sizes`, and which of them lie inside (None: all)."""
        g, place, tests = self.g, None, []
        for tree, size in zip(trees, sizes):
            index = self.emit(tree)
            if not self._surely_inside(tree, size):
                tests.append(g.op("And", g.op("GreaterOrEqual", index, g.scalar(0, "int64")),
                                  g.op("Less", index, g.size(size))))
            place = index if place is None else g.op("Add", g.op("Mul", place, g.size(size)), index)
        tests += [g.op("Not", self.emit(condition)) for condition in conditions]
        inside = None
        for test in tests:
            inside = test if inside is None else g.op("And", inside, test)
        return g.op("Expand", place, g.sizes(self.shape[self.kept:])), inside

    def _surely_inside(self, tree, size):
        return isinstance(tree, str) and tree.startswith("i") and _same(self.shape[int(tree[1:])], size)

    def emit(self, tree):
        g = self.g
        if isinstance(tree, int):
            return g.int64s(tree)
        if isinstance(tree, str):
            return self._name(tree)
        sign, *parts = tree
        if sign == "call":
            return self._extra(*parts)
        operands = [self.emit(part) for part in parts]
        if sign == "-" and len(parts) == 1:
            return g.op("Neg", *operands)
        if sign == "!":
            return g.op("Not", *operands)
        if sign == "?":
            return g.op("Where", *operands)
        if sign == "!=":
            return g.op("Not", g.op("Equal", *operands))
        if sign in _SIGNS:
            return g.op(_SIGNS[sign], *operands)
        # C++ divides towards zero, and engines disagree about negative integers.
        a, b = (g.op("Cast", name, to=np.dtype("float64")) for name in operands)
        quotient = g.op("Cast", g.op("Div", a, b), to=np.dtype("int64"))
        return quotient if sign == "/" else g.op("Sub", operands[0], g.op("Mul", quotient, operands[1]))

    def _name(self, name):
        g = self.g
        for prefix, sizes in (("xshape", self.sizes), ("yshape", self.shape)):
            if name.startswith(prefix):
                return g.size(sizes[int(name.removeprefix(prefix))])
        axis = int(name[1:]) if name[0] == "i" and name[1:].isdigit() else len(self.shape)
        if axis >= len(self.shape):
            raise refusal("reindex", f"its index has {name}, which is no axis")
        if axis not in self._axes:
            count = g.op("Squeeze", g.size(self.shape[axis]), g.int64s(0))
            numbers = g.op("Range", g.scalar(0, "int64"), count, g.scalar(1, "int64"))
            after = len(self.shape) - axis - 1
            self._axes[axis] = g.op("Reshape", numbers, g.int64s(-1, *[1] * after)) if after else numbers
        return self._axes[axis]

    def _extra(self, name, *trees):
        """@e0(index, ...): an element of another Var."""
        g = self.g
        if not (name.startswith("@e") and name[2:].isdigit() and int(name[2:]) < len(self.extras)):
            raise refusal("reindex", f"its index calls {name}, a C++ function")
        extra = self.extras[int(name[2:])]
        whole = g.cast(extra, "int64")
        axes = [int(tree[1:]) if isinstance(tree, str) and tree[0] == "i" else -1 for tree in trees]
        if axes[0] >= self.kept and axes == list(range(axes[0], len(self.shape))) and all(
                _same(self.shape[axis], size) for axis, size in zip(axes, extra.shape)):
            return whole
        place = None
        for tree, size in zip(trees, extra.shape):
            index = self.emit(tree)
            place = index if place is None else g.op("Add", g.op("Mul", place, g.size(size)), index)
        return g.op("Gather", reshaped(g, whole, [-1]), place, axis=0)
