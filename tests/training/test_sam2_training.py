"""Clips by hand, and a tiny SAM 2 that learns one."""

import dataclasses

import numpy as np
import pytest

from models.sam2.config import CONFIGS, HieraConfig
from training.data import Dataset, Item
from training.recipe import RecipeError, read_recipe
from training.sam2 import samples

TINY = dataclasses.replace(
    CONFIGS["sam2-nano"], name="sam2-tiny", trunk=HieraConfig(8, 1, (1, 1, 2, 1), (8, 4, 4, 2), (3,), patch_stride=2),
    preprocessing=dataclasses.replace(CONFIGS["sam2-nano"].preprocessing, image_size=64, prompt_size=64), prompt_dim=16,
    memory_dim=8, memory_layers=1, memory_mlp_dim=16, num_maskmem=3, decoder_heads=2, decoder_mlp_dim=16,
    mask_in_chans=8)  # of four a quarter would be one, which a layer norm makes constant
RECIPE = """task = "sam2"
model = "sam2-tiny"
frames = 3
image_size = 32
few_shot = {few_shot}
shared_labels = ["discs", "rods"]
boxes = {boxes}
batch = 2
steps = 4
warmup_steps = 1
learning_rate = 3e-3
weight_decay = 0.0
ema_decay = 0.9
seed = 4
validate_every = 2
checkpoint_every = 2
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIGS, "sam2-tiny", TINY)

    def read(few_shot=0.0, boxes=0.5, **changes):
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.format(few_shot=few_shot, boxes=boxes))
        return dataclasses.replace(read_recipe(path), **changes)

    return read


def disc(case):
    """An image that is its own mask, brighter inside; label 1 left, label 2 right of it."""
    y, x = np.mgrid[:60, :80]
    gts = np.zeros((60, 80), np.uint8)
    gts[(y - 25 - case) ** 2 + (x - 25) ** 2 < 120] = 1
    gts[(y - 30) ** 2 + (x - 58) ** 2 < 90] = 2
    return Item(f"disc{case}", (gts > 0).astype(np.uint8) * 200, gts, np.array([1, 2]))


def rod(case):
    """A volume whose slice z has the grey value 10 z; label 1 on slices 4..11."""
    gts = np.zeros((16, 40, 40), np.uint8)
    gts[4:12, 10:30, 15:25] = 1
    image = np.zeros(gts.shape, np.uint8) + 10 * np.arange(16, dtype=np.uint8)[:, None, None]
    return Item(f"rod{case}", image, gts, np.array([1]))


@pytest.fixture
def datasets():
    return [Dataset("US", "discs", [disc(case) for case in range(4)], [disc(5)]),
            Dataset("CT", "rods", [rod(case) for case in range(3)], [rod(3), rod(4)])]


def test_a_sample(recipe, datasets):
    for index in range(12):
        frames, masks, box, kind = samples.make_sample(recipe(few_shot=0.5), datasets, 3, index)
        assert frames.shape == (3, 3, 32, 32) and frames.dtype == np.float32
        assert masks.shape == (3, 1, 32, 32) and set(np.unique(masks)) <= {0, 1}
        y, x = np.nonzero(masks[0, 0])
        assert (box[:2] <= (x.min(), y.min())).all() and (box[2:] >= (x.max(), y.max())).all()
        assert (box[:2] >= (x.min() - 3, y.min() - 3)).all() and (box[2:] <= (x.max() + 3, y.max() + 3)).all()
        again = samples.make_sample(recipe(few_shot=0.5), datasets, 3, index)
        assert all(np.array_equal(a, b) for a, b in zip((frames, masks, box, kind), again))


def test_a_batch_has_one_kind_of_prompt(recipe, datasets):
    by_step = [{float(samples.make_sample(recipe(), datasets, step, index)[3]) for index in range(3)} for step in range(8)]
    assert all(len(kinds) == 1 for kinds in by_step) and set.union(*by_step) == {samples.MASK, samples.BOX}


def test_slices_of_a_volume():
    """Grey values tell which: in even steps either way, on from the last slice once it is reached."""
    for seed in range(30):
        planes = samples.clip_of(rod(0), 1, 6, 3, np.random.default_rng(seed))
        zs = np.array([image[0, 0] // 10 for image, _ in planes], int)
        assert 4 <= zs[0] <= 11
        step = zs[1] - zs[0]
        assert 1 <= abs(step) <= 3
        np.testing.assert_array_equal(zs, np.clip(zs[0] + step * np.arange(6), 0, 15))
        assert [mask.any() for _, mask in planes] == [4 <= z <= 11 for z in zs]


def test_an_image_is_deformed_more_and_more():
    item = disc(0)
    for seed in range(5):
        planes = samples.deformed(item.image, item.gts > 0, 4, np.random.default_rng(seed))
        np.testing.assert_array_equal(planes[0][0], item.image)
        np.testing.assert_array_equal(planes[0][1], item.gts > 0)
        moved = [(mask != planes[0][1]).sum() for _, mask in planes]
        assert moved[1] < moved[3]
        for image, mask in planes:  # mask and image move together, but for what interpolation blurs
            assert ((image > 100) != mask).mean() < 0.02


def test_across_cases_a_label_stays(recipe):
    discs = [disc(case) for case in range(4)]
    for seed in range(10):
        planes = samples.across_cases(discs, 3, np.random.default_rng(seed))
        centres = [np.flatnonzero(mask.any(axis=0)).mean() for _, mask in planes]
        assert np.ptp(centres) < 1  # label 1 is always left, label 2 right
        assert len({np.flatnonzero(mask.any(axis=1))[0] for _, mask in planes}) == (3 if centres[0] < 40 else 1)
    planes = samples.across_cases([rod(case) for case in range(3)], 3, np.random.default_rng(0))
    assert np.ptp([image[0, 0] // 10 for image, _ in planes]) <= 4


def test_validation_holds_out(recipe, datasets):
    found = samples.make_validation(recipe(), datasets)
    assert {name for _, name, _, _ in found} == {"discs", "rods", "discs few-shot", "rods few-shot"}
    assert all(masks[0].any() for *_, masks in found)


@pytest.mark.parametrize("text, message", [("image_size = 40", "image_size must be a multiple of 16; got 40"),
                                           ("frames = 1", "frames must be at least 2; got 1"),
                                           ("boxes = 1.5", "boxes must be 0..1; got 1.5")])
def test_recipes_are_checked(recipe, tmp_path, text, message):
    key = text.split(" ")[0]
    path = tmp_path / "wrong.toml"
    lines = RECIPE.format(few_shot=0.0, boxes=0.5).splitlines()
    path.write_text("\n".join(text if line.startswith(key) else line for line in lines))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def test_it_learns_a_clip_by_mask_and_by_box(recipe, datasets, tmp_path):
    """The same two batches again and again: losses fall, and every parameter that is used takes a gradient."""
    from training.trainer import Trainer

    recipe = recipe(steps=24)
    trainer = Trainer(recipe, tmp_path)
    before = {name: var.numpy() for name, var in trainer.net.state_dict().items()}
    kinds = {}
    for step in range(20):
        batch = [samples.make_sample(recipe, datasets, step, index) for index in range(2)]
        kinds.setdefault(int(batch[0][3]), [np.stack(arrays) for arrays in zip(*batch)])
    assert set(kinds) == {samples.MASK, samples.BOX}
    history = {kind: [] for kind in kinds}
    for _ in range(12):
        for kind, arrays in kinds.items():
            history[kind].append(sum(term.item() for term in trainer._train_on(arrays).values()))
    for losses in history.values():
        assert np.isfinite(losses).all() and np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    still = {name for name, var in trainer.net.state_dict().items() if np.array_equal(var.numpy(), before[name])}
    unused = ("no_mem_pos_enc", "mask_downscaling", "background", "positional_encoding_gaussian_matrix", "point_embeddings.0",
              "point_embeddings.1", "neck.convs.0", "output_hypernetworks_mlps",  # of masks that never were the best
              "no_obj_embed_spatial")  # of frames where the object was thought to be absent
    assert {name for name in still if not any(part in name for part in unused)} == set()
    scores = trainer.validate(samples.make_validation(recipe, datasets))
    assert 0 <= scores["macro"] <= 1 and "US/discs few-shot" in scores


def test_at_first_a_token_looks_at_its_own_place(recipe):
    """Where nothing is to be seen, and values are their own row and column, what attention finds is where it looks."""
    import jittor as jt

    from models.sam2.position_encoding import rotation
    from training.sam2 import task

    network = task.build(recipe(model="sam2-nano"))
    for layer in network.memory_attention.layers:
        attention, side = layer.cross_attn_image, 16
        channels, memory_channels = attention.v_proj.weight.shape
        attention.v_proj.weight.assign(jt.array(np.eye(channels, memory_channels, dtype=np.float32)))
        attention.out_proj.weight.assign(jt.array(np.eye(channels, dtype=np.float32)))
        for projection in (attention.v_proj, attention.out_proj):
            projection.bias.assign(jt.zeros(channels))
        places = np.stack(np.divmod(np.arange(side * side), side), axis=1).astype(np.float32)
        values = np.zeros((1, side * side, memory_channels), np.float32)
        values[0, :, :2], values[0, :, 2:4] = places, places**2
        with jt.no_grad():
            nothing = jt.zeros([1, side * side, channels])
            found = attention(nothing, jt.zeros(values.shape), jt.array(values), rotation(channels, side)).numpy()[0]
        variance = found[:, 2:4] - found[:, :2] ** 2
        assert np.abs(found[:, :2] - places).max() < 1 and variance.max() < 2
