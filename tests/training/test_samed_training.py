"""Training of the SAMed family: samples by hand, losses against goldens, what each way of adapting trains, files."""

import dataclasses
import math
import pathlib
from types import SimpleNamespace

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models import cpu
from models.sam.build import build as build_sam
from models.sam.build import save_weights as save_sam
from models.samed.build import build, load_weights
from models.samed.config import CONFIGS, SamedConfig
from models.samed.lora_file import lora_state
from tests.training.test_sam_training import filled
from training import data
from training.loader import make_batch
from training.recipe import RecipeError, read_recipe
from training.samed import __main__ as command
from training.samed import task
from training.samed.losses import cross_entropy_and_dice
from training.samed.samples import low_resolution, make_validation, turn
from training.samed.slices import plane, planes_of, read_datasets
from training.schedule import learning_rate

REPO = pathlib.Path(__file__).resolve().parents[2]
# 32 px: 4 x 4 tokens, logits of 16 x 16.
TINY = SamedConfig("samed-tiny", "medsam-nano", 32, ("ring", "core"))
RECIPE = """task = "samed"
model = "samed-tiny"
base_weights = "{base}"
adapt = "{adapt}"
datasets = ["{dataset}"]
labels = {labels}
batch = 2
steps = 3
warmup_steps = 1
learning_rate = 1e-3
weight_decay = 0.1
ema_decay = 0.9
seed = 4
validate_every = 3
checkpoint_every = 3
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(CONFIGS, TINY.name, TINY)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Weights of medsam-nano, which nobody has trained."""
    jt.set_global_seed(0)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_sam(build_sam("medsam-nano"), path)
    return path


@pytest.fixture
def recipe(tmp_path, base):
    def read(adapt="lora", dataset="rings", labels=(3, 7), **changes):
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.format(base=base, adapt=adapt, dataset=dataset, labels=list(labels)))
        return dataclasses.replace(read_recipe(path), **changes)

    return read


