"""The denoiser as a whole: every part takes part, and self-conditioning is what it says."""

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from inference.diffusion.schedule import Diffusion
from models import cpu
from models.medsegdiff.build import build
from models.medsegdiff.self_conditioning import predict

TINY = {"image_size": 16, "dim": 8, "dim_mults": (1, 2), "cond_patch_size": 2, "cond_depth": 1}


def tiny(**changes):
    """Random throughout, also where a fresh network has zeros."""
    rng = np.random.default_rng(0)
    model = build("medsegdiff-nano", **TINY | changes)
    for key, var in model.state_dict().items():
        if key.split(".")[-1] not in ("g", "ff_parser_attn_map") and ".norm." not in key:
            inputs = np.prod(var.shape[1:]) if var.ndim > 1 else 4
            var.assign(jt.array(rng.standard_normal(var.shape, np.float32) / np.float32(np.sqrt(inputs))))
    return model


def inputs(batch=2, channels=3):
    rng = np.random.default_rng(1)
    mask, image, guess = (rng.uniform(-1, 1, (batch, count, 16, 16)).astype(np.float32) for count in (1, channels, 1))
    return jt.array(mask), jt.array(np.arange(batch) * 40 + 3), jt.array(image), jt.array(guess)


def output(model, *arguments):
    with jt.no_grad():
        return model(*arguments).numpy().copy()


def copied(model, other):
    """`other` with the weights of `model` where it has such."""
    for key, var in other.state_dict().items():
        var.assign(model.state_dict()[key])
    return other


def test_images_do_not_see_each_other():
    model, arguments = tiny(), inputs()
    both = output(model, *arguments)
    assert both.shape == (2, 1, 16, 16)
    assert np.abs(output(model, *(x[1:] for x in arguments)) - both[1:]).max() < 1e-4 * np.abs(both).max()


def test_every_parameter_takes_gradients():
    """Also the attention of both encoders, which the earlier port never called, and the FF-Parser, which it cut off. (Biases
    before these norms, of one channel a group, are without effect.)"""
    model = tiny()
    model.train()
    x, time, image, guess = inputs()
    state = model.state_dict()
    loss = model(x, time, image, guess).sqr().sum()
    gradients = dict(zip(state, jt.grad(loss, list(state.values()))))
    jt.sync(list(gradients.values()))
    sizes = {key: np.abs(gradient.numpy()).max() for key, gradient in gradients.items()}
    without = [key for key, size in sizes.items() if not size > 1e-6 * max(sizes.values())]
    assert all(key.endswith(".proj.bias") for key in without), without


def test_attention_is_added_to_its_input_everywhere():
    """An attention that says nothing leaves the network without attention."""
    model, arguments = tiny(), inputs()
    bare = tiny(attention=False)
    bare.mid_transformer = model.mid_transformer  # its feed-forward stays
    for key, var in model.state_dict().items():
        if ".to_out." in key and not key.startswith("conditioners."):
            var.assign(jt.zeros_like(var))
    assert np.abs(output(copied(model, bare), *arguments) - output(model, *arguments)).max() < 1e-5


@pytest.mark.parametrize("switch", ["ff_parser", "dynamic_encoding", "attention", "self_condition"])
def test_ablations_change_the_answer(switch):
    model, arguments = tiny(), inputs()
    other = tiny(**{switch: False})
    if switch == "self_condition":
        copied_state = {key: var for key, var in model.state_dict().items() if key != "init_conv.weight"}
        for key, var in copied_state.items():
            other.state_dict()[key].assign(var)
        # What is left is the network whose guess is zero.
        other.init_conv.weight.assign(model.init_conv.weight[:, 1:])
        same = output(model, *arguments[:3])
        assert np.abs(output(other, *arguments) - same).max() < 1e-5 * np.abs(same).max()
    else:
        copied(model, other)
    assert np.abs(output(other, *arguments) - output(model, *arguments)).max() > 1e-2


def test_without_the_ff_parser_is_with_a_map_of_ones():
    """That is what an FF-Parser starts as; and without dynamic encoding the noisy mask has no say in the image's features."""
    arguments = inputs()
    static = tiny(disable_ff_parser=True)
    same = output(static, *arguments)
    assert np.abs(output(copied(static, tiny(ff_parser=False)), *arguments) - same).max() < 1e-4 * np.abs(same).max()


