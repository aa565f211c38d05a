"""Training on made cases: reads, learns, logs, draws, and resumes to the very same bits."""

import csv
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from training import data, loader, tasks
from training.checkpoint import load_state
from training.recipe import RecipeError, read_recipe
from training.roi.samples import crop_sample
from training.schedule import learning_rate
from training.validation import score

REPO = pathlib.Path(__file__).resolve().parents[2]
RECIPE = """task = "roi"
model = "roi2d"
crop_shapes = [[32, 32]]
crop_chances = [1.0]
batch = 4
steps = {steps}
warmup_steps = 2
learning_rate = 2e-3
weight_decay = 1e-2
ema_decay = 0.9
freeze_norms_at = 6
loosen_px = 3
seed = 5
validate_every = 4
checkpoint_every = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two modalities, three datasets; bright discs on a dark ground, and one volume with a ball."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :56]
    for modality, dataset, colour in (("US", "one", False), ("US", "two", False), ("Fundus", "red", True)):
        target = root / modality / dataset
        target.mkdir(parents=True)
        for case in range(12):
            cy, cx, r = rng.integers(14, 34), rng.integers(14, 40), rng.integers(5, 12)
            gts = ((y - cy) ** 2 + (x - cx) ** 2 <= r * r).astype(np.uint8)
            grey = (gts * 150 + rng.integers(0, 60, gts.shape)).astype(np.uint8)
            imgs = np.stack([grey, grey // 2, grey // 3], axis=-1) if colour else np.repeat(grey[..., None], 3, axis=2)
            np.savez_compressed(target / f"2DBox_{modality}_{dataset}_{case}.npz", imgs=imgs, gts=gts)
    z, y, x = np.mgrid[:12, :30, :32]
    ball = (((z - 6) / 4) ** 2 + ((y - 15) / 9) ** 2 + ((x - 16) / 9) ** 2 <= 1).astype(np.uint8)
    (root / "CT" / "balls").mkdir(parents=True)
    np.savez_compressed(root / "CT" / "balls" / "3DBox_CT_balls_0.npz", imgs=ball * 200, gts=ball, spacing=[1, 1, 2])
    return root


def recipe(tmp_path, steps=8):
    path = tmp_path / f"recipe{steps}.toml"
    path.write_text(RECIPE.format(steps=steps))
    return path


def test_reading_keeps_grey_grey_and_balances_modalities(folder):
    flat = data.read_datasets(folder, rank=2)
    assert [(d.modality, d.name) for d in flat] == [("CT", "balls"), ("Fundus", "red"), ("US", "one"), ("US", "two")]
    assert flat[2].train[0].image.ndim == 2 and flat[1].train[0].image.ndim == 3
    assert len(data.read_datasets(folder, rank=3)) == 1
    chances = data.dataset_chances(flat)
    assert chances[:2].tolist() == pytest.approx([1 / 3, 1 / 3]) and chances[2:].sum() == pytest.approx(1 / 3)


def test_a_dataset_is_left_out(folder, tmp_path):
    def names(*left_out):
        chosen = dataclasses.replace(read_recipe(recipe(tmp_path)), leave_out=left_out)
        return [dataset.name for dataset in tasks.datasets(chosen, folder)]

    assert names() == ["balls", "red", "one", "two"]
    assert names("one", "balls") == ["red", "two"]
    with pytest.raises(ValueError, match="leave_out must name some of balls, one, red, two; got tow"):
        names("one", "tow")


def test_a_sample_holds_the_object_inside_the_box(folder):
    rng = np.random.default_rng(1)
    image, mask = data.draw_object(data.read_datasets(folder, rank=2), np.array([0, 0, 1, 0]), 2, rng)
    for _ in range(20):
        crop, box_px, target = crop_sample(image, mask, (40, 40), 0.2, 3, rng)
        assert crop.shape == (4, 40, 40) and target.shape == (1, 40, 40) and box_px.shape == (2,)
        assert 0 <= crop[:3].min() and crop[:3].max() <= 255
        inside = crop[3] > 0
        assert target[0][inside].sum() > 0.93 * target.sum() > 0
    plain, _, target = crop_sample(image, mask, (40, 40), 0.2, 0, rng, augmented=False)
    assert plain[0][target[0] > 0.9].mean() > plain[0][target[0] < 0.1].mean() + 80


def test_an_elastic_sample_is_bent(folder):
    image, mask = data.draw_object(data.read_datasets(folder, rank=2), np.array([0, 0, 1, 0]), 2, np.random.default_rng(1))
    alike = [np.array_equal(*(crop_sample(image, mask, (40, 40), 0.2, 0, np.random.default_rng(seed), elastic=elastic)[2] > 0.5
                              for elastic in (0.0, 0.04))) for seed in range(20)]
    assert 0.2 < np.mean(alike) < 0.8


def test_batches_depend_on_the_seed_and_the_step_alone(folder, tmp_path):
    made = read_recipe(recipe(tmp_path))
    datasets = data.read_datasets(folder, rank=2)
    expected = [loader.make_batch(made, datasets, step) for step in range(2, 8)]
    assert not np.array_equal(expected[0][0], expected[1][0])
    for workers in (1, 3):
        running = loader.Loader(made, datasets, first_step=2, workers=workers)
        got = list(running)
        running.close()
        assert [g[0] for g in got] == list(range(2, 8))
        assert all(np.array_equal(a, b) for g, e in zip(got, expected) for a, b in zip(g[1], e))
    # Two processes share the very same batch.
    halves = [loader.make_batch(made, datasets, 2, rank, 2) for rank in range(2)]
    assert all(np.array_equal(whole[rank::2], half) for rank in range(2) for whole, half in zip(expected[0], halves[rank]))


def test_a_worker_that_dies_is_reported(folder, tmp_path, capfd):
    """The pictures are 48 px high: none has a box for the large crop."""
    made = dataclasses.replace(read_recipe(recipe(tmp_path)), crop_shapes=((32, 32), (64, 64)), crop_chances=(0, 1),
                               crop_extents_px=((0, 100), (100, 1000)))
    running = loader.Loader(made, data.read_datasets(folder, rank=2), first_step=0)
    with pytest.raises(RuntimeError, match="worker 0 died before batch 0"):
        next(iter(running))
    assert "none of 10000 objects has a box for the crop shape [64, 64]" in capfd.readouterr().err


def test_a_batch_holds_boxes_for_its_crop_shape(folder, tmp_path):
    """Discs of radius 5 to 11 and crops of two sizes with the border at 15 px: each batch has its own boxes."""
    made = dataclasses.replace(read_recipe(recipe(tmp_path)), crop_shapes=((32, 32), (64, 64)), crop_chances=(0.5, 0.5),
                               crop_extents_px=((0, 15), (15, 1000)), loosen_px=0)
    datasets = data.read_datasets(folder, rank=2)
    seen = set()
    for step in range(8):
        crop, box_px, target = loader.make_batch(made, datasets, step)
        seen.add(crop.shape[2:])
        assert target.shape[2:] == crop.shape[2:]
        # A rotation changes a box a little after its crop shape was chosen; a zoom is in both.
        assert np.median(box_px) > 15 if crop.shape[2] == 64 else np.median(box_px) < 16
    assert seen == {(32, 32), (64, 64)}


def test_a_crop_shape_is_for_boxes_above_its_first_number_and_up_to_its_second(tmp_path):
    made = dataclasses.replace(read_recipe(recipe(tmp_path)), crop_shapes=((96, 96), (96, 192), (192, 192)),
                               crop_extents_px=((0, 48), (30, 256)))
    assert made.fits((96, 96), np.array([48, 1])) and not made.fits((96, 96), np.array([49, 1]))
    assert made.fits((96, 192), np.array([30, 31])) and not made.fits((96, 192), np.array([30, 30]))
    assert not made.fits((192, 192), np.array([31, 257]))


def test_emphasised_datasets_are_drawn_more_often(folder, tmp_path):
    chances = data.dataset_chances(data.read_datasets(folder, rank=2), ("red", "one"), 2.0)
    np.testing.assert_allclose(chances, np.array([2, 4, 2, 1]) / 9, rtol=0.02)  # CT balls, Fundus red, US one and two
    with pytest.raises(ValueError, match="emphasised must name some of balls, one, red, two; got rod"):
        tasks.datasets(dataclasses.replace(read_recipe(recipe(tmp_path)), emphasised=("rod", "one")), folder)


def test_a_3d_network_learns_from_stacks_of_images(folder, tmp_path):
    made = dataclasses.replace(read_recipe(recipe(tmp_path)), model="roi3d", crop_shapes=((16, 16, 16),), stacked=1.0,
                               cut_off=0.5)
    datasets = tasks.datasets(made, folder)
    assert [dataset.name for dataset in datasets] == ["balls", "red", "one", "two"]
    crop, box_px, target = loader.make_batch(made, datasets, 0)
    assert crop.shape == (4, 2, 16, 16, 16) and target.shape == (4, 1, 16, 16, 16) and box_px.shape == (4, 3)
    assert (target.max(axis=(1, 2, 3, 4)) > 0.5).all()
    assert [dataset.name for dataset in tasks.datasets(dataclasses.replace(made, stacked=0.0), folder)] == ["balls"]


def test_scores_are_means_of_means():
    truth = np.zeros((1, 4, 4), np.float32)
    truth[0, :2] = 1
    half = truth.copy()
    half[0, 1] = 0
    samples = [("A", "x", half, np.ones(2), truth), ("A", "y", truth, np.ones(2), truth), ("B", "z", truth, np.ones(2), truth)]
    got = score(lambda crop, box_px: crop, samples, batch=2)
    assert got["A/x"] == pytest.approx(2 * 4 / 12) and got["A/y"] == 1 and got["B/z"] == 1
    assert got["macro"] == pytest.approx(((2 / 3 + 1) / 2 + 1) / 2)


@pytest.mark.parametrize("change, message", [
    (("seed = 5", "seed = 5\nsped = 1"), "unknown key 'sped'; known: task, model"),
    (("seed = 5", ""), "missing key 'seed'"),
    (("batch = 4", "batch = 4.5"), "batch must be int; got 4.5"),
    (("[1.0]", "[0.5]"), "crop_chances must hold one chance per crop shape"),
    (("[[32, 32]]", "[[32, 32], [64, 64]]\ncrop_extents_px = [[0, 9]]"), "crop_chances must hold one"),
    (("[[32, 32]]\ncrop_chances = [1.0]", "[[32, 32], [64, 64]]\ncrop_chances = [0.5, 0.5]"),
     "crop_extents_px must hold a pair for each side in crop_shapes"),
    (("seed = 5", "seed = 5\nhard_boxes = 1.5"), "hard_boxes must be a share, 0..1; got 1.5"),
    (("seed = 5", "seed = 5\nstacked = 0.5"), "cut_off and stacked are for 3-D crops"),
    (("seed = 5", 'seed = 5\nemphasised = "one"'), "emphasised must be a list; got 'one'"),
    (('"roi"', '"cook"'), "task must be one of roi.*; got 'cook'"),
    (("seed = 5", "seed = 5\naccumulate = 3"), "batch must be a multiple of accumulate; got 4 and 3"),
    (("seed = 5", 'seed = 5\nschedule = "spiral"'), "schedule must be one of cosine, constant.*; got 'spiral'"),
    (("seed = 5", 'seed = 5\nschedule = "halving"'), "period_steps must be at least 1 for schedule halving; got 0"),
    (("seed = 5", "seed = 5\namp = true"), "amp must be false: Jittor's mixed precision is for CUDA"),
    (("[[32, 32]]", "[32, 32]"), r"crop_shapes must be a list; got 32"),
    (("roi2d", "roi7"), "model must be one of roi2d, roi3d; got 'roi7'"),
])
def test_recipe_errors(tmp_path, change, message):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE.format(steps=4).replace(*change))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def test_learning_rates():
    """SAMed's are those of its published run (warm-up 250, exponent 0.9, 200 epochs of 93 batches)."""
    samed = SimpleNamespace(schedule="polynomial", learning_rate=0.005, warmup_steps=250, period_steps=18600, power=0.9)
    assert [learning_rate(samed, step) for step in (0, 249, 250)] == pytest.approx([2e-5, 0.005, 0.005])
    assert learning_rate(samed, 10000) == pytest.approx(0.00256246, rel=1e-5)
    halving = SimpleNamespace(schedule="halving", learning_rate=0.075, warmup_steps=0, period_steps=50000)
    assert [learning_rate(halving, step) for step in (0, 49999, 50000, 399999)] == [0.075, 0.075, 0.0375, 0.075 / 128]
    constant = SimpleNamespace(schedule="constant", learning_rate=1e-4, warmup_steps=2)
    assert [learning_rate(constant, step) for step in (0, 1, 2, 999)] == [5e-5, 1e-4, 1e-4, 1e-4]
    cosine = SimpleNamespace(schedule="cosine", learning_rate=1.0, warmup_steps=10, steps=110)
    assert [learning_rate(cosine, step) for step in (10, 60, 110)] == pytest.approx([1, 0.505, 0.01])


