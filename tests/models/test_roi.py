"""The roi networks: shapes, blocks by hand, weights on disk."""

import jittor as jt
import numpy as np
import pytest
from safetensors.numpy import save_file

import models  # noqa: F401
from models import cpu
from models.roi.blocks import pixel_shuffle, standardise
from models.roi.build import build, load_weights, save_weights
from models.roi.config import CONFIGS, Look

TINY = {
    "roi2d": dict(looks=(Look(((32, 32), (64, 64)), (256,)),), look_for_many=Look(((16, 16), (32, 32)), (48,)),
                  widths=(4, 8), blocks=(1, 1), strides=((2, 2), (2, 2))),
    "roi3d": dict(looks=(Look(((8, 16, 16),)),) * 2, look_for_many=Look(((8, 16, 16),)), widths=(4, 8), blocks=(1, 1),
                  strides=((1, 2, 2), (2, 2, 2))),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_probabilities_of_the_crop_s_own_shape(name):
    net = build(name, **TINY[name])
    inputs = net.example_inputs(2, net.crop_shapes()[0])
    with cpu.installed(), jt.no_grad():
        out = net(**{key: jt.array(value) for key, value in inputs.items()}).numpy()
    assert out.shape == (2, 1, *net.crop_shapes()[0]) and (out > 0).all() and (out < 1).all()
    # A network that ignored an input would be blind to the picture, to the box or to its size.
    for key in inputs:
        changed = {k: jt.array(v if k != key else v * 0.5 + 3) for k, v in inputs.items()}
        with cpu.installed(), jt.no_grad():
            assert np.abs(net(**changed).numpy() - out).max() > 1e-6


def test_pixel_shuffle_by_hand():
    x = jt.array(np.arange(8, dtype=np.float32).reshape(1, 4, 1, 2))
    # Channel k of a pixel is the sub-pixel (k // 2, k % 2).
    assert pixel_shuffle(x, (2, 2)).numpy()[0, 0].tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]
    x = jt.array(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1, 1))
    assert pixel_shuffle(x, (1, 2, 2)).numpy().ravel().tolist() == [0, 1, 2, 3]


def test_standardise():
    x = np.random.default_rng(0).uniform(240, 250, (2, 3, 8, 8)).astype(np.float32)
    got = standardise(jt.array(x)).numpy().astype(float)
    flat = x.reshape(2, -1).astype(float)
    expected = (flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1)
    assert np.abs(got.reshape(2, -1) - expected).max() < 5e-5
    assert not standardise(jt.array(np.full((1, 3, 4, 4), 77, np.float32))).numpy().any()


def test_weights_survive_the_disk_and_a_wrong_file_is_refused(tmp_path):
    net, other = build("roi2d", **TINY["roi2d"]), build("roi2d", **TINY["roi2d"])
    save_weights(net, tmp_path / "a.safetensors")
    facts = load_weights(other, tmp_path / "a.safetensors")
    assert facts == net.facts() and facts["looks"] == "32,32;64,64@256" and facts["look_for_many"] == "16,16;32,32@48"
    for key, value in net.state_dict().items():
        assert (value.numpy() == other.state_dict()[key].numpy()).all()
    arrays = {key: value.numpy() for key, value in net.state_dict().items()}
    arrays["stem.conv.weight"] = arrays["stem.conv.weight"][:, :1].copy()
    arrays["extra"] = arrays.pop("head.bias")
    save_file(arrays, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="missing head.bias; unexpected extra; stem.conv.weight is"):
        load_weights(other, tmp_path / "b.safetensors")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="roi9.*known: roi2d, roi3d"):
        build("roi9")
