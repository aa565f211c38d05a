"""The prompt encoder against NumPy, the mask decoder by what must not change its answer, the whole at a tiny size."""

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models import cpu
from models.sam.build import build
from models.sam.config import ViTConfig

RNG = np.random.default_rng(0)
SIDE, DIM = 40.0, 16


def var(*shape):
    return jt.array(RNG.standard_normal(shape, np.float32))


def as_var(numbers):
    return jt.array(np.array(numbers, np.float32))


@pytest.fixture(scope="module")
def model():
    """Prompts in a frame of 40 px, 16 channels, 4 x 4 tokens; normal weights everywhere."""
    encoder = ViTConfig(image_size=16, embed_dim=16, depth=1, num_heads=2, global_blocks=(), patch_size=4, window_size=3)
    sam = build("litemedsam", encoder=encoder, prompt_dim=DIM, decoder_heads=2, decoder_mlp_dim=32, mask_in_chans=8)
    sam.prompt_encoder.input_image_size = SIDE
    for key, value in sam.state_dict().items():
        inputs = np.prod(value.shape[1:]) if "mask_decoder" in key and "token" not in key.split(".")[1] else 1
        value.assign(var(*value.shape) * float(1.5 / np.sqrt(inputs)))
    return sam


def fourier(prompt_encoder, unit_xy):
    """sin and cos of 2 pi (2 xy - 1) G, in float64."""
    frequencies = prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.numpy().astype(float)
    phases = 2 * np.pi * (2 * np.asarray(unit_xy, float) - 1) @ frequencies
    return np.concatenate([np.sin(phases), np.cos(phases)], axis=-1)


def weight(embedding):
    return embedding.weight.numpy()[0]


def test_boxes(model):
    encoder = model.prompt_encoder
    sparse, dense = encoder(boxes=as_var([[3, 5, 20, 31], [0, 0, 39, 39]]))
    corners = fourier(encoder, (np.array([[[3, 5], [20, 31]], [[0, 0], [39, 39]]]) + 0.5) / SIDE)
    expected = corners + np.stack([weight(encoder.point_embeddings[2]), weight(encoder.point_embeddings[3])])
    assert sparse.shape == [2, 2, DIM] and np.abs(sparse.numpy() - expected).max() < 2e-5
    assert dense.shape == [1, DIM, 1, 1] and (dense.numpy().ravel() == weight(encoder.no_mask_embed)).all()


def test_points_alone_get_one_more_that_is_none(model):
    encoder = model.prompt_encoder
    xy, labels = [[3, 5], [20, 31], [7, 7]], [1, 0, -1]
    sparse, _ = encoder(points=(as_var([xy]), jt.array([labels])))
    expected = fourier(encoder, (np.array(xy) + 0.5) / SIDE)
    expected[0] += weight(encoder.point_embeddings[1])
    expected[1] += weight(encoder.point_embeddings[0])
    expected[2] = weight(encoder.not_a_point_embed)
    assert sparse.shape == [1, 4, DIM]
    assert np.abs(sparse.numpy()[0] - [*expected, weight(encoder.not_a_point_embed)]).max() < 2e-5
    with_box, _ = encoder(points=(as_var([xy]), jt.array([labels])), boxes=as_var([[3, 5, 20, 31]]))
    assert with_box.shape == [1, 5, DIM] and np.abs(with_box.numpy()[0, :3] - expected).max() < 2e-5


def test_masks(model):
    encoder = model.prompt_encoder
    masks = var(2, 1, 16, 16)
    sparse, dense = encoder(masks=masks)
    assert sparse.shape == [2, 0, DIM] and dense.shape == [2, DIM, 4, 4]
    changed = masks.numpy()
    changed[0, 0, 5, 9] += 1  # in the 4 x 4 px of cell (1, 2), which are all that this cell sees
    difference = np.abs(encoder(masks=jt.array(changed))[1].numpy() - dense.numpy()).max(axis=1)
    assert difference[0, 1, 2] > 0 and np.count_nonzero(difference) == 1


def test_positions_of_the_grid(model):
    positions = model.prompt_encoder.get_dense_pe(2, 3).numpy()
    assert positions.shape == (1, DIM, 2, 3)
    expected = fourier(model.prompt_encoder, [[[(x + 0.5) / 3, (y + 0.5) / 2] for x in range(3)] for y in range(2)])
    assert np.abs(positions[0].transpose(1, 2, 0) - expected).max() < 1e-5


