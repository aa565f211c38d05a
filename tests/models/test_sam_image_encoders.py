"""The three image encoders at tiny sizes: their attention against NumPy, their shapes, where gradients go."""

import cv2
import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models import cpu
from models.sam import efficientvit, image_encoder, tiny_vit
from models.sam.config import EfficientViTConfig, TinyViTConfig, ViTConfig

RNG = np.random.default_rng(0)

# 8 x 8 tokens: windows of 3 leave a rest that is padded.
VIT = ViTConfig(image_size=32, embed_dim=16, depth=2, num_heads=2, global_blocks=(1,), patch_size=4, window_size=3)
TINY_VIT = TinyViTConfig(image_size=32, embed_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2),
                         window_sizes=(3, 3, 4, 3))
# 4 x 4 tokens at the deepest stage, which a head of 8 channels attends to in the linear form.
EFFICIENTVIT = EfficientViTConfig(
    image_size=128, widths=(4, 4, 8, 8, 16), depths=(1, 1, 1, 1, 1), blocks=("res", "fmb", "fmb", "mb", "att@5"),
    expand=(1, 2, 2, 2, 2), few_norms=(False, False, False, True, True), neck_stages=(4, 3, 2), neck_depth=1, neck_width=8,
    head_dim=8, grid=16)
ENCODERS = {
    "vit": (image_encoder.ImageEncoderViT, VIT), "tiny_vit": (tiny_vit.TinyViT, TINY_VIT),
    "efficientvit": (efficientvit.EfficientViTSamImageEncoder, EFFICIENTVIT),
}


def var(*shape):
    return jt.array(RNG.standard_normal(shape, np.float32))


def randomise(module):
    """Normal weights everywhere, so that nothing hides behind a zero or a one."""
    for value in module.state_dict().values():
        value.assign(var(*value.shape))
    return module


def linear(layer, x):
    return x @ layer.weight.numpy().astype(float).T + layer.bias.numpy()


def softmax(x):
    power = np.exp(x - x.max())
    return power / power.sum()


def attention_by_loops(attn, x, height, width):
    """Attention of image_encoder.Attention for one image of tokens (height, width, dim), token by token."""
    heads, dim = attn.num_heads, x.shape[-1]
    head_dim = dim // heads
    qkv = linear(attn.qkv, x)
    rel_h, rel_w = attn.rel_pos_h.numpy().astype(float), attn.rel_pos_w.numpy().astype(float)
    y = np.zeros_like(x, float)
    for head in range(heads):
        q, k, v = (qkv[..., part * dim + head * head_dim:][..., :head_dim] for part in range(3))
        for i in range(height):
            for j in range(width):
                scores = np.array([[
                    q[i, j] @ k[a, b] / np.sqrt(head_dim)
                    + q[i, j] @ rel_h[i - a + height - 1] + q[i, j] @ rel_w[j - b + width - 1]
                    for b in range(width)] for a in range(height)])
                y[i, j, head * head_dim:][:head_dim] = np.tensordot(softmax(scores), v, 2)
    return linear(attn.proj, y)


def test_relative_positions_by_loops():
    attn = randomise(image_encoder.Attention(8, 2, 4))
    x = var(2, 4, 4, 8)
    with cpu.installed():
        got = attn(x).numpy()
    for image, y in zip(x.numpy().astype(float), got):
        expected = attention_by_loops(attn, image, 4, 4)
        assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max()


def test_tables_of_another_size_are_resampled_linearly():
    table = RNG.standard_normal((7, 4)).astype(np.float32)  # for 4 tokens a side
    longer = cv2.resize(table, (4, 11), interpolation=cv2.INTER_LINEAR)
    got = image_encoder.relative_positions(jt.array(table), 6).numpy()
    assert got.shape == (6, 6, 4)
    assert all(np.abs(got[q, k] - longer[q - k + 5]).max() < 1e-6 for q in range(6) for k in range(6))
    same = image_encoder.relative_positions(jt.array(table), 4).numpy()
    assert (same[3, 0] == table[6]).all() and (same[0, 3] == table[0]).all()


def test_windows_by_hand():
    x = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 4, 5, 1)
    windows = image_encoder.window_partition(jt.array(x), 3).numpy()[..., 0]
    assert windows.shape == (8, 3, 3)  # 2 x 2 windows an image
    assert windows[0].tolist() == [[0, 1, 2], [5, 6, 7], [10, 11, 12]]
    assert windows[1].tolist() == [[3, 4, 0], [8, 9, 0], [13, 14, 0]]
    assert windows[2].tolist() == [[15, 16, 17], [0, 0, 0], [0, 0, 0]]
    assert windows[7].tolist() == [[38, 39, 0], [0, 0, 0], [0, 0, 0]]
    assert (image_encoder.window_unpartition(jt.array(windows[..., None]), 3, 4, 5).numpy() == x).all()


def test_a_windowed_block_attends_within_its_windows_padding_included():
    block = randomise(image_encoder.Block(8, 2, 2, window_size=3, grid=4))
    x = var(1, 4, 4, 8)
    with cpu.installed():
        got = block._attend(x).numpy()[0]
    padded = np.zeros((6, 6, 8))
    padded[:4, :4] = x.numpy()[0]
    for top in (0, 3):
        for left in (0, 3):
            expected = attention_by_loops(block.attn, padded[top:top + 3, left:left + 3], 3, 3)[:4 - top, :4 - left]
            assert np.abs(got[top:top + 3, left:left + 3] - expected).max() < 1e-5 * np.abs(expected).max()


