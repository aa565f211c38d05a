"""The CPU's batched matrix product and softmax against NumPy in float64."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

import models  # noqa: F401
from models import cpu

RNG = np.random.default_rng(0)


def var(*shape):
    return jt.array(RNG.standard_normal(shape, np.float32))


def close(got, expected, tolerance=1e-6):
    return np.abs(got.numpy() - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("left, right", [
    ((2, 3, 4, 5), (2, 3, 5, 6)),
    ((2, 3, 4, 5), (3, 5, 6)),
    ((1, 3, 4, 5), (7, 1, 5, 6)),
])
def test_matmul_and_its_gradients(left, right):
    a, b = var(*left), var(*right)
    c = cpu.matmul(a, b)
    g = var(*c.shape)
    grads = jt.grad((c * g).sum(), [a, b])
    a, b, g = (x.numpy().astype(float) for x in (a, b, g))
    assert close(c, a @ b)
    for grad, full, shape in ((grads[0], g @ np.swapaxes(b, -1, -2), left), (grads[1], np.swapaxes(a, -1, -2) @ g, right)):
        # What was broadcast is given the sum of what its copies are given.
        full = full.sum(axis=tuple(range(full.ndim - len(shape))))
        axes = tuple(axis for axis, size in enumerate(shape) if size != full.shape[axis])
        assert list(grad.shape) == list(shape) and close(grad, full.sum(axis=axes, keepdims=True))


def test_softmax_and_its_gradient():
    x, g = var(2, 3, 37) * 30, var(2, 3, 37)
    y = cpu.softmax(x)
    grad = jt.grad((y * g).sum(), x)
    x, g = x.numpy().astype(float), g.numpy().astype(float)
    power = np.exp(x - x.max(-1, keepdims=True))
    expected = power / power.sum(-1, keepdims=True)
    assert close(y, expected) and close(grad, expected * (g - (expected * g).sum(-1, keepdims=True)), 1e-5)


def test_installed_under_nn_and_only_where_they_apply():
    """A 2-D product, another axis and a logarithm stay Jittor's."""
    a, b, x = var(2, 4, 5), var(5, 6), var(2, 3, 7)
    expected = [nn.matmul(a, b), nn.softmax(x, dim=1), nn.softmax(x, dim=-1, log=True), nn.softmax(x, dim=2),
                nn.matmul(a, jt.transpose(a, 1, 2))]
    expected = [y.numpy() for y in expected]
    before = nn.matmul, nn.softmax
    with cpu.installed():
        assert nn.matmul is not before[0] and nn.softmax is not before[1]
        got = [nn.matmul(a, b), nn.softmax(x, dim=1), nn.softmax(x, dim=-1, log=True), nn.softmax(x, dim=2),
               nn.matmul(a, jt.transpose(a, 1, 2))]
    assert (nn.matmul, nn.softmax) == before
    assert all(close(y, want) for y, want in zip(got, expected))


def test_tanh_has_a_gradient_far_from_0():
    """Jittor's own is NaN from 60 on."""
    x = np.array([-1e4, -100, -20, -1, 0, 0.5, 3, 60, 89, 200, 1e4], np.float32)
    with cpu.installed():
        var = jt.array(x)
        y = jt.tanh(var)
        gradient = jt.grad(y.sum(), var).numpy()
    assert np.abs(y.numpy() - np.tanh(x.astype(float))).max() < 1e-6
    assert np.abs(gradient - (1 - np.tanh(x.astype(float)) ** 2)).max() < 1e-6
