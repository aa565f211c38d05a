"""The CPU operators against Jittor's own and against arithmetic in float64."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

import models  # noqa: F401
from models import cpu

RNG = np.random.default_rng(0)


def var(*shape):
    return jt.array(RNG.standard_normal(shape, np.float32))


def relative_error(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def convolve_in_float64(x, weight, stride, padding):
    """Cross-correlation, straight from its definition."""
    rank = x.ndim - 2
    x = np.pad(x.astype(float), [(0, 0), (0, 0)] + [(p, p) for p in padding])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=tuple(range(2, 2 + rank)))
    windows = windows[(slice(None), slice(None)) + tuple(slice(None, None, s) for s in stride)]
    axes = (1, *range(2 + rank, 2 + 2 * rank))
    return np.moveaxis(np.tensordot(windows, weight.astype(float), axes=(axes, (1, *range(2, 2 + rank)))), -1, 1)


CASES = [
    ((2, 6, 9, 11), (8, 6, 3, 3), (1, 1), (1, 1)),
    ((2, 4, 12, 12), (8, 4, 4, 4), (2, 2), (1, 1)),
    ((2, 3, 6, 8, 10), (5, 3, 3, 4, 4), (1, 2, 2), (1, 1, 1)),
]


@pytest.mark.parametrize("bfloat16, tolerance", [(False, 2e-6), (True, 1e-2)])
@pytest.mark.parametrize("shape, kernel, stride, padding", CASES)
def test_convolution_forward(shape, kernel, stride, padding, bfloat16, tolerance):
    if bfloat16 and not cpu.has_bfloat16():
        pytest.skip("this processor has no AMX: bfloat16 convolutions are never used on it")
    x, weight = var(*shape), var(*kernel)
    got = cpu.convolution(x, weight, None, stride, padding, bfloat16=bfloat16).numpy()
    expected = convolve_in_float64(x.numpy(), weight.numpy(), stride, padding)
    assert got.shape == expected.shape and relative_error(got, expected) < tolerance


@pytest.mark.parametrize("shape, kernel, stride, padding", CASES)
def test_convolution_gradients_are_the_adjoint(shape, kernel, stride, padding):
    """<conv(x, w), g> is linear in x and in w, so its gradients dotted with x and with w give it back, and a change of
    one operand changes it by that gradient exactly."""
    x, weight = var(*shape), var(*kernel)
    y = cpu.convolution(x, weight, None, stride, padding)
    g = var(*y.shape)
    grad_x, grad_w = jt.grad((y * g).sum(), [x, weight])
    value = float((y.numpy().astype(float) * g.numpy()).sum())
    assert float((grad_x.numpy().astype(float) * x.numpy()).sum()) == pytest.approx(value, rel=1e-4, abs=1e-3)
    assert float((grad_w.numpy().astype(float) * weight.numpy()).sum()) == pytest.approx(value, rel=1e-4, abs=1e-3)
    other = var(*shape)
    moved = convolve_in_float64(other.numpy(), weight.numpy(), stride, padding)
    assert float((moved * g.numpy()).sum()) == pytest.approx(
        float((grad_x.numpy().astype(float) * other.numpy()).sum()), rel=1e-4, abs=1e-3)


def test_weight_gradient_over_wide_rows_in_bfloat16():
    """Debian's oneDNN 2.6.3 writes past its buffers here if AMX does it: the process dies, or the sums are wrong."""
    if not cpu.has_bfloat16():
        pytest.skip("this processor has no AMX: bfloat16 convolutions are never used on it")
    x, weight, g = var(2, 16, 96, 256), var(16, 16, 3, 3), var(2, 16, 96, 256)
    got = jt.grad((cpu.convolution(x, weight, padding=1, bfloat16=True) * g).sum(), weight).numpy()
    # A weight's gradient correlates the input with the output's gradient: samples take the place of channels.
    expected = convolve_in_float64(x.numpy().swapaxes(0, 1), g.numpy().swapaxes(0, 1), (1, 1), (1, 1)).swapaxes(0, 1)
    assert relative_error(got, expected) < 1e-2