BOXES = as_var([[3, 5, 20, 31], [1, 2, 38, 9], [10, 10, 30, 30], [0, 20, 12, 39]])


def decode(model, embeddings, boxes, **how):
    with cpu.installed(), jt.no_grad():
        return [output.numpy() for output in model.decode(embeddings, boxes, **how)]


def assert_close(got, expected):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape and np.abs(a - b).max() < 1e-5 * max(np.abs(b).max(), 1)


def test_prompts_do_not_see_each_other(model):
    embedding = var(1, DIM, 4, 4)
    together = decode(model, embedding, BOXES)
    assert together[0].shape == (4, 1, 16, 16) and together[1].shape == (4, 1)
    assert np.abs(together[0][0] - together[0][1]).max() > 0.01
    for i in range(4):
        assert_close(decode(model, embedding, BOXES[i:i + 1]), [output[i:i + 1] for output in together])


def test_several_images_have_their_prompts_one_image_after_the_other(model):
    embeddings = var(2, DIM, 4, 4)
    together = decode(model, embeddings, BOXES)
    for i in range(2):
        apart = decode(model, embeddings[i:i + 1], BOXES[2 * i:2 * i + 2])
        assert_close(apart, [output[2 * i:2 * i + 2] for output in together])


def test_the_image_without_a_mask_is_the_one_with_no_mask_everywhere(model):
    """What is shared by all prompts gives what each of them with its own copy gives."""
    embedding = var(1, DIM, 4, 4)
    with cpu.installed(), jt.no_grad():
        sparse, dense = model.prompt_encoder(boxes=BOXES)
        copies = [x.broadcast([4, DIM, 4, 4]) for x in (embedding, dense)]
        positions = model.prompt_encoder.get_dense_pe(4, 4)
        expected = [y.numpy() for y in model.mask_decoder(copies[0], positions, sparse, copies[1])]
    assert_close(decode(model, embedding, BOXES), expected)


def test_one_mask_or_three(model):
    """With the filters of all four masks alike, they differ by their tokens alone; with tokens alike too, not at all."""
    embedding = var(1, DIM, 4, 4)
    one, three = decode(model, embedding, BOXES[:1]), decode(model, embedding, BOXES[:1], multimask_output=True)
    assert one[0].shape == (1, 1, 16, 16) and three[0].shape == (1, 3, 16, 16)
    assert one[1].shape == (1, 1) and three[1].shape == (1, 3)
    masks = [one[0][0, 0], *three[0][0]]
    assert all(np.abs(masks[i] - masks[j]).max() > 0.01 for i in range(4) for j in range(i))
    decoder = model.mask_decoder
    saved = {key: value.numpy() for key, value in decoder.state_dict().items() if "hypernetworks" in key or "tokens" in key}
    try:
        for key, value in decoder.state_dict().items():
            if "hypernetworks" in key:
                value.assign(jt.array(saved[key.replace(key.split(".")[1], "0", 1)]))
        decoder.mask_tokens.weight.assign(jt.array(np.repeat(saved["mask_tokens.weight"][:1], 4, axis=0)))
        one, three = decode(model, embedding, BOXES[:1]), decode(model, embedding, BOXES[:1], multimask_output=True)
        assert_close([three[0][:, i:i + 1] for i in range(3)], [one[0]] * 3)
    finally:
        for key, value in saved.items():
            decoder.state_dict()[key].assign(jt.array(value))


def test_gradients_reach_all_that_a_box_uses(model):
    model.train()
    state = model.state_dict()
    unused = ("point_embeddings.0", "point_embeddings.1", "not_a_point", "mask_downscaling", "gaussian_matrix",
              "hypernetworks_mlps.1", "hypernetworks_mlps.2", "hypernetworks_mlps.3")
    trained = [key for key in state if not any(part in key for part in unused)]
    with cpu.installed():
        masks, iou = model(var(2, 3, 16, 16), BOXES)
        assert masks.shape == [4, 1, 16, 16] and iou.shape == [4, 1]
        grads = jt.grad((masks * var(*masks.shape)).sum() + (iou * var(*iou.shape)).sum(), [state[key] for key in trained])
        jt.sync(grads)
    model.eval()
    assert [key for key, grad in zip(trained, grads) if not np.abs(grad.numpy()).max() > 0] == []
