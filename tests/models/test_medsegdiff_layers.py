"""MedSegDiff's layers against numpy.fft, arithmetic in float64 and properties."""

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models.medsegdiff import attention
from models.medsegdiff.attention import Attention, LinearAttention, ViT
from models.medsegdiff.blocks import LayerNorm, Nearest, Patches, ResnetBlock, SinusoidalPosEmb
from models.medsegdiff.build import build
from models.medsegdiff.ff_parser import dft2, inverse_dft2
from tests.models.test_sam_goldens import example

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def randomise(module):
    for var in module.state_dict().values():
        var.assign(jt.array(normal(*map(int, var.shape)) * np.float32(0.4)))
    return {key: var.numpy().astype(float) for key, var in module.state_dict().items()}


def conditioner(**changes):
    """Of 8 channels and 8 x 8 px; the second of a tiny network's two."""
    model = build("medsegdiff-nano", image_size=16, dim=8, dim_mults=(1, 2), cond_patch_size=2, **changes)
    model.train()  # weights take gradients
    return model.conditioners[1]


@pytest.mark.parametrize("height, width", [(8, 8), (6, 5), (1, 7), (64, 64)])
def test_dft_is_that_of_numpy(height, width):
    x, other = normal(2, 3, height, width), normal(2, 3, height, width)
    expected = np.fft.fft2(x.astype(float))
    real, imaginary = (part.numpy() for part in dft2(jt.array(x)))
    tolerance = 2e-6 * np.abs(expected).max()
    assert np.abs(real - expected.real).max() < tolerance and np.abs(imaginary - expected.imag).max() < tolerance
    back = inverse_dft2(jt.array(x), jt.array(other)).numpy()
    assert np.abs(back - np.fft.ifft2(x + 1j * other.astype(float)).real).max() < 2e-6


def filtered(x, weights):
    """The FF-Parser with a given map."""
    module = conditioner(disable_ff_parser=True)
    module.ff_parser_attn_map = jt.array(weights)
    return module.filtered(jt.array(x), None).numpy()


def test_ff_parser():
    x = normal(2, 8, 8, 8)
    ones = np.ones((8, 8, 8), np.float32)
    assert np.abs(filtered(x, ones) - x).max() < 1e-6  # as it starts: the identity
    assert np.abs(filtered(x, 3 * ones) - 3 * x).max() < 3e-6
    assert not filtered(x, 0 * ones).any()
    mean_only = np.zeros((8, 8, 8), np.float32)
    mean_only[:, 0, 0] = 2
    assert np.abs(filtered(x, mean_only) - 2 * x.mean(axis=(2, 3), keepdims=True)).max() < 1e-6


def test_ff_parser_is_a_circular_convolution():
    """With the inverse transform of the map's symmetric part, summed out here pixel by pixel."""
    x, weights = normal(1, 8, 8, 8), normal(8, 8, 8)
    kernel = np.fft.ifft2(weights.astype(float)).real
    expected = sum(np.roll(x[0], (y, z), axis=(1, 2)) * kernel[:, y:y + 1, z:z + 1] for y in range(8) for z in range(8))
    assert np.abs(filtered(x, weights)[0] - expected).max() < 1e-5


