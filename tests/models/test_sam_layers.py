"""Layers that the family shares, against other libraries and arithmetic in float64."""

import math

import cv2
import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models.sam.common import LayerNorm, LayerNorm2d, gelu_tanh
from models.sam.resampling import resize_image, resize_last, resize_matrix

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("mode, flag", [("linear", cv2.INTER_LINEAR), ("cubic", cv2.INTER_CUBIC)])
@pytest.mark.parametrize("old, new", [((5, 7), (20, 14)), ((6, 8), (7, 8)), ((9, 10), (4, 7))])
def test_resize_agrees_with_opencv(mode, flag, old, new):
    """OpenCV's cubic has the same coefficient, its border is repeated too, and neither blurs before it shrinks."""
    image = RNG.uniform(0, 1, old).astype(np.float32)
    rows, columns = resize_matrix(old[0], new[0], mode), resize_matrix(old[1], new[1], mode)
    expected = cv2.resize(image, new[::-1], interpolation=flag)
    assert np.abs(rows @ image @ columns.T - expected).max() < 2e-6


def test_resize_image_and_resize_last():
    image = RNG.uniform(0, 1, (2, 3, 4, 6)).astype(np.float32)
    rows, columns = resize_matrix(4, 8, "cubic"), resize_matrix(6, 5, "cubic")
    got = resize_image(jt.array(image), 8, 5, "cubic").numpy()
    assert np.abs(got - np.einsum("yi,ncij,xj->ncyx", rows, image, columns)).max() < 1e-6
    # By hand: a value between two at a quarter of their distance, and the border's own beyond its centre.
    assert resize_last(jt.array(np.array([[0.0, 4.0]], np.float32)), 4, "linear").numpy().tolist() == [[0, 1, 3, 4]]


@pytest.mark.parametrize("offset", [0, 1000])
def test_layer_norms_keep_their_digits(offset):
    """Jittor's own is wrong by more than 1 where the mean is 1000 deviations."""
    x = (RNG.standard_normal((2, 6, 3, 5)) + offset).astype(np.float32)
    weight, bias = RNG.standard_normal((2, 6)).astype(np.float32)
    for layer, axis, shape in ((LayerNorm2d(6), 1, (6, 1, 1)), (LayerNorm(6, eps=1e-6), -1, (6,))):
        layer.weight, layer.bias = jt.array(weight), jt.array(bias)
        y = x if axis == 1 else np.ascontiguousarray(np.moveaxis(x, 1, -1))
        exact = y.astype(float) - y.astype(float).mean(axis=axis, keepdims=True)
        exact = exact / np.sqrt((exact**2).mean(axis=axis, keepdims=True) + 1e-6)
        exact = exact * weight.reshape(shape) + bias.reshape(shape)
        assert np.abs(layer(jt.array(y)).numpy() - exact).max() < (2e-4 if offset else 2e-6)


def test_gelu_tanh():
    x = np.linspace(-6, 6, 49).astype(np.float32)
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.astype(float)]
    assert np.abs(gelu_tanh(jt.array(x)).numpy() - expected).max() < 1e-6