@pytest.fixture
def folder(tmp_path):
    """Rings (3) around cores (7), beside them what is no class (5); and a volume whose first slice is empty."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    for name in ("rings", "other"):
        (tmp_path / "data" / "MR" / name).mkdir(parents=True)
    for number in range(14):
        distance = np.hypot(y - rng.integers(15, 25), x - rng.integers(15, 25))
        gts = np.select([distance < 5, distance < 10, x > 40], [7, 3, 5], 0).astype(np.uint8)
        imgs = np.choose(np.searchsorted([0, 3, 5, 7], gts), [10, 200, 60, 120]).astype(np.uint8)
        np.savez(tmp_path / "data" / "MR" / "rings" / f"2DBox_MR_rings_{number}.npz", imgs=imgs, gts=gts)
    np.savez(tmp_path / "data" / "MR" / "rings" / "3DBox_MR_rings_v.npz", imgs=np.stack([imgs * 0, imgs]),
             gts=np.stack([gts * 0, gts]), spacing=[1, 1, 1])
    np.savez(tmp_path / "data" / "MR" / "other" / "2DBox_MR_other_0.npz", imgs=imgs, gts=gts)
    return tmp_path / "data"


def test_losses_have_the_values_of_the_original():
    """Reference 05, section 11."""
    logits = jt.array(6 * filled("lg", (2, 9, 8, 8)) - 3)
    classes = np.floor(9 * filled("lab", (2, 8, 8))).astype(np.int32)
    cross_entropy, dice = (value.item() for value in cross_entropy_and_dice(logits, jt.array(classes)))
    assert cross_entropy == pytest.approx(3.392267, abs=2e-6) and dice == pytest.approx(0.834391, abs=2e-6)
    recipe = SimpleNamespace(cross_entropy=0.2, dice=0.8)
    terms = task.losses(lambda pictures: {"low_res_logits": logits}, recipe, None, jt.array(classes.astype(np.uint8)))
    assert sum(terms.values()).item() == pytest.approx(1.345966, abs=2e-6)
    flat, _ = cross_entropy_and_dice(logits * 0, jt.array(classes))
    assert flat.item() == pytest.approx(math.log(9), abs=1e-6)


def test_gradients_are_the_slope_of_the_loss():
    logits = np.random.default_rng(0).normal(0, 2, (2, 3, 4, 4)).astype(np.float32)
    classes = jt.array(np.random.default_rng(1).integers(0, 3, (2, 4, 4)).astype(np.int32))

    def loss(values):
        return sum(cross_entropy_and_dice(values, classes))

    values = jt.array(logits)
    gradient = jt.grad(loss(values), values).numpy()
    for index in ((0, 0, 1, 2), (1, 2, 3, 3)):
        step = np.zeros_like(logits)
        step[index] = 1e-2
        rise = [loss(jt.array(logits + sign * step)).item() for sign in (1, -1)]
        assert gradient[index] == pytest.approx((rise[0] - rise[1]) / 2e-2, rel=0.02, abs=2e-5)


def test_learning_rates_of_the_published_recipe():
    """Reference 05, section 11; the published log has the rate of the next step."""
    recipe = read_recipe(REPO / "training" / "recipes" / "samed.toml")
    assert learning_rate(recipe, 0) == pytest.approx(2e-5)
    assert learning_rate(recipe, 249) == pytest.approx(5e-3) and learning_rate(recipe, 250) == pytest.approx(5e-3)
    assert learning_rate(recipe, 10_000) == pytest.approx(0.00256246, rel=1e-5)
    assert recipe.steps == 160 * 93 and learning_rate(recipe, 14_879) == pytest.approx(5e-3 * (1 - 14_629 / 18_600) ** 0.9)


def test_a_sample_is_the_runtime_s_picture_with_classes_where_the_logits_lie(recipe, folder):
    datasets = read_datasets(folder, recipe())
    assert [dataset.name for dataset in datasets] == ["rings"]
    pictures, classes = make_batch(recipe(batch=24), datasets, 0)
    assert pictures.shape == (24, 3, 32, 32) and pictures.dtype == np.float32
    assert classes.shape == (24, 16, 16) and set(np.unique(classes)) == {0, 1, 2}
    grey = pictures[:, 0].reshape(24, 16, 2, 16, 2).mean(axis=(2, 4))
    for number, value in ((1, 200 / 255), (2, 120 / 255)):
        assert np.median(grey[classes == number]) == pytest.approx(value, abs=0.05)
    again = make_batch(recipe(batch=24), datasets, 0)
    assert (again[0] == pictures).all() and (again[1] == classes).all()


def test_slices_without_labels_are_drawn_too(recipe, folder):
    volume = next(item for item in data.read_datasets(folder, 2)[-1].train if item.gts.ndim == 3)
    assert planes_of(volume) == [0, 1]
    assert not plane(recipe(), volume, 0)[1].any() and set(np.unique(plane(recipe(), volume, 1)[1])) == {0, 1, 2}


def test_classes_lie_where_the_logits_are_enlarged_to():
    # The tiny model's logits 0..15 are enlarged to 32 px; pixel p of the picture is p * 47 / 31 of 48 columns. Logit 3 covers
    # pixels 6 and 7, whose middle 6.5 is column 9.85.
    classes = np.tile(np.arange(48, dtype=np.uint8), (32, 1))
    found = low_resolution("samed-tiny", classes)
    assert found.shape == (16, 16) and found[0, 3] == 10
    assert found[0].tolist() == [int((2 * i + 0.5) * 47 / 31 + 0.5) for i in range(16)]


def test_turns_keep_image_and_classes_together():
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    kinds = set()
    for seed in range(40):
        turned, classes = turn(image, image.copy(), np.random.default_rng(seed))
        assert (turned == classes).all()
        kinds.add(turned.tobytes() + bytes(turned.shape))
    whole = [kind for kind in kinds if sorted(kind[:35]) == list(range(35))]
    # As it is, or turned by quarters and then mirrored along one axis, which makes four different pictures.
    assert len(whole) == 5 and len(kinds) > len(whole)


def test_the_flat_folder_of_slices(recipe, tmp_path):
    (tmp_path / "flat" / "train_npz").mkdir(parents=True)
    image, label = np.linspace(0, 1, 20 * 24, dtype=np.float32).reshape(20, 24), np.zeros((20, 24), np.float32)
    label[4:9, 6:12] = 7
    for case, slices in (("case0005", 3), ("case0002", 2)):
        for z in range(slices):
            np.savez(tmp_path / "flat" / "train_npz" / f"{case}_slice{z:03d}.npz", image=image, label=label * (z > 0))
    flat = recipe(dataset="Synapse")
    for root in (tmp_path / "flat", tmp_path / "flat" / "train_npz"):
        (dataset,) = read_datasets(root, flat)
        # Held out by its name, as the only one of the two.
        assert [case.name for case in dataset.train] == ["case0005"]
        assert [case.name for case in dataset.held_out] == ["case0002"]
    pictures, classes = make_batch(dataclasses.replace(flat, batch=6), [dataset], 0)
    assert 0.95 < pictures.max() < 1.3 and set(np.unique(classes)) == {0, 2}
    samples = make_validation(flat, [dataset])
    assert [sample[:2] for sample in samples] == [("Synapse", "case0002")] * 2
    np.savez(dataset.train[0].paths[0], image=image * 255, label=label)
    with pytest.raises(ValueError, match="case0005_slice000.npz: image must be"):
        dataset.train[0].plane(0)


def test_a_dataset_that_is_not_there_is_named(recipe, folder):
    with pytest.raises(ValueError, match="datasets must be some of other, rings; got hearts"):
        read_datasets(folder, recipe(dataset="hearts"))


def test_cases_that_were_renumbered(recipe, folder):
    gapless = dataclasses.replace(recipe(labels=(2, 3)), gapless=((2, 3),))
    with pytest.raises(ValueError, match="rings: gapless does not say"):
        read_datasets(folder, gapless)  # cases of three labels
    gapless = dataclasses.replace(gapless, gapless=((1, 2, 3),))
    (dataset,) = read_datasets(folder, gapless)
    # 3, 5, 7 stand for 1, 2, 3: the classes are 5 and 7.
    assert (plane(gapless, dataset.train[0], None)[1] == np.select(
        [dataset.train[0].gts == 5, dataset.train[0].gts == 7], [1, 2], 0)).all()


@pytest.mark.parametrize("change, message", [
    (('adapt = "lora"', 'adapt = "all"'), "adapt must be one of lora, decoder, full; got 'all'"),
    (("labels = [3, 7]", "labels = [3]"), r"labels must be 2 different numbers from 1, those of ring, core; got \[3\]"),
    (("labels = [3, 7]", "labels = [3, 7]\ngapless = [[2, 1]]"), "gapless must be lists of ascending labels"),
    (('datasets = ["rings"]', "datasets = []"), "datasets must name at least one"),
    (("batch = 2", 'batch = 2\nleave_out = ["rings"]'), "leave_out must be empty, datasets says what is used"),
    (("batch = 2", "batch = 2\ncross_entropy = 0.0\ndice = 0.0"), "cross_entropy and dice must not be below 0"),
])
def test_recipe_errors(tmp_path, base, change, message):
    path = tmp_path / "bad.toml"
    path.write_text(RECIPE.format(base=base, adapt="lora", dataset="rings", labels=[3, 7]).replace(*change))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def count(state):
    return sum(var.numel() for var in state.values())


def test_how_many_parameters_are_trained():
    """Reference 05, sections 2 and 12."""
    samed, small = build("samed"), build("samed-s")
    assert count(task.adapted_state(samed, "lora")) == 4_913_621
    assert count(task.adapted_state(samed, "decoder")) == 6_220 + 4_759_945
    assert count(task.adapted_state(samed, "full")) == 92_045_013
    assert count(task.adapted_state(small, "lora")) == 1_645_909
    assert count(task.adapted_state(small, "decoder")) == 6_220 + 1_468_681
    # Section 14: gradients for 48 LoRA tensors, no_mask_embed and 144 of the decoder, less those of the predicted IoU.
    assert len(task.trained(samed, SimpleNamespace(adapt="lora"))) == 193
    nano = build("samed-nano")
    assert count(task.adapted_state(nano, "lora")) - count(task.adapted_state(nano, "decoder")) == 6 * 4 * 128 * 4


LORA, PROMPTS, DECODER, ENCODER = "lora", "prompt_encoder", "mask_decoder", "image_encoder"


def part_of(key):
    return LORA if ".linear_" in key else key.split(".")[1]


@pytest.mark.parametrize("adapt, parts", [("lora", {LORA, PROMPTS, DECODER}), ("decoder", {PROMPTS, DECODER}),
                                          ("full", {ENCODER, PROMPTS, DECODER})])
def test_a_few_steps_lower_the_loss_and_change_what_they_should(recipe, folder, adapt, parts):
    recipe = recipe(adapt)
    jt.set_global_seed(1)
    network = task.build(recipe)
    network.train()
    before = {key: var.numpy().copy() for key, var in network.state_dict().items()}
    optimizer = jt.optim.AdamW(task.trained(network, recipe), lr=2e-3, weight_decay=0.1)
    pictures, classes = map(jt.array, make_batch(recipe, read_datasets(folder, recipe), 0))
    found = []
    with cpu.installed():
        for _ in range(4):
            loss = sum(task.losses(network, recipe, pictures, classes).values())
            optimizer.step(loss)
            found.append(loss.item())
    assert found[-1] < found[0] - 0.02
    changed = {key for key, var in network.state_dict().items() if (var.numpy() != before[key]).any()}
    assert {part_of(key) for key in changed} == parts
    # What has no gradient must not decay either.
    assert {key for key in changed if part_of(key) == PROMPTS} == {"sam.prompt_encoder.no_mask_embed.weight"}
    assert not any("iou_prediction_head" in key for key in changed)
    assert "sam.mask_decoder.mask_tokens.weight" in changed


def test_scores_by_hand():
    truth = np.zeros((2, 4, 4), np.uint8)
    truth[0, :2], truth[1, 0] = 1, 2
    logits = np.zeros((2, 3, 4, 4), np.float32)
    logits[0, 1, 1:3], logits[1, 2, 0], logits[1, 1, 3] = 1, 1, 1
    network = SimpleNamespace(config=TINY)
    samples = [("d", case, np.zeros((3, 4, 4), np.float32), true) for case, true in zip("ab", truth)]

    class Network:
        config = TINY

        def __call__(self, pictures):
            return {"masks": jt.array(logits[:len(pictures)])}

    network = Network()
    scores = task.score(network, samples, SimpleNamespace(batch=2))
    # ring: half of it in case a, false in case b; core: all of it, in case b alone.
    assert scores == {"d/ring": pytest.approx((0.5 + 0) / 2), "d/core": 1, "macro": pytest.approx(0.625)}
    volume = [(dataset, "v", *rest) for dataset, _, *rest in samples]
    assert task.score(network, volume, SimpleNamespace(batch=2))["d/ring"] == pytest.approx(2 * 4 / (8 + 12))
    assert task.score(network, [], SimpleNamespace(batch=2)) == {}


def test_a_base_that_is_not_there_is_named(recipe, tmp_path):
    with pytest.raises(ValueError, match="base_weights must be a file, the safetensors of medsam-nano; got 'none'"):
        task.build(recipe(base_weights="none"))
    (tmp_path / "no.safetensors").write_bytes(b"12345678 no")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        task.build(recipe(base_weights=str(tmp_path / "no.safetensors")))


def test_what_was_trained_goes_to_the_samed_repository_and_back(recipe, base, tmp_path, capsys):
    network = task.build(recipe())
    rng = np.random.default_rng(0)
    for var in lora_state(network).values():
        var.assign(jt.array(rng.standard_normal(list(map(int, var.shape))).astype(np.float32)))
    best, lora, whole = tmp_path / "best.safetensors", tmp_path / "e.pth", tmp_path / "whole.safetensors"
    task.save(network, best)

    def run(name, source, out, *more):
        return command.main([name, str(source), "--model", "samed-tiny", "-o", str(out), *map(str, more)])

    assert run("give", best, lora) == 0
    assert run("take", lora, whole, "--base", base) == 0
    again = build("samed-tiny")
    load_weights(again, whole)
    assert all((var.numpy() == again.state_dict()[key].numpy()).all() for key, var in network.state_dict().items())
    assert run("take", lora, tmp_path / "x.pth", "--base", base) == 2
    assert run("take", base, tmp_path / "x.safetensors", "--base", base) == 1
    assert command.main(["count", "--model", "samed-tiny"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-3:]] == ["lora", "decoder", "full"]


def test_the_comparison_differs_in_nothing_else():
    lora, decoder, full = (dataclasses.asdict(read_recipe(REPO / "training" / "recipes" / f"samed-nano{name}.toml"))
                           for name in ("", "-decoder", "-full"))
    assert {key for key in lora if lora[key] != decoder[key]} == {"adapt"}
    assert {key for key in lora if lora[key] != full[key]} == {"adapt", "learning_rate"}
