"""Assignment to parts of a Var: whoever refers to it sees the new values, and nobody else does. NumPy tells what they
must be."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from export import ExportError, Input, to_onnx

EVERY = slice(None)
ORDER = np.array([2, 0])


def assigned(x, index, value):
    """A copy of x after x[index] = value; x is an array or a Var."""
    y = x.copy()
    y[index] = value
    return y


def one_axis(x):
    return {
        "int": assigned(x, (EVERY, 0), 0.0), "last": assigned(x, (EVERY, -1), x[:, 0]),
        "slice": assigned(x, (EVERY, slice(1, 3)), x[:, :2] * 2), "tail": assigned(x, (..., slice(-2, None)), 1.5),
        "head": assigned(x, (..., slice(None, 2)), x[..., 2:4]), "broadcast": assigned(x, (EVERY, 1), x[:, 0, :1]),
        "column": assigned(x, (..., 2), x[..., 0]), "all": assigned(x, EVERY, 3.0), "batch": assigned(x, 0, 2.0),
        "untouched": x * 1,
    }


def several_axes_steps_and_arrays(x):
    return {
        "corner": assigned(x, (EVERY, slice(1, 3), slice(0, 2)), 0.0), "step": assigned(x, (..., slice(None, None, 2)), 1.0),
        "element": assigned(x, (EVERY, 1, 2), x[:, 0, 0]), "array": assigned(x, (EVERY, ORDER), x[:, :2]),
        "list": assigned(x, (EVERY, [0, 3]), 5.0), "twice": assigned(x, (EVERY, [1, 1]), x[:, 2:]),
        "rows_and_columns": assigned(x, (EVERY, [0, 1], [2, 3]), x[:, :2, 0]),
    }


def dynamic_axis(x):
    return {
        "half": assigned(x, (..., slice(None, x.shape[2] // 2)), 0.0), "last": assigned(x, (..., -1), x[..., 0]),
        "after": assigned(x, (..., slice(1, None)), x[..., :1]),
    }


def references_and_loops(x):
    x = x * 1
    alias = x
    x[:, 0] += 1
    x[:, 1:3] *= 2
    canvas = x * 0
    for i in range(4):
        canvas[:, i] = x[:, 3 - i] * i
    return {"x": x * 1, "alias": alias * 1, "canvas": canvas}


@pytest.mark.parametrize("function", [one_axis, several_axes_steps_and_arrays, references_and_loops])
def test_assignment(agrees, function):
    agrees(lambda self, x: function(x), (1, 4, 5), expected=function)


def test_assignment_along_a_dynamic_axis(agrees):
    image = Input("x", (1, 2, 4), dynamic={0: "batch", 2: "width"})
    agrees(lambda self, x: dynamic_axis(x), image, expected=dynamic_axis,
           sizes=({"batch": 1, "width": 4}, {"batch": 3, "width": 6}))


def test_jittor_means_the_same(agrees):
    agrees(lambda self, x: {"slice": assigned(x, (EVERY, slice(1, 3)), x[:, :2] * 2),
                            "last": assigned(x, (..., -1), x[..., 0])}, (1, 4, 5))


def cascade(x):
    x[0][1] = 0.0
    return x


def into_a_constant(x):
    canvas = jt.zeros((4, 4))
    canvas[0] = x[0, :, 0]
    return canvas + x[0, :, :1]


def traced_index(x):
    x[:, jt.argmax(x[0, :, 0], 0)[0]] = 0.0
    return x


def two_axes(x):
    x[:, 1:, 1:] = 0.0
    return x


@pytest.mark.parametrize("function, match", [
    (cascade, r"(?s)writes into x too.*write x\[i, j\] = value"),
    (into_a_constant, r"(?s)depends on no input.*jt.zeros_like"),
    (traced_index, r"(?s)the index is a traced Var.*jt.scatter"),
    (two_axes, r"(?s)of which one is dynamic.*jt.concat"),
])
def test_what_is_not_exported(function, match):
    class Model(nn.Module):
        def execute(self, x):
            return function(x)

    with pytest.raises(ExportError, match=match):
        to_onnx(Model(), [Input("x", (2, 4, 5), dynamic={2: "width"})])
