"""What cannot be exported is refused by name, with the module, the line and a way out; never a silent constant."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from export import ExportError, Input, to_onnx

X = [Input("x", (1, 4, 6))]


class Inner(nn.Module):
    """What a test gives it to do, two levels down in a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = jt.ones((4, 6))

    def execute(self, x):
        return self.function(self, x)


class Encoder(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), Inner(function)])

    def execute(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Model(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.encoder = Encoder(function)

    def execute(self, x):
        return self.encoder(x)


def item(self, x):
    return x * x.mean().item()  # the line


def branch(self, x):
    return x if x.sum() > 0 else -x  # the line


def to_numpy(self, x):
    return jt.array(np.exp(x.numpy()))  # the line


def numpy_function(self, x):
    return np.exp(x)  # the line


def raw_data(self, x):
    return x * float(x.data[0, 0, 0])  # the line


def assignment(self, x):
    x[:, jt.argmax(x[0, :, 0], 0)[0]] = 0.0  # the line
    return x


def boolean_mask(self, x):
    return x[x > 0]  # the line


def nonzero(self, x):
    return jt.where(x > 0)[0]  # the line


def unknown_operator(self, x):
    return x.erfinv()  # the line


def kernel(self, x):
    return jt.code(x.shape, "float32", [x], cpu_src="out0_p[0] = in0_p[0];")  # the line


def reindex(self, x):
    return x.reindex([x.shape[0], 3], ["i0", "std::max(i1, 2)", "0"])  # the line


def random(self, x):
    return x + jt.rand(4, 6)  # the line


def loop_over_the_batch(self, x):
    return jt.stack([x[i] for i in range(x.shape[0])])  # the line


def iterate(self, x):
    return jt.stack([row * 2 for row in x])  # the line


def batch_as_a_number(self, x):
    return x * int(x.shape[0])  # the line


def square_root_of_a_size(self, x):
    return x / np.sqrt(float(x.shape[0]))  # the line


def branch_on_the_batch(self, x):
    return x if x.shape[0] > 12 else -x  # the line


def while_loop(self, x):
    while x.max() > 1:  # the line
        x = x / 2
    return x


def numpy_in_place(self, x):
    x.data[:, 0] = 0  # the line
    return x


def numpy_back(self, x):
    array = np.asarray(x)  # the line
    return jt.array(array)


def unique(self, x):
    return jt.unique(x)  # the line


def inverse(self, x):
    return jt.linalg.inv(x[:, :, :4])  # the line


def index_by_a_value(self, x):
    return x[:, x[0, 0, 0].int32().item()]  # the line


def size_by_a_value(self, x):
    return jt.zeros((int(x[0, 0, 0]), 3))  # the line


def split_over_the_batch(self, x):
    return x.unbind(0)[0]  # the line


def into_a_parameter(self, x):
    self.weight.update(x.mean(0))  # the line
    return x


@pytest.mark.parametrize("function, operator, instead", [
    (item, "item()", "jt.where"),
    (branch, "a branch on a Var's value (bool)", "jt.where"),
    (to_numpy, "numpy()", ""),
    (numpy_function, "a NumPy function on a Var", ""),
    (raw_data, "data", ""),
    (assignment, "setitem", "jt.concat"),
    (boolean_mask, "x[mask]", "jt.where"),
    (nonzero, "where(condition) / nonzero()", "jt.where(condition, x, y)"),
    (unknown_operator, "erfinv", "README.md"),
    (kernel, "code", "@lowers"),
    (reindex, "reindex", "write a rule"),
    (random, "random", "eval mode"),
    (loop_over_the_batch, "a dynamic size in range(), an index or a C function", "--dynamic"),
    (iterate, "iteration over its first axis of a Var whose first axis is dynamic", "--dynamic"),
    (batch_as_a_number, "a dynamic size in int()", "--dynamic"),
    (square_root_of_a_size, "a dynamic size in float()", "--dynamic"),
    (branch_on_the_batch, "a branch on a dynamic size", "--dynamic"),
    (into_a_parameter, "update", "return it as an output"),
    (while_loop, "a branch on a Var's value (bool)", "jt.where"),
    (numpy_in_place, "data", ""),
    (numpy_back, "a NumPy function on a Var", ""),
    (unique, "code", '@lowers("misc.unique")'),
    (inverse, "numpy_code", '@lowers("linalg.inv")'),
    (index_by_a_value, "item()", "jt.where"),
    (size_by_a_value, "int() of a Var", ""),
    (split_over_the_batch, "a dynamic size in range(), an index or a C function", "--dynamic"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_refused(function, operator, instead):
    with pytest.raises(ExportError) as caught:
        to_onnx(Model(function), X)
    error = caught.value
    assert error.operator == operator
    assert error.module == "encoder.blocks[1] (Inner)"
    assert "test_errors.py:" in error.line and error.line.endswith("# the line")
    assert error.reason and instead in error.instead
    assert all(part in str(error) for part in (error.operator, error.reason, error.module, error.line))


def test_the_function_of_jittor_that_was_called_is_named():
    with pytest.raises(ExportError, match=r"it is a kernel in C\+\+, .* \(jittor.misc.unique calls it\)"):
        to_onnx(Model(unique), X)
    with pytest.raises(ExportError, match=r"it is computed by NumPy, outside of any graph \(jittor.linalg.inv calls it\)"):
        to_onnx(Model(inverse), X)


def test_a_c_operator_out_of_reach():
    def hold(function):
        return lambda self, x: function(x)  # the line

    with pytest.raises(ExportError, match="a C operator: .* as in a closure"):
        to_onnx(Model(hold(jt.sigmoid)), X)


def test_an_operator_that_jittor_does_not_have():
    def invert(self, x):
        return ~(x > 0)  # the line

    match = "(?s)a Python operator: .*bad operand type for unary ~: 'Var'.*logical_not"
    with pytest.raises(ExportError, match=match) as caught:
        to_onnx(Model(invert), X)
    assert caught.value.line.endswith("# the line")


def test_jittor_is_as_it_was_after_a_refusal():
    def what_is_exchanged():
        return nn.Conv2d.execute, nn.relu, jt.add, jt.Var.__add__, jt.Var.exp, jt.Var.__getitem__, vars(jt.Var)["data"]

    before = what_is_exchanged()
    model = Model(assignment)
    with pytest.raises(ExportError):
        to_onnx(model, X)
    assert what_is_exchanged() == before
    assert "execute" not in vars(model) and jt.array([1.0]).item() == 1.0


def test_an_error_of_the_model_itself_says_where_it_was():
    def wrong(self, x):
        raise KeyError("mine")  # its line

    with pytest.raises(KeyError) as caught:
        to_onnx(Model(wrong), X)
    note, = caught.value.__notes__
    assert note.startswith("while exporting encoder.blocks[1] (Inner), at ") and note.endswith("# its line")


def test_batch_norm_that_eval_does_not_reach():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.BatchNorm(4)]  # in a list, where Jittor does not look for modules

        def execute(self, x):
            return self.layers[0](x)

    with pytest.raises(ExportError, match="nn.BatchNorm in training mode.*(?s:.)*nn.ModuleList"):
        to_onnx(Hidden(), X)


def test_outputs_that_depend_on_no_input():
    class Constant(nn.Module):
        def execute(self, x):
            return x * 2, jt.ones((3,))

    with pytest.raises(ExportError, match="output_1 of the model: it is a Var that depends on no input"):
        to_onnx(Constant(), X)


def test_names_that_clash():
    with pytest.raises(ExportError, match="weight is the name of a parameter"):
        to_onnx(nn.Linear(6, 2), [Input("weight", (1, 6))])
    with pytest.raises(ExportError, match="the name x is taken"):
        to_onnx(nn.ReLU(), X, outputs=["x"])
    with pytest.raises(ExportError, match="returns 1, and 2 names"):
        to_onnx(nn.ReLU(), X, outputs=["a", "b"])


@pytest.mark.parametrize("opset", [12, 22])
def test_opsets_that_are_not_known(opset):
    with pytest.raises(ExportError, match=f"opset must be 13..21; got {opset}"):
        to_onnx(nn.ReLU(), X, opset=opset)


def test_squeezing_all_axes_takes_for_granted_that_the_batch_is_not_one():
    _, assumptions = to_onnx(Model(lambda self, x: x.unsqueeze(1).squeeze()), X)
    assert [text.rpartition(": ")[2] for text in assumptions] == ["batch == 1 is False"]


def test_what_holds_at_both_traced_sizes_is_assumed_and_said():
    class Padded(nn.Module):
        def execute(self, x):
            if x.shape[2] % 2 > 0:
                x = nn.pad(x, [0, 1])
            return x

    _, assumptions = to_onnx(Padded(), [Input("x", (1, 4, 6), dynamic={2: "width"})])
    assert len(assumptions) == 1 and "test_errors.py:" in assumptions[0]
    assert assumptions[0].endswith(": (width % 2) > 0 is False")
