"""Training of the SAM family: samples by hand, losses against goldens, both stages from the command line."""

import csv
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import zlib

import jittor as jt
import numpy as np
import pytest

import models  # noqa: F401
from models.sam.build import build, load_weights, save_weights
from models.sam.config import CONFIGS
from training import data, losses
from training.loader import make_batch
from training.recipe import RecipeError, read_recipe
from training.sam.samples import frame_of, in_frame, shifted_box

REPO = pathlib.Path(__file__).resolve().parents[2]
MPIRUN = ["mpirun", "-np", "2", "--oversubscribe"] + (["--allow-run-as-root"] if os.geteuid() == 0 else [])
COMMON = """batch = {batch}
steps = {steps}
warmup_steps = 1
learning_rate = 1e-3
weight_decay = 1e-2
ema_decay = 0.9
seed = 4
validate_every = 2
checkpoint_every = 2
"""
SAM = """task = "sam"
model = "medficientsam-nano"
masks = 2
augmentation = "strong"
shift_px = 5
cross_entropy = 1.0
dice = 1.0
""" + COMMON
DISTIL = """task = "distil"
model = "medficientsam-nano"
teacher = "medsam-nano"
teacher_weights = "{teacher}"
embeddings = "{embeddings}"
""" + COMMON


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Discs, two to an image, and one volume."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    (root / "US" / "discs").mkdir(parents=True)
    for case in range(14):
        gts = np.zeros((60, 80), np.uint8)
        for label, (cy, cx) in enumerate(((20, 20), (40, 58)), 1):
            gts[(y - cy) ** 2 + (x - cx) ** 2 <= rng.integers(6, 14) ** 2] = label
        imgs = (np.where(gts > 0, 170, 0) + rng.integers(0, 60, gts.shape)).astype(np.uint8)
        np.savez_compressed(root / "US" / "discs" / f"2DBox_US_discs_{case}.npz", imgs=imgs, gts=gts)
    (root / "CT" / "rods").mkdir(parents=True)
    rods = np.zeros((5, 40, 40), np.uint8)
    rods[1:4, 10:30, 15:25] = 1
    np.savez_compressed(root / "CT" / "rods" / "3DBox_CT_rods_0.npz", imgs=rods * 200, gts=rods, spacing=[1, 1, 2])
    return root


def recipe_file(tmp_path, text, **values):
    path = tmp_path / "recipe.toml"
    path.write_text(text.format(**{"batch": 4, "steps": 4, **values}))
    return path


def filled(name, shape):
    """The dossiers' golden numbers in 0..1: a hash of the name and the index (reference 02, section 9)."""
    x = (np.arange(np.prod(shape), dtype=np.uint64) * 2654435761 + zlib.crc32(name.encode())) & 0xFFFFFFFF
    x ^= x >> 16
    x = (x * 2246822519) & 0xFFFFFFFF
    x ^= x >> 13
    x = (x * 3266489917) & 0xFFFFFFFF
    x ^= x >> 16
    return (x / 2**32).astype(np.float32).reshape(shape)


def test_losses_have_the_values_of_the_originals():
    logits = jt.array(8 * filled("m", (2, 1, 16, 16)) - 4)
    target = jt.array((filled("g", (2, 1, 16, 16)) > 0.6).astype(np.float32))
    assert losses.squared_dice(logits, target).item() == pytest.approx(0.513566, abs=2e-6)
    assert losses.binary_cross_entropy(logits, target).item() == pytest.approx(1.337751, abs=2e-6)
    assert losses.focal(logits, target).item() == pytest.approx(1.041654, abs=2e-6)
    iou_error = losses.iou_error(jt.array(np.full((2, 1), 0.5, np.float32)), logits, target)
    assert iou_error.item() == pytest.approx(0.052855, abs=2e-6)


