"""What SAM 2 does with frames, at a tiny size: which memories count, objects that are not there, the choice of a mask."""

import dataclasses

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from inference.segment.memory_bank import memory_slots, pointer_times
from models import cpu
from models.sam2.build import build
from models.sam2.config import CONFIGS, HieraConfig
from models.sam2.sam2_base import NO_OBJ_SCORE

RNG = np.random.default_rng(0)
TINY = {
    "trunk": HieraConfig(8, 1, (1, 1, 2, 1), (8, 4, 6, 2), (3,)),
    "preprocessing": dataclasses.replace(CONFIGS["sam2-nano"].preprocessing, image_size=64, prompt_size=64),
    "prompt_dim": 16, "memory_dim": 8, "memory_layers": 1, "memory_mlp_dim": 16, "num_maskmem": 3, "decoder_heads": 2,
    "decoder_mlp_dim": 16, "mask_in_chans": 4,
}


def tiny(**changes):
    """Weights by which what goes in shows in what comes out: all objects are there, all memories are looked at."""
    model = build("sam2-nano", **(TINY | changes))
    rng = np.random.default_rng(1)
    for key, var in model.state_dict().items():
        if "norm" not in key:
            inputs = np.prod(var.shape[1:]) if var.ndim > 1 else 4
            scale = (0.05 if "cross_attn_image.q_proj" in key else 1.5) / np.sqrt(inputs)
            var.assign(jt.array(rng.standard_normal(var.shape, np.float32) * np.float32(scale)))
    model.sam_mask_decoder.pred_obj_score_head.layers[2].bias.assign(jt.array(np.array([100], np.float32)))
    return model


def images(count):
    return [jt.array(RNG.standard_normal((1, 3, 64, 64), np.float32)) for _ in range(count)]


def squares(*corners):
    """Masks float32 (N, 1, 64, 64) with ones from (y, x) to (y, x) + 24."""
    masks = np.zeros((len(corners), 1, 64, 64), np.float32)
    for mask, (y, x) in zip(masks, corners):
        mask[0, y:y + 24, x:x + 24] = 1
    return jt.array(masks)


def track(model, frames, masks, order=None, reverse=False):
    """Outputs by frame; masks are given for the first in order."""
    order, conditioned, others = order or list(range(len(frames))), {}, {}
    with cpu.installed():
        for frame in order:
            maps = model.forward_image(frames[frame])
            if not conditioned:
                conditioned[frame] = model.track_step(frame, maps, {}, {}, len(frames), masks=masks, first=True)
            else:
                others[frame] = model.track_step(frame, maps, conditioned, others, len(frames), reverse=reverse)
    return conditioned | others


def arrays(output):
    return {field.name: getattr(output, field.name).numpy() for field in dataclasses.fields(output)}


def differ(a, b):
    """The largest difference between two outputs, each field by its largest magnitude."""
    a, b = arrays(a), arrays(b)
    return max(np.abs(a[key] - b[key]).max() / np.abs(a[key]).max() for key in a)


def test_which_masks_are_looked_at():
    """Reference/04 section 7: prompted frames by row 6, then distance 6 (row 5) .. distance 1 (row 0)."""
    others = set(range(1, 20))
    assert memory_slots(10, [0], others, 7) == [(0, 6), (4, 5), (5, 4), (6, 3), (7, 2), (8, 1), (9, 0)]
    assert memory_slots(2, [0, 30], others, 7) == [(0, 6), (30, 6), (1, 0)]
    assert memory_slots(10, [20], others, 3, reverse=True) == [(20, 2), (12, 1), (11, 0)]


def test_which_pointers_are_looked_at():
    """At most 16, time in 15ths; of few frames, in their number less one. Prompted frames only from before."""
    others = set(range(1, 20))
    assert pointer_times(18, [0], others, 30, 16) == [(0, 18 / 15)] + [(18 - d, d / 15) for d in range(1, 16)]
    assert pointer_times(3, [0, 5], {1, 2}, 6, 16) == [(0, 3 / 5), (2, 1 / 5), (1, 2 / 5)]
    assert pointer_times(3, [0, 5], {1, 2, 4}, 6, 16, reverse=True) == [(5, 2 / 5), (4, 1 / 5)]
    assert pointer_times(1, [0], set(), 2, 16) == [(0, 1)]


def test_backwards_is_forwards_in_the_mirror():
    model, frames, masks = tiny(), images(4), squares((8, 16))
    forwards = track(model, frames, masks)
    backwards = track(model, frames[::-1], masks, order=[3, 2, 1, 0], reverse=True)
    assert max(differ(forwards[frame], backwards[3 - frame]) for frame in range(4)) < 1e-5
    assert differ(forwards[1], forwards[2]) > 1e-2


def test_objects_do_not_see_each_other():
    model, frames = tiny(), images(3)
    together = track(model, frames, squares((8, 16), (30, 2)))
    for index, corner in enumerate(((8, 16), (30, 2))):
        alone = track(model, frames, squares(corner))
        for frame in range(3):
            got, expected = arrays(together[frame]), arrays(alone[frame])
            assert all(np.abs(got[key][index] - expected[key][0]).max() < 1e-4 * np.abs(expected[key]).max() for key in got)


