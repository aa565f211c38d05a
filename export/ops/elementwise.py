"""Arithmetic, comparison and logic, element by element, with NumPy's broadcasting."""

import numpy as np

from export.errors import refusal
from export.ops.operands import common_dtype, operand
from export.registry import lowers

_ARITHMETIC = {
    ("add",): "Add", ("subtract", "sub"): "Sub", ("multiply", "mul"): "Mul", ("divide", "div"): "Div",
    ("ops.pow",): "Pow",
    ("maximum",): "Max", ("minimum",): "Min",
}
_ON_BOOLS = {"Add": "Or", "Mul": "And", "Max": "Or", "Min": "And"}
_COMPARISONS = {
    "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater", "greater_equal": "GreaterOrEqual",
    "equal": "Equal",
}
_UNARY = {
    "abs": "Abs", "negative": "Neg", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "erf": "Erf", "sigmoid": "Sigmoid",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "floor": "Floor",
    "ceil": "Ceil", "asin": "Asin", "arcsin": "Asin", "acos": "Acos", "arccos": "Acos", "atan": "Atan",
    "arctan": "Atan",
    "asinh": "Asinh", "arcsinh": "Asinh", "acosh": "Acosh", "arccosh": "Acosh", "atanh": "Atanh", "arctanh": "Atanh",
}
_BITWISE = {"and": "And", "or": "Or", "xor": "Xor"}
_FLOAT_TESTS = {"isnan": "IsNaN", "isinf": "IsInf"}


def _arithmetic(kind):
    def lower(g, out, x, y):
        dtype = str(out.dtype)
        if dtype == "bool":
            if kind not in _ON_BOOLS:
                raise refusal(f"{kind} of two bools", "ONNX has none", "cast them first: a.int32()")
            return g.op(_ON_BOOLS[kind], operand(g, x, dtype), operand(g, y, dtype))
        return g.op(kind, operand(g, x, dtype), operand(g, y, dtype))
    return lower


def _comparison(kind):
    def lower(g, out, x, y):
        dtype = common_dtype(x, y)
        if dtype == "bool" and kind != "Equal":
            dtype = "int32"
        return g.op(kind, operand(g, x, dtype), operand(g, y, dtype))
    return lower


def _unary(kind):
    def lower(g, out, x):
        return g.op(kind, operand(g, x, out.dtype))
    return lower


def _logical(kind):
    def lower(g, out, x, y):
        return g.op(kind, operand(g, x, "bool"), operand(g, y, "bool"))
    return lower


def _bitwise(kind):
    def lower(g, out, x, y):
        dtype = str(out.dtype)
        if dtype == "bool":
            return g.op(kind, operand(g, x, dtype), operand(g, y, dtype))
        if g.opset < 18:
            raise refusal(f"bitwise {kind.lower()} of integers", f"ONNX has it since opset 18, and this is {g.opset}",
                          "export with --opset 18")
        return g.op(f"Bitwise{kind}", operand(g, x, dtype), operand(g, y, dtype))
    return lower


def _register():
    for names, kind in _ARITHMETIC.items():
        lowers(*names)(_arithmetic(kind))
    for name, kind in _COMPARISONS.items():
        lowers(name)(_comparison(kind))
    for name, kind in _UNARY.items():
        lowers(name)(_unary(kind))
    for name, kind in _BITWISE.items():
        lowers(f"logical_{name}")(_logical(kind))
        lowers(f"bitwise_{name}")(_bitwise(kind))
    for name, kind in _FLOAT_TESTS.items():
        lowers(name)(lambda g, out, x, kind=kind: g.op(kind, x))


_register()


@lowers("not_equal")
def not_equal(g, out, x, y):
    dtype = common_dtype(x, y)
    return g.op("Not", g.op("Equal", operand(g, x, dtype), operand(g, y, dtype)))


@lowers("logical_not")
def logical_not(g, out, x):
    return g.op("Not", g.cast(x, "bool"))


@lowers("bitwise_not")
def bitwise_not(g, out, x):
    """Of an integer -x - 1."""
    if str(out.dtype) == "bool":
        raise refusal("bitwise_not of bools", "Jittor's is always True", "use jt.logical_not(x)")
    return g.op("Sub", g.op("Neg", x), g.scalar(1, out.dtype))


@lowers("isposinf")
def isposinf(g, out, x):
    return g.op("IsInf", x, detect_negative=0)


@lowers("isneginf")
def isneginf(g, out, x):
    return g.op("IsInf", x, detect_positive=0)


@lowers("isfinite")
def isfinite(g, out, x):
    return g.op("Not", g.op("Or", g.op("IsNaN", x), g.op("IsInf", x)))


@lowers("floor_divide")
def floor_divide(g, out, x, y):
    """Jittor's // casts to integers first, and then divides as C does, towards zero."""
    dtype = str(out.dtype)
    quotient = g.op("Div", g.cast(operand(g, x, dtype), "float64"), g.cast(operand(g, y, dtype), "float64"))
    # Not an integer Div: engines disagree on the rounding of negative quotients.
    return g.op("Cast", quotient, to=np.dtype(dtype))


@lowers("mod")
def mod(g, out, x, y):
    """x - floor(x / y) * y of floats; of integers C's %, whose sign is that of x."""
    dtype = str(out.dtype)
    x, y = operand(g, x, dtype), operand(g, y, dtype)
    if dtype.startswith("float"):
        return g.op("Sub", x, g.op("Mul", g.op("Floor", g.op("Div", x, y)), y))
    return g.op("Mod", x, y, fmod=1)


@lowers("round")
def round_(g, out, x):
    """Halves away from zero (ONNX's own Round takes them to the even neighbour)."""
    x = g.cast(x, out.dtype)
    away = g.op("Floor", g.op("Add", g.op("Abs", x), g.scalar(0.5, out.dtype)))
    return g.op("Mul", g.op("Sign", x), away)


@lowers("round_int")
def round_int(g, out, x):
    return g.op("Cast", round_(g, x, x), to=np.dtype(str(out.dtype)))


@lowers("floor_int")
def floor_int(g, out, x):
    return g.op("Cast", g.op("Floor", x), to=np.dtype(str(out.dtype)))


@lowers("ceil_int")
def ceil_int(g, out, x):
    return g.op("Cast", g.op("Ceil", x), to=np.dtype(str(out.dtype)))


@lowers("nn.sign")
def sign(g, out, x):
    return g.op("Sign", g.cast(x, out.dtype))


@lowers("clamp")
def clamp(g, out, x, min_v=None, max_v=None):
    limits = [min_v, max_v]
    if not all(limit is None or type(limit) in (int, float) for limit in limits):
        return NotImplemented
    low, high = (None if limit is None else g.scalar(limit, out.dtype) for limit in limits)
    return g.op("Clip", g.cast(x, out.dtype), low, high)


@lowers("safe_clip")
def safe_clip(g, out, x, left=-1e300, right=1e300):
    return clamp(g, out, x, float(left), float(right))