def test_gradients_flow_through_every_term_that_has_some():
    for term in (losses.squared_dice, losses.focal, losses.binary_cross_entropy):
        logits = jt.array(np.random.default_rng(0).normal(0, 2, (1, 1, 8, 8)).astype(np.float32))
        target = jt.array((np.arange(64).reshape(1, 1, 8, 8) % 3 == 0).astype(np.float32))
        gradient = jt.grad(term(logits, target), logits).numpy()
        shifted = logits.numpy().astype(np.float64)
        index = (0, 0, 3, 4)
        step = np.zeros_like(shifted)
        step[index] = 1e-2
        rise = [term(jt.array((shifted + sign * step).astype(np.float32)), target).item() for sign in (1, -1)]
        assert gradient[index] == pytest.approx((rise[0] - rise[1]) / 2e-2, rel=0.05, abs=2e-5)


def test_a_sample_is_in_the_runtime_s_frame(folder, tmp_path):
    recipe = dataclasses.replace(read_recipe(recipe_file(tmp_path, SAM)), augmentation="none", shift_px=0)
    datasets = data.read_datasets(folder, rank=2)
    image, boxes, targets = make_batch(recipe, datasets, 0)
    assert image.shape == (4, 3, 256, 256) and boxes.shape == (4, 2, 4) and targets.shape == (4, 2, 1, 256, 256)
    for picture, box, target in zip(image, boxes.reshape(-1, 2, 4)[:, 0], targets[:, 0, 0]):
        rows, columns = np.flatnonzero(target.any(1)), np.flatnonzero(target.any(0))
        assert box.tolist() == [columns[0], rows[0], columns[-1], rows[-1]]
        assert picture[0][target > 0].mean() > 0.6 > picture[0][target == 0].mean()


def test_labels_in_the_frame_by_hand():
    frame = frame_of("medsam-nano")
    gts = np.zeros((64, 128), np.uint8)
    gts[10:20, 30:50] = 3
    framed = in_frame(gts, frame)
    expected = np.zeros((256, 256), np.uint8)
    expected[20:40, 60:100] = 3
    assert (framed == expected).all()


def test_boxes_move_outwards_and_an_empty_mask_gets_some_box(tmp_path):
    recipe = read_recipe(recipe_file(tmp_path, SAM))
    frame, rng = frame_of(recipe.model), np.random.default_rng(0)
    mask = np.zeros((256, 256), bool)
    mask[100:150, 3:60] = True
    moved = np.array([shifted_box(recipe, mask, frame, rng) for _ in range(100)]) - [3, 100, 59, 149]
    assert moved[:, :2].max() == 0 and moved[:, 1].min() == -5 and moved[:, 0].min() == -3
    assert moved[:, 2:].min() == 0 and moved[:, 2:].max() == 5
    together = dataclasses.replace(recipe, shift_sides_together=True)
    box = shifted_box(together, mask[:, ::-1].copy(), frame, rng)
    assert 100 - box[1] == box[3] - 149
    x_min, y_min, x_max, y_max = shifted_box(recipe, np.zeros_like(mask), frame, rng)
    assert 0 <= x_min <= x_max < 256 and 0 <= y_min <= y_max < 256


@pytest.mark.parametrize("change, message", [
    (('"strong"', '"wild"'), "augmentation must be one of none, flips, affine, strong; got 'wild'"),
    (("dice = 1.0", 'dice = 1.0\ntrain = ["neck"]'), "train must hold some of image_encoder, prompt_encoder, mask_decoder"),
    (("cross_entropy = 1.0\ndice = 1.0", ""), "one of cross_entropy, dice, focal and iou must be above 0"),
])
def test_recipe_errors(tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe_file(tmp_path, SAM.replace(*change)))