def test_tiny_vit_s_biases_are_numbered_in_the_order_of_their_first_appearance():
    for size in (1, 3, 7):
        points = [(y, x) for y in range(size) for x in range(size)]
        numbers = {}
        expected = [[numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers)) for b in points]
                    for a in points]
        assert tiny_vit.bias_indices(size).tolist() == expected


def test_tiny_vit_attention_by_loops():
    attn = randomise(tiny_vit.Attention(8, 2, 3))
    x = var(2, 3, 3, 8)
    with cpu.installed():
        got = attn(x).numpy().reshape(2, 9, 8)
    biases, index = attn.attention_biases.numpy(), tiny_vit.bias_indices(3)
    for tokens, y in zip(x.numpy().astype(float).reshape(2, 9, 8), got):
        tokens = tokens - tokens.mean(-1, keepdims=True)
        tokens = tokens / np.sqrt((tokens**2).mean(-1, keepdims=True) + 1e-5)
        qkv = linear(attn.qkv, tokens * attn.norm.weight.numpy() + attn.norm.bias.numpy())
        mixed = np.zeros((9, 8))
        for head in range(2):
            q, k, v = (qkv[:, head * 12 + part * 4:][:, :4] for part in range(3))  # q, k, v of a head side by side
            for i in range(9):
                scores = np.array([q[i] @ k[j] / 2 + biases[head, index[i, j]] for j in range(9)])
                mixed[i, head * 4:][:4] = softmax(scores) @ v
        expected = linear(attn.proj, mixed)
        assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max()


def test_linear_attention_is_the_quadratic_form():
    """Katharopoulos et al. 2020: sums of weights w[key, query] = k.q over keys, whichever is multiplied first."""
    q, k = (jt.array(np.maximum(RNG.standard_normal((2, 3, 4, 40)), 0).astype(np.float32)) for _ in range(2))
    v = var(2, 3, 4, 40)
    weights = np.einsum("nhck,nhcq->nhkq", k.numpy().astype(float), q.numpy().astype(float))
    expected = np.einsum("nhck,nhkq->nhcq", v.numpy(), weights / (weights.sum(2, keepdims=True) + 1e-15))
    with cpu.installed():
        results = [attend(q, k, v).numpy() for attend in (efficientvit.linear_attention, efficientvit.quadratic_attention)]
    for result in results:
        assert np.abs(result - expected).max() < 1e-5 * np.abs(expected).max()


def test_lite_mla_takes_the_heads_from_its_channels_as_they_lie():
    """Channels run head by head, and q, k, v within a head; then come the heads of the mixed tokens."""
    layer = efficientvit.LiteMLA(8, 4, 3)
    layer.eval()
    x = var(1, 8, 3, 3)
    with cpu.installed():
        got = layer(x).numpy()
        own = layer.qkv(x)
        qkv = np.concatenate([own.numpy(), layer.aggreg[0](own).numpy()], axis=1).reshape(24 * 2, 9).astype(float)
    parts = []
    for head in range(4):
        q, k, v = (qkv[head * 12 + part * 4:][:4] for part in range(3))
        q, k = np.maximum(q, 0), np.maximum(k, 0)
        weights = k.T @ q
        parts.append(v @ (weights / (weights.sum(0) + 1e-15)))
    mixed = np.concatenate(parts).reshape(1, 16, 3, 3)
    expected = np.einsum("oi,nihw->nohw", layer.proj.conv.weight.numpy()[..., 0, 0], mixed) / np.sqrt(1 + 1e-6)
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ENCODERS)
def test_shapes_and_gradients(name):
    """In training mode, so with the statistics of the batch where there are batch norms."""
    encoder, config = ENCODERS[name]
    model = encoder(config, 8)
    model.train()
    state = model.state_dict()
    statistics = {key: value.numpy() for key, value in state.items() if "running" in key}
    with cpu.installed():
        y = model(var(2, 3, config.image_size, config.image_size))
        assert list(y.shape) == [2, 8, config.grid, config.grid]
        trained = [key for key in state if key not in statistics]
        grads = jt.grad((y * var(*y.shape)).sum(), [state[key] for key in trained])
        jt.sync(grads)
    dead = [key for key, grad in zip(trained, grads) if not np.abs(grad.numpy()).max() > 0]
    assert dead == []
    assert all((state[key].numpy() != before).any() for key, before in statistics.items())
    assert bool(statistics) == (name != "vit")


def test_an_image_of_another_size_than_the_positions_were_made_for():
    model = image_encoder.ImageEncoderViT(VIT, 8)
    positions = RNG.standard_normal((1, 8, 8, 16)).astype(np.float32)
    model.pos_embed = jt.array(positions)
    got = image_encoder.resized_positions(model.pos_embed, 9, 11).numpy()[0]
    for channel in range(16):
        expected = cv2.resize(positions[0, ..., channel], (11, 9), interpolation=cv2.INTER_CUBIC)
        assert np.abs(got[..., channel] - expected).max() < 2e-6
    with cpu.installed(), jt.no_grad():
        y = model(var(1, 3, 36, 44)).numpy()
    assert y.shape == (1, 8, 9, 11) and np.isfinite(y).all()


def test_efficientvit_keeps_its_grid_at_half_the_image():
    model = efficientvit.EfficientViTSamImageEncoder(EFFICIENTVIT, 8)
    model.eval()
    with cpu.installed(), jt.no_grad():
        assert list(model(var(1, 3, 64, 64)).shape) == [1, 8, 16, 16]


