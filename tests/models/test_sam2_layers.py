"""Layers of SAM 2 against published numbers, other libraries, arithmetic by hand and properties."""

import math

import jittor as jt
import numpy as np
import pytest
from PIL import Image

import models  # noqa: F401
from models import cpu
from models.sam2.hieradet import MultiScaleBlock, max_pool
from models.sam2.mask_decoder import stability_scores
from models.sam2.memory_attention import RoPEAttention, rotate_maps
from models.sam2.position_encoding import axial_angles, rotate, rotation, sine_1d, sine_2d
from models.sam2.prompt_encoder import PromptEncoder
from models.sam2.resampling import antialias_matrix, resize_antialiased
from tests.models.test_sam_goldens import TOLERANCE, formula, worst_error

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def test_rotary_positions_against_published_numbers():
    """Reference/04 section 12, by the original code: a grid of 16 x 16, keys of two maps."""
    q, k = (jt.array((2 * formula(name, math.prod(shape)) - 1).reshape(shape).astype(np.float32))
            for name, shape in (("q", (1, 256, 256)), ("k", (1, 512, 256))))
    expected = {"q": (-0.00244923, 0.579671, 1.36966, -0.429386, -0.34448, -0.0671473, 0.975669),
                "k": (0.00256775, 0.577765, 1.40979, -0.818891, 0.054124, -0.762642, 0.189407)}
    for name, got in (("q", rotate(q, rotation(256, 16))), ("k", rotate_maps(k, rotation(256, 16)))):
        assert worst_error(expected[name], got) < TOLERANCE
    token = axial_angles(256, 16)[17]  # at (1, 1)
    assert np.allclose([np.cos(token[[0, 64]]), np.sin(token[[0, 64]])], [[0.5403023] * 2, [0.841471] * 2], atol=1e-7)


def test_rotation_keeps_lengths_and_knows_only_distances():
    x = normal(2, 25, 16)
    places = rotation(16, 5)
    y = rotate(jt.array(x), places).numpy()
    pairs = [np.hypot(z[..., 0::2], z[..., 1::2]) for z in (x, y)]
    assert np.abs(pairs[0] - pairs[1]).max() < 1e-5
    # One query and one key at every place of 5 x 5: products of equal displacements are equal.
    q, k = (rotate(jt.array(np.tile(normal(16), (25, 1))), places).numpy().reshape(5, 5, 16) for _ in range(2))
    products = np.einsum("yxc,vuc->yxvu", q, k)
    assert np.allclose(products[0, 0, 1, 2], products[1, 1, 2, 3], atol=1e-4)
    assert np.allclose(products[0, 0, 3, 4], products[1, 0, 4, 4], atol=1e-4)
    assert not np.allclose(products[0, 0, 3, 4], products[0, 0, 4, 3], atol=1e-2)


def test_tokens_without_a_place_are_not_rotated():
    k = normal(2, 2 * 9 + 4, 8)
    places = rotation(8, 3)
    got = rotate_maps(jt.array(k), places, 4).numpy()
    assert (got[:, 18:] == k[:, 18:]).all()
    assert np.allclose(got[:, 9:18], rotate(jt.array(k[:, 9:18]), places).numpy())