def run(module, *arguments, prefix=()):
    return subprocess.run([*prefix, sys.executable, "-m", module, *map(str, arguments)], cwd=REPO, capture_output=True,
                          text=True)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_both_stages_from_the_command_line(folder, tmp_path):
    jt.set_global_seed(0)
    save_weights(build("medsam-nano"), tmp_path / "teacher.safetensors")
    distil = recipe_file(tmp_path, DISTIL, teacher=tmp_path / "teacher.safetensors", embeddings=tmp_path / "embeddings",
                         batch=2)
    stored = run("training.distil", distil, "--data", folder)
    assert stored.returncode == 0, stored.stderr
    # 14 cases, of which none is held out by name or some are; 3 labelled slices; four mirrorings of each.
    train = sum(1 if item.gts.ndim == 2 else 3 for dataset in data.read_datasets(folder, 2) for item in dataset.train)
    files = sorted((tmp_path / "embeddings").glob("*.npy"))
    assert len(files) == 4 * train and np.load(files[0]).shape == (128, 32, 32)
    first = run("training", distil, "--data", folder, "--out", tmp_path / "distilled")
    assert first.returncode == 0, first.stderr
    assert float(rows(tmp_path / "distilled" / "train.csv")[-1]["embedding_error"]) > 0

    tune = tmp_path / "tune.toml"
    tune.write_text(SAM.format(batch=4, steps=4))
    second = run("training", tune, "--data", folder, "--out", tmp_path / "tuned", "--weights",
                 tmp_path / "distilled" / "last.safetensors")
    assert second.returncode == 0, second.stderr
    before, after = build("medficientsam-nano"), build("medficientsam-nano")
    load_weights(before, tmp_path / "distilled" / "last.safetensors")
    load_weights(after, tmp_path / "tuned" / "last.safetensors")
    moved = {key.split(".")[0] for key, var in before.state_dict().items()
             if np.abs(var.numpy() - after.state_dict()[key].numpy()).max() > 1e-6}
    assert moved == {"image_encoder", "mask_decoder"}  # the prompt encoder is frozen, as MedSAM's


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun: apt-get install openmpi-bin libopenmpi-dev")
def test_two_processes_train_as_one_does(folder, tmp_path):
    recipe = recipe_file(tmp_path, SAM.replace("medficientsam", "medsam") + "bfloat16 = false\n", batch=4, steps=3)
    alone = run("training", recipe, "--data", folder, "--out", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    together = run("training", recipe, "--data", folder, "--out", tmp_path / "two", prefix=MPIRUN)
    assert together.returncode == 0, together.stderr
    # Adam's first steps are the signs of the gradients: where those are next to 0, float error decides. Without the average
    # over the processes the loss is another one altogether.
    one, two = (rows(tmp_path / name / "train.csv")[-1] for name in ("one", "two"))
    for term in ("loss", "cross_entropy", "dice_loss"):
        assert float(two[term]) == pytest.approx(float(one[term]), rel=5e-4)
    recipe.write_text(recipe.read_text() + "accumulate = 2\n")
    parts = run("training", recipe, "--data", folder, "--out", tmp_path / "parts")
    assert parts.returncode == 0, parts.stderr
    assert float(rows(tmp_path / "parts" / "train.csv")[-1]["loss"]) == pytest.approx(float(one["loss"]), rel=5e-4)


@pytest.mark.slow
def test_evaluation_of_two_processes_is_that_of_one(folder, tmp_path):
    jt.set_global_seed(0)
    save_weights(build("medficientsam-nano"), tmp_path / "net.safetensors")
    arguments = ["--model", "medficientsam-nano", "--weights", tmp_path / "net.safetensors", "--data", folder, "--out"]
    alone = run("training.sam.evaluate", *arguments, tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    found = rows(tmp_path / "one" / "objects.csv")
    assert len(found) == 14 * 2 + 3 and {row["slice"] for row in found} == {"", "1", "2", "3"}
    assert (tmp_path / "one" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    mean = np.mean([float(row["dsc"]) for row in found])
    assert f"17 images, 31 objects, DSC {mean:.6f}" in alone.stdout
    if shutil.which("mpirun"):
        together = run("training.sam.evaluate", *arguments, tmp_path / "two", prefix=MPIRUN)
        assert together.returncode == 0, together.stderr
        both = rows(tmp_path / "two" / "objects.csv")
        assert [(row["case"], row["slice"], row["label"]) for row in both] == [
            (row["case"], row["slice"], row["label"]) for row in found]
        # An untrained network is nowhere sure: a pixel or two depend on how many threads added up.
        assert [float(row["dsc"]) for row in both] == pytest.approx([float(row["dsc"]) for row in found], abs=1e-3)
        assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["comparison.png", "objects.csv"]
        assert "17 images, 31 objects, DSC " in together.stdout


def test_shipped_recipes_are_valid():
    for path in (REPO / "training" / "recipes").glob("*.toml"):
        assert read_recipe(path).model
    assert "medsam-nano" in CONFIGS