def test_the_ff_parser_alone_adds_the_filtered_features():
    """As it starts it filters nothing: with all maps at one, each level's c becomes c + x; with all at zero, c stays, which is
    the network with neither part."""
    arguments = inputs()
    alone = tiny(dynamic_encoding=False, disable_ff_parser=True)
    x, c = (jt.array(np.random.default_rng(2).standard_normal((2, 8, 16, 16), np.float32)) for _ in range(2))
    with jt.no_grad():
        assert np.abs(alone.conditioners[0](x, c).numpy() - (c + x).numpy()).max() < 1e-5
    for conditioner in alone.conditioners:
        conditioner.ff_parser_attn_map.assign(jt.zeros_like(conditioner.ff_parser_attn_map))
    neither = output(copied(alone, tiny(dynamic_encoding=False, ff_parser=False)), *arguments)
    assert np.abs(output(alone, *arguments) - neither).max() < 1e-5 * np.abs(neither).max()


def test_a_missing_guess_is_zeros():
    model, (x, time, image, _) = tiny(), inputs()
    assert (output(model, x, time, image) == output(model, x, time, image, jt.zeros_like(x))).all()


def test_self_conditioning_is_the_clipped_guess_and_takes_no_gradient():
    """The earlier port let gradients flow through both passes."""
    diffusion = Diffusion(objective="pred_v")
    model = tiny(diffusion=diffusion)
    model.train()
    x, _, image, _ = inputs()
    time = np.array([10, 70])
    abar = diffusion.alphas_cumprod[time].reshape(-1, 1, 1, 1)
    first = output(model, x, jt.array(time), image)
    guess = np.clip(np.sqrt(abar) * x.numpy() - np.sqrt(1 - abar) * first, -1, 1).astype(np.float32)
    assert (np.abs(guess) == 1).any() and (np.abs(guess) < 1).any()
    with_guess = model(x, jt.array(time), image, jt.array(guess))
    got = predict(model, x, time, image, self_condition=True)
    plain = predict(model, x, time, image, self_condition=False)
    assert np.abs(got.numpy() - with_guess.numpy()).max() < 1e-4
    assert np.abs(plain.numpy() - first).max() < 1e-4 and np.abs(got.numpy() - first).max() > 1e-2
    weights = list(model.state_dict().values())
    found, expected = ([gradient.numpy().copy() for gradient in jt.grad(answer.sqr().sum(), weights)]
                       for answer in (got, with_guess))
    largest = max(np.abs(gradient).max() for gradient in expected)
    assert all(np.abs(one - other).max() < 1e-4 * largest for one, other in zip(found, expected))


@pytest.mark.slow
def test_it_learns():
    """One image and mask: the noise is found, and the FF-Parsers' maps move."""
    jt.set_global_seed(0)
    rng = np.random.default_rng(0)
    model = build("medsegdiff-nano", diffusion=Diffusion(objective="pred_noise"), **TINY)
    diffusion = model.config.diffusion
    model.train()
    start = model.conditioners[0].ff_parser_attn_map.numpy().copy()
    mask = np.full((1, 1, 16, 16), -1.0)
    mask[:, :, 4:11, 5:13] = 1
    image = jt.array((mask * 0.5 + rng.normal(0, 0.2, (8, 3, 16, 16))).astype(np.float32)[:1].repeat(8, axis=0))
    optimizer = jt.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    with cpu.installed():
        for _ in range(400):
            time, noise = rng.integers(0, 100, 8), rng.standard_normal((8, 1, 16, 16))
            noisy = jt.array(diffusion.noisy(mask, time, noise).astype(np.float32))
            target = jt.array(diffusion.target(mask, time, noise).astype(np.float32))
            loss = (predict(model, noisy, time, image, bool(rng.integers(2))) - target).sqr().mean()
            optimizer.step(loss)
            losses.append(loss.item())
    print("loss", [f"{np.mean(losses[i:i + 50]):.3f}" for i in range(0, 400, 50)])
    assert min(np.mean(losses[i:i + 50]) for i in range(0, 400, 50)) < 0.05
    assert np.abs(model.conditioners[0].ff_parser_attn_map.numpy() - start).max() > 1e-3