def test_in_eval_mode_a_frame_leaves_no_graph():
    model, frames = tiny(), images(4)
    live = []
    conditioned, others = {}, {}
    for frame in range(4):
        maps = model.forward_image(frames[frame])
        masks = None if frame else squares((8, 16))
        output = model.track_step(frame, maps, conditioned, others, 4, masks=masks)
        others, conditioned = ({frame: output}, conditioned) if frame else ({}, {0: output})
        assert all(value.is_stop_grad() for value in vars(output).values())
        del maps, output
        live.append(jt.liveness_info()["lived_ops"])
    assert live[1:] == live[1:2] * 3


def test_in_train_mode_gradients_flow_through_the_memory():
    model, frames = tiny(), images(2)
    model.train()
    outputs = track(model, frames, squares((8, 16)))
    wanted = [model.memory_encoder.out_proj.weight, model.maskmem_tpos_enc, model.obj_ptr_tpos_proj.weight]
    gradients = jt.grad((outputs[1].low_res_masks ** 2).mean(), wanted)
    assert all(np.abs(gradient.numpy()).max() > 0 for gradient in gradients)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_an_object_that_is_not_there(version):
    """Its score is at or below 0: no mask, its pointer is the one for absence, and so says its memory (in 2.1)."""
    model = tiny(version=version)
    last = model.sam_mask_decoder.pred_obj_score_head.layers[2]
    last.weight.assign(last.weight * 0)
    last.bias.assign(last.bias * 0)
    maps = model.forward_image(images(1)[0])
    points = jt.array(np.array([[[30, 30]]], np.float32)), jt.array(np.array([[1]], np.int32))
    output = model.track_step(0, maps, {}, {}, 1, points, first=True)
    assert (output.object_score_logits.numpy() == 0).all()
    assert all((mask.numpy() == NO_OBJ_SCORE).all() for mask in (output.low_res_multimasks, output.high_res_masks))
    assert (output.obj_ptr.numpy() == model.no_obj_ptr.numpy()).all()
    masks = jt.zeros([1, 1, 64, 64])
    absent, present = (model.encode_new_memory(maps[2], masks, jt.array(np.array([[score]], np.float32))).numpy()
                       for score in (0, 1))
    expected = model.no_obj_embed_spatial.numpy().reshape(1, 8, 1, 1) if version == "2.1" else 0
    assert np.abs(absent - present - expected).max() < 1e-5


def test_an_empty_mask_is_an_absent_object():
    model = tiny()
    output = model.use_mask_as_output(model.forward_image(images(1)[0])[2], jt.zeros([1, 1, 64, 64]))
    assert all(np.allclose(var.numpy(), -10) for var in (output.object_score_logits, output.low_res_masks))
    assert (output.obj_ptr.numpy() == model.no_obj_ptr.numpy()).all()


@pytest.mark.parametrize("dynamic, multimask, chosen", [(True, False, [0, 3]), (False, False, [0, 0]), (True, True, [2, 3])])
def test_the_choice_of_a_mask(dynamic, multimask, chosen, monkeypatch):
    """Two objects, the one mask of the second is unstable: three of its four pixels are within 0.05 of 0."""
    model = tiny(dynamic_multimask=dynamic)
    masks = np.full((2, 4, 16, 16), 5, np.float32) + np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    masks[1, 0, :, 4:] = -0.04
    ious = np.array([[0.9, 0.1, 0.5, 0.2], [0.9, 0.3, 0.2, 0.4]], np.float32)
    pointers = RNG.standard_normal((2, 4, 16), np.float32)
    answer = [jt.array(array) for array in (masks, ious, pointers, np.ones((2, 1), np.float32))]
    monkeypatch.setattr(model, "predict_all", lambda *_: answer)
    output = model.forward_sam_heads(None, None, multimask_output=multimask)
    rows = np.arange(2)
    assert (output.low_res_masks.numpy()[:, 0] == masks[rows, chosen]).all()
    assert (output.obj_ptr.numpy() == pointers[rows, chosen if multimask else 0]).all()
    expected = (masks[:, 1:], ious[:, 1:]) if multimask else (masks[rows, chosen][:, None], ious[rows, chosen][:, None])
    assert all((got.numpy() == want).all() for got, want in zip((output.low_res_multimasks, output.ious), expected))
    assert output.high_res_masks.shape == [2, 1, 64, 64]


def test_masks_of_prompted_frames_are_remembered_as_0_and_1():
    model, logits = tiny(), jt.array(np.array([-2, 0, 1], np.float32))
    assert model.mask_for_memory(logits, from_points=True).numpy().tolist() == [0, 0, 1]
    for soft in (model.mask_for_memory(logits, False), tiny(binarize_mask_from_pts=False).mask_for_memory(logits, True)):
        assert np.allclose(soft.numpy(), 1 / (1 + np.exp([2, 0, -1])))