def test_shipped_recipes_are_valid():
    assert {read_recipe(path).model for path in (REPO / "training" / "recipes").glob("*.toml")} >= {"roi2d", "roi3d"}


DIES = """
import os, sys
from training import checkpoint
from training.__main__ import main
save = checkpoint.save_state
def save_and_die(path, groups, step, recipe, best):
    save(path, groups, step, recipe, best)
    if step == 4:
        os._exit(9)
checkpoint.save_state = save_and_die
sys.exit(main())
"""


def train(*arguments):
    return subprocess.run([sys.executable, "-m", "training", *map(str, arguments)], cwd=REPO, capture_output=True, text=True)


def test_a_run_learns_logs_draws_and_resumes_bit_exactly(folder, tmp_path):
    whole = train(recipe(tmp_path), "--data", folder, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    for name in ("best.safetensors", "last.safetensors", "state.safetensors", "curves.png", "train.csv", "validation.csv"):
        assert (tmp_path / "whole" / name).stat().st_size > 0
    with open(tmp_path / "whole" / "validation.csv") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "8"]

    again = train(recipe(tmp_path), "--data", folder, "--out", tmp_path / "whole")
    assert again.returncode == 2 and "add --resume" in again.stderr
    assert train(recipe(tmp_path), "--data", folder, "--out", tmp_path / "none", "--resume").returncode == 2

    # A machine that dies right after the checkpoint of step 4, then --resume.
    (tmp_path / "dies.py").write_text(DIES)
    died = subprocess.run([sys.executable, tmp_path / "dies.py", recipe(tmp_path), "--data", folder, "--out", tmp_path / "cut"],
                          cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    assert load_state(tmp_path / "cut" / "state.safetensors")[1] == 4
    resumed = train(recipe(tmp_path), "--data", folder, "--out", tmp_path / "cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    changed = tmp_path / "changed.toml"
    changed.write_text(recipe(tmp_path).read_text().replace("batch = 4", "batch = 5"))
    refused = train(changed, "--data", folder, "--out", tmp_path / "cut", "--resume")
    assert refused.returncode == 2 and "was made with batch = 4; the recipe says 5" in refused.stderr
    one, two = (load_state(tmp_path / name / "state.safetensors") for name in ("whole", "cut"))
    assert one[1] == two[1] == 8
    for group in one[0]:
        for key, value in one[0][group].items():
            assert np.array_equal(value, two[0][group][key]), (group, key)


def test_a_run_starts_from_given_weights(folder, tmp_path):
    from models.roi.build import build, load_weights, save_weights

    net = build("roi2d")
    save_weights(net, tmp_path / "given.safetensors")
    path = tmp_path / "still.toml"
    path.write_text(RECIPE.format(steps=1).replace("learning_rate = 2e-3", "learning_rate = 0.0"))
    assert train(path, "--data", folder, "--out", tmp_path / "out", "--weights", tmp_path / "nowhere").returncode == 2
    done = train(path, "--data", folder, "--out", tmp_path / "out", "--weights", tmp_path / "given.safetensors")
    assert done.returncode == 0, done.stderr
    other = build("roi2d")
    load_weights(other, tmp_path / "out" / "last.safetensors")
    # Without a learning rate nothing but the running statistics moves.
    for key, value in net.state_dict().items():
        assert "running" in key or np.allclose(value.numpy(), other.state_dict()[key].numpy(), atol=1e-6), key


def test_ctrl_c_saves_and_ends(folder, tmp_path):
    """As a terminal sends it: to the children too."""
    out = tmp_path / "stopped"
    process = subprocess.Popen([sys.executable, "-m", "training", recipe(tmp_path, 100000), "--data", folder, "--out", out],
                               cwd=REPO, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not (out / "state.safetensors").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and "go on with --resume" in error and "Traceback" not in error
    step = load_state(out / "state.safetensors")[1]
    assert f"step {step} is in" in error and step >= 2