def test_ff_parser_golden():
    """Reference/06, section 10."""
    x, weights = 2 * example("fx", 1, 2, 8, 8).numpy() - 1, example("fa", 2, 8, 8).numpy()
    module = conditioner(disable_ff_parser=True)
    module.ff_parser_attn_map = jt.array(weights)
    y = module.filtered(jt.array(x), None).numpy().ravel()
    found = [y.mean(), y.std(), np.abs(y).max(), *y[[0, len(y) // 3, len(y) // 2, -1]]]
    expected = [0.0015924, 0.339023, 0.654239, 0.0150347, -0.0385785, -0.271658, -0.325538]
    assert np.abs(np.array(found) - expected).max() < 1e-6


def test_dynamic_maps_start_at_zero():
    dynamic, x, c = conditioner(), jt.array(normal(2, 8, 8, 8)), jt.array(normal(2, 8, 8, 8))
    static = conditioner(disable_ff_parser=True)
    for key, var in static.state_dict().items():
        var.assign(dynamic.state_dict()[key])
    with jt.no_grad():
        assert (dynamic(x, c).numpy() == static(x, c).numpy()).all()
        assert not ViT(4, 8, 8, 2, 2, 4, 1)(jt.array(normal(1, 4, 8, 8))).numpy().any()


def test_gradients_flow_through_the_ff_parser():
    """To the static map, to the dynamic one, to the features of the mask and to those of the image: by finite differences.
    In the earlier port there were none."""
    module = conditioner()
    randomise(module.to_dynamic_ff_parser_attn_map)
    x, c, direction = normal(1, 8, 8, 8), normal(1, 8, 8, 8), normal(1, 8, 8, 8)
    variables = [jt.array(x), jt.array(c), module.ff_parser_attn_map, module.to_dynamic_ff_parser_attn_map.to_patches[1].weight]

    def loss():
        return (module.filtered(*variables[:2]) * jt.array(direction)).sum()

    gradients = [gradient.numpy() for gradient in jt.grad(loss(), variables)]
    for variable, gradient in zip(variables, gradients):
        start, along = variable.numpy().copy(), gradient / np.abs(gradient).max()
        values = []
        for step in (1e-2, -1e-2):
            variable.assign(jt.array((start + step * along).astype(np.float32)))
            values.append(loss().item())
        variable.assign(jt.array(start))
        assert abs((values[0] - values[1]) / 2e-2 / (gradient * along).sum() - 1) < 0.02


def softmax(x, axis):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def normed(x, g):
    x = x - x.mean(axis=1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5) * g


def heads_of(x, p):
    """q, k, v as (N, heads 2, dim_head 3, pixels)."""
    qkv = np.einsum("oc,nchw->nohw", p["to_qkv.weight"][:, :, 0, 0], normed(x, p["prenorm.g"]))
    return np.moveaxis(qkv.reshape(len(x), 3, 2, 3, -1), 1, 0)


def test_attention_is_over_pixels(monkeypatch):
    layer = Attention(6, heads=2, dim_head=3)
    p, x = randomise(layer), normal(2, 6, 4, 5)
    q, k, v = heads_of(x.astype(float), p)
    weights = softmax(np.einsum("bhdi,bhdj->bhij", q, k) / np.sqrt(3), axis=-1)  # 20 x 20
    out = np.einsum("bhij,bhdj->bhdi", weights, v).reshape(2, 6, 4, 5)
    expected = np.einsum("oc,nchw->nohw", p["to_out.weight"][:, :, 0, 0], out) + p["to_out.bias"].reshape(-1, 1, 1)
    assert np.abs(layer(jt.array(x)).numpy() - expected).max() < 1e-5
    monkeypatch.setattr(attention, "MAX_SCORES", 7 * 20)  # in parts of 7, 7 and 6 pixels
    assert np.abs(layer(jt.array(x)).numpy() - expected).max() < 1e-5


def test_linear_attention():
    layer = LinearAttention(6, heads=2, dim_head=3)
    p, x = randomise(layer), normal(2, 6, 4, 5)
    q, k, v = heads_of(x.astype(float), p)
    context = np.einsum("bhdn,bhen->bhde", softmax(k, axis=-1), v)  # 3 x 3, however many pixels
    out = np.einsum("bhde,bhdn->bhen", context, softmax(q, axis=-2) / np.sqrt(3)).reshape(2, 6, 4, 5)
    out = np.einsum("oc,nchw->nohw", p["to_out.0.weight"][:, :, 0, 0], out) + p["to_out.0.bias"].reshape(-1, 1, 1)
    assert np.abs(layer(jt.array(x)).numpy() - normed(out, p["to_out.1.g"])).max() < 1e-4


def test_linear_attention_takes_a_large_map():
    """Pixels times pixels would be 17 GB."""
    with jt.no_grad():
        assert np.isfinite(LinearAttention(8, heads=1, dim_head=4)(jt.array(normal(1, 8, 256, 256))).numpy()).all()


def test_patches_run_through_channels_then_rows_then_columns():
    x = normal(2, 3, 4, 6)
    got = Patches(2)(jt.array(x)).numpy()
    assert got.shape == (2, 12, 2, 3)
    for c, row, column in ((0, 0, 0), (0, 0, 1), (1, 1, 0), (2, 1, 1)):
        assert (got[:, 4 * c + 2 * row + column] == x[:, c, row::2, column::2]).all()
    assert (Nearest()(jt.array(x)).numpy() == x.repeat(2, axis=2).repeat(2, axis=3)).all()


@pytest.mark.parametrize("offset", [0, 1000])
def test_layer_norm_keeps_its_digits(offset):
    """Spectra are not normalised: their first values are thousands."""
    layer = LayerNorm(6, bias=True)
    p, x = randomise(layer), normal(2, 6, 3, 5) + offset
    expected = normed(x.astype(float), p["g"]) + p["b"]
    assert np.abs(layer(jt.array(x)).numpy() - expected).max() < (2e-4 if offset else 2e-6)


def test_time_scales_and_shifts():
    time = np.array([0, 3, 99], np.int32)
    got = SinusoidalPosEmb(8)(jt.array(time)).numpy()
    phases = time[:, None] * 10000.0 ** (-np.arange(4) / 3)
    assert np.abs(got - np.concatenate([np.sin(phases), np.cos(phases)], axis=1)).max() < 1e-5

    block, x = ResnetBlock(8, 16, time_dim=4), jt.array(normal(2, 8, 4, 4))
    randomise(block.mlp)
    embedding = normal(2, 4)
    p = {key: var.numpy() for key, var in block.mlp.state_dict().items()}
    scale, shift = np.split(embedding / (1 + np.exp(-embedding)) @ p["1.weight"].T + p["1.bias"], 2, axis=1)
    inner = block.block1.norm(block.block1.proj(x)).numpy() * (scale + 1)[..., None, None] + shift[..., None, None]
    expected = block.block2(jt.array(inner / (1 + np.exp(-inner)))) + block.res_conv(x)
    assert np.abs(block(x, jt.array(embedding)).numpy() - expected.numpy()).max() < 1e-5
