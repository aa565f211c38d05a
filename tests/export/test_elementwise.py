import jittor as jt
import numpy as np
from jittor import nn


def wide(shape):
    """-4 .. 4 with halves and quarters among them, where rounding and signs matter."""
    return np.resize(np.arange(-16, 17, dtype=np.float32) / 4, shape)


def test_arithmetic_with_vars_numbers_and_arrays(agrees):
    weights = np.linspace(0.5, 2, 4, dtype=np.float32)

    def all_of_it(self, x, y):
        total = x
        total = total + y           # a new Var
        total *= 2                  # in place
        return {
            "sum": total, "x_is_untouched": x * 1, "difference": 1 - x, "quotient": x / (y * y + 1),
            "reversed": 3 / (y * y + 1),
            "power": (x * x + 1) ** 1.5, "square": x ** 2, "base": 2 ** y, "array": weights * x,
            "var": jt.array(weights) - y,
            "maximum": jt.maximum(x, y), "at_least": jt.maximum(x, 0.5), "at_most": jt.minimum(0.25, x), "minus": -x,
            "floor_divide": x // 2, "modulo": x % 1.5, "integers": x.int32() % 3, "integer_quotient": x.int32() // 3,
            "true_quotient": x.int32() / 4, "clamped": x.clamp(-1, 2), "clipped": x.safe_clip(-1.5, 1.5),
            "half_open": x.clamp(0),
        }

    agrees(all_of_it, (1, 4), (1, 4), values=wide)


def test_functions_of_one_var(agrees):
    agrees(lambda self, x: {
        "exp": x.exp(), "log": (x * x + 1).log(), "sqrt": jt.sqrt(x * x), "rsqrt": (x * x + 1).rsqrt(), "abs": abs(x),
        "erf": jt.erf(x), "sin": x.sin(), "cos": jt.cos(x), "tanh": jt.tanh(x), "sigmoid": x.sigmoid(),
        "floor": x.floor(),
        "ceil": x.ceil(), "round": x.round(), "round_int": x.round_int(), "floor_int": x.floor_int(),
        "ceil_int": x.ceil_int(),
        "sign": nn.sign(x), "square": x.sqr(), "log2": (x * x + 1).log2(), "atan": jt.arctan(x), "sinh": jt.sinh(x / 4),
    }, (1, 33), values=wide, tolerance=5e-6)


def test_comparisons_and_logic(agrees):
    agrees(lambda self, x, y: {
        "less": x < y, "less_equal": x <= 0.5, "greater": 1 > x, "greater_equal": x >= y, "equal": x == y,
        "not_equal": x != 0,
        "and": jt.logical_and(x > 0, y > 0), "or": (x > 0) | (y > 0), "xor": jt.logical_xor(x > 0, y > 0),
        "not": jt.logical_not(x > 0), "both": (x > 0) & (y > 1), "integers": x.int32() == y.int32(),
        "where": jt.where(x > y, x, y), "ternary": jt.ternary(x > 0, x, 0.5), "filled": x.masked_fill(y > 0, -1.0),
        "counted": (x > 0) + 0, "mask_times_var": (x > 0) * y,
    }, (1, 5), (1, 5), values=wide)


def test_casts(agrees, kinds):
    exported = agrees(lambda self, x: {
        "int32": x.int32(), "int64": x.int64(), "bool": x.bool(), "float64": x.float64(), "astype": x.astype("int32"),
        "cast": jt.cast(x, "int32"), "float": x.int32().float(), "like": x.type_as(x.int32()), "to": x.to(jt.int32),
        "unchanged": x.float32() + 1,
    }, (1, 5), values=wide)
    assert kinds(exported).count("Cast") == 9  # "float" is made of "int32"; none for the float32 that is one


def test_a_python_number_does_not_change_the_type_of_integers(agrees):
    exported = agrees(lambda self, x: {"plus_int": x.int32() + 1, "times_float": x.int32() * 0.5}, (1, 5), values=wide)
    types = {output.name: output.type.tensor_type.elem_type for output in exported.graph.output}
    assert types == {"plus_int": 6, "times_float": 1}  # onnx.TensorProto.INT32, FLOAT