def test_attention_by_hand():
    """In float64, the rotation as a product of complex numbers. Keys of two maps and three tokens without a place."""
    layer = RoPEAttention(8, 4, dropout=0.5)
    layer.eval()
    q, k, v = normal(1, 9, 8), normal(2, 21, 4), normal(2, 21, 4)
    with cpu.installed():
        got = layer(jt.array(q), jt.array(k), jt.array(v), rotation(8, 3), 3).numpy()

    def linear(m, x):
        return x @ m.weight.numpy().astype(float).T + m.bias.numpy()

    turn = np.exp(1j * np.array([[n % 3, n % 3 * 0.01, n // 3, n // 3 * 0.01] for n in range(9)]))
    q, k, v = linear(layer.q_proj, q), linear(layer.k_proj, k), linear(layer.v_proj, v)
    q, k = (x[..., 0::2] + 1j * x[..., 1::2] for x in (q, k))
    products = (q * turn) @ (k * np.concatenate([turn, turn, np.ones((3, 4))])).conj().transpose(0, 2, 1)
    weights = np.exp(products.real / math.sqrt(8))
    expected = linear(layer.out_proj, weights / weights.sum(axis=-1, keepdims=True) @ v)
    assert np.abs(got - expected).max() < 1e-5


def test_sines():
    """By hand: two channels an axis are sine and cosine of a whole turn in steps; in time, sines come before cosines."""
    map_yx = sine_2d(4, 2, 4)
    assert np.allclose(map_yx[:, 0, 0], [0, -1, 1, 0], atol=1e-5) and np.allclose(map_yx[:, 1, 2], [0, 1, -1, 0], atol=1e-5)
    got = sine_1d(jt.array(np.array([0.5, -1], np.float32)), 8).numpy()
    phases = np.outer([0.5, -1], [1, 1, 0.01, 0.01])
    assert np.allclose(got, np.concatenate([np.sin(phases), np.cos(phases)], axis=1), atol=1e-6)


def test_max_pool():
    x = normal(2, 4, 6, 3)
    corners = [x[:, i::2, j::2] for i in range(2) for j in range(2)]
    assert (max_pool(jt.array(x)).numpy() == np.max(corners, axis=0)).all()


@pytest.mark.parametrize("window, pool, touched", [
    (4, False, (4, 8, 0, 4)),  # rows 4..7 and columns 0..3, in tokens of the result
    (4, True, (2, 4, 0, 2)),
    (0, False, (0, 10, 0, 6)),
])
def test_a_token_reaches_its_window_and_no_further(window, pool, touched):
    """Sides 10 x 6 with windows of 4: the last are filled up."""
    block = MultiScaleBlock(4, 8 if pool else 4, 2, 4, window, pool)
    x = normal(1, 10, 6, 4)
    other = x.copy()
    other[0, 5, 2, 0] += 3
    a, b = (block(jt.array(z)).numpy() for z in (x, other))
    assert a.shape == ((1, 5, 3, 8) if pool else (1, 10, 6, 4))
    rows, columns = np.nonzero(np.abs(a - b).max(axis=-1)[0] > 1e-6)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == touched


@pytest.mark.parametrize("old, new", [((12, 20), (3, 5)), ((9, 7), (4, 6)), ((5, 6), (10, 24))])
def test_antialiased_resize_agrees_with_pillow(old, new):
    image = RNG.uniform(0, 1, old).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize(new[::-1], Image.Resampling.BILINEAR))
    got = resize_antialiased(jt.array(image[None, None]), *new).numpy()[0, 0]
    assert got.shape == new and np.abs(got - expected).max() < 1e-5
    assert np.allclose(antialias_matrix(old[0], new[0]).sum(axis=1), 1, atol=1e-6)


def test_stability_by_hand():
    """Areas above 0.05 and above -0.05: 2 of 3; none of none; all of all."""
    logits = np.array([[[1, 0.06, 0.04, -0.06]], [[-1, -1, -1, -1]], [[2, 2, 2, 2]]], np.float32)
    assert stability_scores(jt.array(logits)).numpy().tolist() == pytest.approx([2 / 3, 1, 1])


def test_a_box_is_two_points():
    """The corners as SAM embeds them, then the point that is none."""
    encoder = PromptEncoder(8, 64, 4)
    box = np.array([[3, 5, 40, 50], [0, 1, 2, 63]], np.float32)
    sparse, _ = encoder((jt.array(box.reshape(2, 2, 2)), jt.array(np.array([[2, 3]] * 2, np.int32))))
    sparse, corners = sparse.numpy(), encoder.embed_boxes(jt.array(box)).numpy()
    assert sparse.shape == (2, 3, 8) and np.abs(sparse[:, :2] - corners).max() < 1e-6
    assert np.abs(sparse[:, 2] - encoder.not_a_point_embed.weight.numpy()).max() < 1e-6
