"""Index arithmetic written in C++, and the functions of Jittor that are made of it."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from export import Input
from export.index_text import names, parse


@pytest.mark.parametrize("text, tree", [
    ("i0", "i0"), ("-3", ("-", 3)), ("i0+i1*2", ("+", "i0", ("*", "i1", 2))),
    ("(i0+1)/2 - 1", ("-", ("/", ("+", "i0", 1), 2), 1)),
    ("i0<2 ? 0 : i0>5 ? 5 : i0", ("?", ("<", "i0", 2), 0, ("?", (">", "i0", 5), 5, "i0"))),
    ("i0 != i1 || !(i2 >= 3) && 1", ("||", ("!=", "i0", "i1"), ("&&", ("!", (">=", "i2", 3)), 1))),
    ("@e0(i0, i1/2) % xshape1", ("%", ("call", "@e0", "i0", ("/", "i1", 2)), "xshape1")),
])
def test_texts(text, tree):
    assert parse(text) == tree


@pytest.mark.parametrize("text", ["", "i0 +", "i0 i1", "(i0", "i0 ? 1", "x.shape[0]", "f(i0", "i0 = 1"])
def test_texts_that_are_not_understood(text):
    with pytest.raises(ValueError):
        parse(text)


def test_names():
    assert names(parse("@e0(i0, 2) < (i1 ? 3 : -i2)")) == {"i0", "i1", "i2"}


def test_reindex(agrees):
    order = jt.array(np.array([2, 0, 1], np.int32))
    table = jt.array(np.array([[0, 1], [2, 0]], np.int32))

    def run(self, x):
        batch, rows, columns = x.shape
        return {
            "strided": x.reindex([batch, 2, 2], ["i0", "i1*2", "i2+1"]),
            "windows": x.reindex([batch, rows, 2, 3], ["i0", "i1", "i2+i3"]),
            "outside": x.reindex([batch, rows + 2, columns], ["i0", "i1-1", "i2"], overflow_value=-1),
            "towards_zero": x.reindex([batch, 4, 3], ["i0", "(i1-3)/2+1", "(i2-2)%2+1"]),
            "across_the_batch": x.reindex([batch, 2], ["i0", "i1", "i1+i0%2"]),
            "choice": x.reindex([batch, rows, 5], ["i0", "i1", "i2 < 2 ? 0 : i2 > 3 ? 3 : i2-1"]),
            "condition": x.reindex([batch, rows, columns], ["i0", "i1", "i2"], 7.0, ["i1 == i2 || i2 > 2"]),
            "extra": x.reindex([batch, rows, columns], ["i0", "@e0(i1)", "i2"], extras=[order]),
            "extra_table": x.reindex([batch, 2, 2], ["i0", "@e0(i2, 1-i1)", "i1+i2"], extras=[table]),
            "by_vars": x.reindex([jt.index((batch, 2), 0), jt.index((batch, 2), 1), jt.index((batch, 2), 1) + 1]),
        }

    agrees(run, (1, 3, 4))


def test_functions_made_of_reindex(agrees):
    def run(self, x):
        return {
            "diagonal": jt.diagonal(x, 0, 1, 2), "diagonal_offset": jt.diagonal(x, 1, 1, 2),
            "diag": jt.diag(x[0, 0]), "filled": jt.index_fill_(x, 1, [0, 2], 2.5),
            "unpooled": self.unpool(*self.pool(x.unsqueeze(1))), "index": self.pool(x.unsqueeze(1))[1],
        }

    agrees(run, (1, 4, 6), modules={"pool": nn.MaxPool2d(2, return_indices=True), "unpool": nn.MaxUnpool2d(2)})


def test_reindex_reduce(agrees):
    segments = jt.array(np.array([1, 0, 1, 3], np.int32))
    agrees(lambda self, x: {
        "folded": x.reindex_reduce("add", [x.shape[0], 3, 2], ["i0", "i1", "i2/2"]),
        "segments": x.reindex_reduce("add", [x.shape[0], 3, 3], ["i0", "i1", "@e0(i2)"], extras=[segments]),
        "transposed": x.reindex_reduce("add", [4, x.shape[0]], ["i2", "i0"]),
    }, (1, 3, 4))


def test_grid_sample_of_volumes_and_before_opset_16(agrees):
    agrees(lambda self, x, grid: nn.grid_sample(x, grid * 0.6), (1, 2, 3, 4, 5), (1, 2, 2, 3, 3), tolerance=1e-5)
    agrees(lambda self, x, grid: nn.grid_sample(x, grid * 0.6, align_corners=True), (1, 2, 4, 5), (1, 3, 2, 2),
           tolerance=1e-5, opset=15)


def test_patches(agrees, kinds):
    image = Input("image", (1, 2, 6, 8), dynamic={0: "batch", 2: "height", 3: "width"})
    agrees(lambda self, image: {
        "plain": nn.unfold(image, 2), "strided": nn.unfold(image, (3, 2), stride=2),
        "all": nn.unfold(image, 3, dilation=(1, 2), padding=(1, 2), stride=(2, 1)),
    }, image, sizes=({"batch": 1, "height": 6, "width": 8}, {"batch": 3, "height": 9, "width": 7}))
    exported = agrees(lambda self, x: {
        "back": nn.fold(nn.unfold(x, 2, stride=2), (6, 8), 2, stride=2),
        "overlapping": nn.fold(nn.unfold(x, 3, padding=1), (6, 8), 3, padding=1),
        "uneven": nn.fold(nn.unfold(x, (2, 3), stride=3), (6, 8), (2, 3), stride=3),
    }, (1, 2, 6, 8))
    assert kinds(exported).count("ConvTranspose") == 3