def test_grouped_and_biased_convolution_agrees_with_jittor():
    layer = nn.Conv2d(6, 8, 3, padding=2, dilation=2, groups=2)
    x = var(2, 6, 9, 9)
    expected = layer(x).numpy()
    with cpu.installed():
        got = layer(x).numpy()
    assert relative_error(got, expected) < 1e-5


@pytest.mark.parametrize("shape", [(4, 6, 9, 11), (2, 5, 4, 6, 7)])
def test_batch_norm_in_float64(shape):
    x, weight, bias, g = var(*shape) * 3 + 5, var(shape[1]), var(shape[1]), var(*shape)
    y, mean, variance = cpu.batch_norm(x, weight, bias, 1e-5)
    grads = jt.grad((y * g).sum(), [x, weight, bias])
    axes = (0, *range(2, len(shape)))
    planes = (1, -1) + (1,) * (len(shape) - 2)
    xs, gs, ws = x.numpy().astype(float), g.numpy().astype(float), weight.numpy().astype(float).reshape(planes)
    m, v = xs.mean(axis=axes, keepdims=True), xs.var(axis=axes, keepdims=True)
    normal = (xs - m) / np.sqrt(v + 1e-5)
    # Ioffe & Szegedy 2015, section 3: the gradient with respect to x once mean and variance are functions of x.
    dx = gs - gs.mean(axis=axes, keepdims=True) - normal * (gs * normal).mean(axis=axes, keepdims=True)
    dx = dx * ws / np.sqrt(v + 1e-5)
    for got, expected in [(y, normal * ws + bias.numpy().reshape(planes)), (mean, m.ravel()), (variance, v.ravel()),
                          (grads[0], dx), (grads[1], (gs * normal).sum(axis=axes)), (grads[2], gs.sum(axis=axes))]:
        assert relative_error(got.numpy(), expected) < 1e-4


def test_installed_batch_norm_updates_its_running_statistics_as_jittor_does():
    layers = [nn.BatchNorm(3), nn.BatchNorm(3)]
    x = var(4, 3, 5, 5) * 2 + 1
    for layer in layers:
        layer.train()
    expected = layers[0](x).numpy()
    with cpu.installed():
        got = layers[1](x).numpy()
    assert relative_error(got, expected) < 1e-5
    for name in ("running_mean", "running_var"):
        assert relative_error(getattr(layers[1], name).numpy(), getattr(layers[0], name).numpy()) < 1e-5


def test_a_batch_norm_with_given_statistics_and_its_gradients_agree_with_jittor():
    layer, x, g = nn.BatchNorm(3), var(4, 3, 5, 6), var(4, 3, 5, 6)
    layer.is_train = False
    layer.running_mean.assign(var(3))
    layer.running_var.assign(jt.abs(var(3)) + 0.5)

    def outcome():
        y = layer(x)
        return [v.numpy() for v in (y, *jt.grad((y * g).sum(), [x, layer.weight, layer.bias]))]

    expected = outcome()
    with cpu.installed():
        got = outcome()
    assert all(np.abs(b).max() > 0.1 and relative_error(a, b) < 1e-5 for a, b in zip(got, expected))


def test_relu():
    x = jt.array(np.array([-2.0, 0.0, 3.0, -1.0, 5.0], np.float32))
    y = cpu.relu(x)
    assert y.numpy().tolist() == [0, 0, 3, 0, 5]
    assert jt.grad((y * 2).sum(), x).numpy().tolist() == [0, 0, 2, 0, 2]


def test_installed_leaves_everything_as_it_was():
    before = nn.Conv2d.execute, nn.Conv3d.execute, nn.BatchNorm.execute, nn.relu
    with pytest.raises(RuntimeError), cpu.installed():
        assert nn.Conv2d.execute is not before[0] and nn.relu is not before[3]
        raise RuntimeError
    assert (nn.Conv2d.execute, nn.Conv3d.execute, nn.BatchNorm.execute, nn.relu) == before
