"""Sizes that depend on a dynamic axis.

A model is traced at two values of every dynamic axis at once. A size that comes out different is a `Sym`: a number with
both values and a recipe, by which the exported graph computes it from the shapes of its tensors. It follows Python
arithmetic (`H // 2 * C`), and never turns into a plain number: whatever needs one is refused.
"""

import operator
from numbers import Real

from export import context
from export.errors import refusal

# A recipe is a plain number, ("size", tensor name, axis), or (operation, recipe[, recipe]).
_ARITHMETIC = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "pow": operator.pow,
}
_COMPARISONS = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}
_KEEPS = {("add", 0), ("sub", 0), ("mul", 1), ("floordiv", 1)}
"""What leaves an integer as it is."""
_SIGNS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Sym:
    """A number with one value in each of the two traces. `isinstance(sym, int)` (or float) holds, as code expects."""

    __slots__ = ("first", "second", "recipe")

    def __init__(self, first, second, recipe):
        self.first, self.second, self.recipe = first, second, recipe

    # Not a subclass of int: C code and range() would read a subclass's value behind our back.
    __class__ = property(lambda self: type(self.first))

    def __repr__(self):
        return _written(self.recipe)

    def __format__(self, spec):
        return repr(self)

    def __bool__(self):
        return self != 0

    def __neg__(self):
        return Sym(-self.first, -self.second, ("neg", self.recipe))

    def __pos__(self):
        return self

    def __floor__(self):
        return self._rounded("floor")

    def __ceil__(self):
        return self._rounded("ceil")

    def _rounded(self, how):
        if type(self.first) is int:
            return self
        method = f"__{how}__"
        return Sym(getattr(self.first, method)(), getattr(self.second, method)(), (how, self.recipe))

    def __round__(self, digits=None):
        if type(self.first) is int:
            return self
        raise self._refused("round()")

    def __int__(self):
        raise self._refused("int()")

    def __float__(self):
        raise self._refused("float()")

    def __index__(self):
        raise self._refused("range(), an index or a C function")

    def __hash__(self):
        raise self._refused("a dict key or a set member")

    def _refused(self, use):
        return refusal(
            f"a dynamic size in {use}",
            f"{self!r} is known only when the exported model runs, and a plain number is needed",
            "keep to + - * // % and math.floor on sizes, or make the axis static (--dynamic)")


def _install_operators():
    for name, function in _ARITHMETIC.items():
        def forward(self, other, name=name, function=function):
            return _combine(name, function, self, other)

        def reflected(self, other, name=name, function=function):
            return _combine(name, function, other, self)

        setattr(Sym, f"__{name}__", forward)
        setattr(Sym, f"__r{name}__", reflected)
    for name, function in _COMPARISONS.items():
        def compare(self, other, name=name, function=function):
            return _compare(name, function, self, other)

        setattr(Sym, f"__{name}__", compare)


def _combine(name, function, left, right):
    if not (isinstance(left, Real) and isinstance(right, Real)):
        return NotImplemented
    if type(right) is int and type(left) is Sym and type(left.first) is int:
        if (name, right) in _KEEPS:
            return left
        if (name, right) == ("mod", 1):
            return 0
    return Sym(function(value(left, 0), value(right, 0)), function(value(left, 1), value(right, 1)),
               (name, recipe(left), recipe(right)))


def _compare(name, function, left, right):
    if not isinstance(right, Real):
        return NotImplemented
    first, second = function(value(left, 0), value(right, 0)), function(value(left, 1), value(right, 1))
    written = f"{left!r} {_SIGNS[name]} {right!r}"
    if first != second:
        raise refusal("a branch on a dynamic size", f"`{written}` is {first} at one size and {second} at another",
                      "write the model without the branch, or make the axis static (--dynamic)")
    if not _is_fact(left, right):
        context.active.assume(f"{written} is {first}")
    return first


def _is_fact(left, right):
    """Whether a comparison comes out the same at every size, so that it assumes nothing."""
    if type(right) is Sym:
        # The traced values of different axes are chosen not to coincide, so equal values mean the same axis.
        return (left.first, left.second) == (right.first, right.second)
    return _is_positive(left.recipe) and right <= 0


def _is_positive(recipe) -> bool:
    if not isinstance(recipe, tuple):
        return recipe > 0
    return recipe[0] == "size" or recipe[0] in ("add", "mul") and all(map(_is_positive, recipe[1:]))


def value(x, which: int):
    """The plain value of a number in trace `which` (0 or 1)."""
    if type(x) is Sym:
        return x.second if which else x.first
    return x


def recipe(x):
    """How the graph computes `x`, a Sym or a plain number."""
    return x.recipe if type(x) is Sym else x


def _written(recipe) -> str:
    if not isinstance(recipe, tuple):
        return str(recipe)
    kind, *parts = recipe
    if kind == "size":
        return context.active.size_name(*parts) if context.active else f"{parts[0]}.shape[{parts[1]}]"
    signs = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**"}
    if kind in signs:
        return f"({_written(parts[0])} {signs[kind]} {_written(parts[1])})"
    return f"{kind}({_written(parts[0])})"


_install_operators()


class Shape(list):
    """The shape of a traced Var: a list of int and Sym that adds and slices like Jittor's."""

    def __add__(self, other):
        return Shape([*self, *other])

    def __radd__(self, other):
        return Shape([*other, *self])

    def __getitem__(self, index):
        part = list.__getitem__(self, index)
        return Shape(part) if isinstance(index, slice) else part

    def __eq__(self, other):
        return len(self) == len(other) and all(a == b for a, b in zip(self, other))

    def __ne__(self, other):
        return not self == other

    __hash__ = None
