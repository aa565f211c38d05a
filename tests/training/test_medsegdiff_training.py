"""Training of MedSegDiff: samples by hand, gradients, resuming, and the commands around it."""

import csv
import dataclasses
import pathlib
import tomllib

import numpy as np
import pytest

from inference.diffusion.schedule import Diffusion
from models.medsegdiff.config import CONFIGS
from training import data
from training.loader import make_batch
from training.medsegdiff import __main__ as command
from training.medsegdiff import ablation, runs
from training.medsegdiff.samples import augmented, config_of, in_frame, make_validation, read_datasets, self_conditions
from training.recipe import RecipeError, read_recipe

REPO = pathlib.Path(__file__).resolve().parents[2]
RECIPE = {
    "task": "medsegdiff", "model": "medsegdiff-nano", "augmentation": "strong", "image_size": 16, "dim": 8,
    "dim_mults": [1, 2], "cond_patch_size": 2, "validation_steps": 2, "batch": 4, "steps": 4, "warmup_steps": 1,
    "learning_rate": 1e-3, "weight_decay": 1e-2, "ema_decay": 0.9, "seed": 3, "validate_every": 2, "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bright discs with a brighter middle, labels 1 and 2, grey and coloured, and one volume."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :40]
    for modality, dataset, colour in (("US", "grey", False), ("Fundus", "red", True)):
        (root / modality / dataset).mkdir(parents=True)
        for case in range(30):
            distance = np.hypot(y - rng.integers(10, 22), x - rng.integers(10, 30))
            gts = (distance < 9).astype(np.uint8) + (distance < 4)
            imgs = np.where(gts > 0, 140, 20) + rng.integers(0, 60, gts.shape)
            imgs = np.stack([imgs, imgs // 2, imgs // 3], axis=-1) if colour else imgs
            np.savez_compressed(root / modality / dataset / f"2DBox_{modality}_{dataset}_{case}.npz",
                                imgs=imgs.astype(np.uint8), gts=gts)
    (root / "CT" / "rods").mkdir(parents=True)
    rods = np.zeros((5, 20, 20), np.uint8)
    rods[1:4, 5:15, 8:12] = 1
    np.savez_compressed(root / "CT" / "rods" / "3DBox_CT_rods_0.npz", imgs=rods * 200, gts=rods, spacing=[1, 1, 2])
    return root


def recipe(tmp_path, **changes):
    path = tmp_path / "recipe.toml"
    path.write_text(runs.to_toml({key: value for key, value in (RECIPE | changes).items() if value is not None}))
    return read_recipe(path)


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_a_sample_is_the_mask_with_noise_of_its_step(objective, folder, tmp_path):
    """Noise and mask are found again from what the network sees and what it is to say: abar is worked out here."""
    made = recipe(tmp_path, objective=objective, augmentation="none", datasets=["red"], batch=16)
    image, noisy, target, time, guess = make_batch(made, read_datasets(folder, made), 5)
    assert image.shape == (16, 3, 16, 16) and noisy.shape == target.shape == (16, 1, 16, 16)
    assert image.dtype == noisy.dtype == target.dtype == np.float32 and time.dtype == np.int32 and time.shape == guess.shape
    f = np.cos((np.arange(101) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    abar = np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))[time][:, None, None, None]
    if objective == "pred_noise":
        noise, x0 = target, (noisy - np.sqrt(1 - abar) * target) / np.sqrt(abar)
    elif objective == "pred_x0":
        noise, x0 = (noisy - np.sqrt(abar) * target) / np.sqrt(1 - abar), target
    else:
        noise, x0 = np.sqrt(1 - abar) * noisy + np.sqrt(abar) * target, np.sqrt(abar) * noisy - np.sqrt(1 - abar) * target
    early = time < 95  # later, float32 has lost the mask in the noise
    assert early.sum() > 8 and np.abs(np.abs(x0[early]) - 1).max() < 1e-2
    assert abs(noise.std() - 1) < 0.05 and abs(noise.mean()) < 0.05
    red = image[early][:, :1]
    assert red[x0[early] > 0].mean() > red[x0[early] < 0].mean() + 0.5


def test_steps_are_uniform_and_one_batch_in_two_sees_a_guess(folder, tmp_path):
    made = recipe(tmp_path, timesteps=10, validation_steps=2, datasets=["grey"], image_size=16, batch=8)
    datasets = read_datasets(folder, made)
    batches = [make_batch(made, datasets, step) for step in range(100)]
    counts = np.bincount(np.concatenate([batch[3] for batch in batches]), minlength=10)
    assert len(counts) == 10 and counts.min() > 50 and counts.max() < 115  # of 800, 80 each
    guesses = np.array([batch[4] for batch in batches])
    assert (guesses == guesses[:, :1]).all() and 35 < guesses[:, 0].sum() < 65
    without = dataclasses.replace(made, self_condition=False)
    assert not any(self_conditions(without, step) for step in range(100))


def test_batches_depend_on_seed_and_step_alone(folder, tmp_path):
    made = recipe(tmp_path)
    datasets = read_datasets(folder, made)
    whole = make_batch(made, datasets, 7)
    assert all(np.array_equal(a, b) for a, b in zip(whole, make_batch(made, datasets, 7)))
    halves = [make_batch(made, datasets, 7, rank, 2) for rank in range(2)]
    assert all(np.array_equal(a[rank::2], half) for rank in range(2) for a, half in zip(whole, halves[rank]))
    for other in (make_batch(made, datasets, 8), make_batch(dataclasses.replace(made, seed=4), datasets, 7)):
        assert not np.array_equal(other[1], whole[1])


@pytest.mark.parametrize("augmentation", ["none", "flips", "affine", "strong"])
def test_image_and_mask_move_together(augmentation, tmp_path):
    made = recipe(tmp_path, augmentation=augmentation)
    gts = np.zeros((32, 32), np.uint8)
    gts[4:12, 6:20] = 1
    seen = set()
    for seed in range(20):
        image, mask = augmented(made, gts * 200, gts, np.random.default_rng(seed))
        assert mask.dtype == bool and ((image > 100) == mask).mean() > 0.97
        seen.add(mask.tobytes())
    assert len(seen) == 1 if augmentation == "none" else len(seen) == 4 if augmentation == "flips" else len(seen) > 8


def test_a_grey_picture_stays_grey_and_four_channels_are_taken(tmp_path):
    rng = np.random.default_rng(0)
    config = config_of(recipe(tmp_path))
    image, mask = rng.integers(0, 256, (20, 20), np.uint8), np.ones((20, 20), bool)
    for _ in range(10):
        shown, _ = in_frame(config, image, mask, rng)
        assert shown.shape == (3, 16, 16) and (shown == shown[:1]).all() and np.abs(shown).max() <= 1
    four = rng.integers(0, 256, (20, 20, 4), np.uint8)
    shown, small = in_frame(dataclasses.replace(config, channels=4), four, mask, rng)
    assert shown.shape == (4, 16, 16) and small.all()


def test_validation_is_of_held_out_images_and_the_same_every_time(folder, tmp_path):
    made = recipe(tmp_path)
    datasets = read_datasets(folder, made)
    held_out = sum(len(dataset.held_out) for dataset in datasets)
    one, two = make_validation(made, datasets), make_validation(dataclasses.replace(made, seed=9), datasets)
    assert len(one) == held_out > 0
    for a, b in zip(one, two):
        assert a[:2] == b[:2] and all(np.array_equal(x, y) for x, y in zip(a[2:], b[2:]))
        assert a[2].shape == (3, 16, 16) and a[4].shape == (1, 16, 16) and 0 < a[4].mean() < 1


def test_labels_choose_the_object(folder, tmp_path):
    any_, middle = (read_datasets(folder, recipe(tmp_path, labels=labels, datasets=["red"]))[0].train
                    for labels in ("any", "2"))
    assert all((a.gts >= b.gts).all() and a.gts.sum() > 2 * b.gts.sum() > 0 for a, b in zip(any_, middle))


def test_the_recipe_changes_the_model(tmp_path):
    made = recipe(tmp_path, objective="pred_v", noise_schedule="linear", timesteps=50, ff_parser=False, channels=4)
    assert config_of(made) == dataclasses.replace(
        CONFIGS["medsegdiff-nano"], image_size=16, dim=8, dim_mults=(1, 2), cond_patch_size=2, channels=4, ff_parser=False,
        diffusion=Diffusion(50, "linear", "pred_v"))
    untouched = config_of(recipe(tmp_path, image_size=None, dim=None, dim_mults=None, cond_patch_size=None))
    assert untouched == CONFIGS["medsegdiff-nano"]


@pytest.mark.parametrize("change, message", [
    ({"augmentation": "wild"}, "augmentation must be one of none, flips, affine, strong; got 'wild'"),
    ({"layout": "coco"}, "layout must be one of npz, refuge2, brats2021, ddti; got 'coco'"),
    ({"labels": "disc"}, "labels must be \"any\" or numbers from 1 with commas between them; got 'disc'"),
    ({"validation_steps": 101}, "steps must be 1..100; got 101"),
    ({"objective": "noise"}, "objective must be one of pred_noise, pred_x0, pred_v; got 'noise'"),
    ({"dim": 12}, "dim and dim times each of dim_mults must be multiples of 8"),
    ({"disable": True}, "unknown key 'disable'"),
])
def test_recipe_errors(tmp_path, change, message):
    with pytest.raises(RecipeError, match=message):
        recipe(tmp_path, **change)


def test_shipped_recipes_are_valid():
    for name in ("medsegdiff-nano", "medsegdiff-s"):
        assert read_recipe(REPO / "training" / "recipes" / f"{name}.toml").model == name


def train(made, datasets, out, first=0, last=None):
    """In this process: the loader's workers would have to be forked before Jittor started."""
    from training.trainer import Trainer

    out.mkdir(exist_ok=True)
    trainer = Trainer(made, out)
    if first:
        trainer.restore(out / "state.safetensors")
    trainer.run(((step, make_batch(made, datasets, step)) for step in range(first, last or made.steps)),
                make_validation(made, datasets))
    return trainer


def test_gradients_reach_every_part_through_the_loss(folder, tmp_path):
    """Of the loss that is trained with, in a network as it starts: the FF-Parser's maps, which the earlier port cut off, the
    attentions of both encoders, which it never called. Only what is multiplied by zeros has none at first."""
    import jittor as jt

    from training.medsegdiff import task

    made = recipe(tmp_path)
    network = task.build(made)
    network.train()
    arrays = make_batch(made, read_datasets(folder, made), 0)
    state = network.state_dict()
    loss = task.losses(network, made, *map(jt.array, arrays))["squared_error"]
    sizes = {key: float(np.abs(gradient.numpy()).max()) for key, gradient in zip(state, jt.grad(loss, list(state.values())))}
    assert 0.3 < loss.item() < 5 and np.isfinite(list(sizes.values())).all()
    for part in ("ff_parser_attn_map", "to_patches.1.weight", "downs.0.2.fn.to_qkv", "cond_downs.0.2.fn.to_qkv",
                 "ups.0.2.fn.to_qkv", "mid_transformer", "norm_condition.g", "time_mlp"):
        found = [size for key, size in sizes.items() if part in key]
        assert found and max(found) > 1e-7, part
    # Behind the dynamic maps' last layer, which is zero at first, nothing moves yet.
    assert not any(size for key, size in sizes.items() if ".to_dynamic_ff_parser_attn_map.transformer." in key)


def test_losses_are_those_of_the_prediction(folder, tmp_path):
    """With weights of a final convolution at zero the network says nothing: the error is the target's mean square."""
    import jittor as jt

    from training.medsegdiff import task

    made = recipe(tmp_path)
    network = task.build(made)
    for var in (network.final_conv.weight, network.final_conv.bias):
        var.assign(jt.zeros_like(var))
    arrays = make_batch(made, read_datasets(folder, made), 1)
    with jt.no_grad():
        loss = task.losses(network, made, *map(jt.array, arrays))["squared_error"].item()
    assert loss == pytest.approx((arrays[2].astype(float) ** 2).mean(), rel=1e-5)


def test_a_run_validates_saves_and_resumes_to_the_same_bits(folder, tmp_path):
    from models.medsegdiff.build import open_file

    made = recipe(tmp_path, datasets=["red"])
    datasets = read_datasets(folder, made)
    whole = train(made, datasets, tmp_path / "whole")
    train(made, datasets, tmp_path / "cut", last=2)
    cut = train(made, datasets, tmp_path / "cut", first=2)
    for one, two in ((whole.net, cut.net), (whole.twin, cut.twin)):
        assert all(np.array_equal(var.numpy(), two.state_dict()[key].numpy()) for key, var in one.state_dict().items())
    with open(tmp_path / "whole" / "validation.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"] and all(0 <= float(row["macro"]) <= 1 for row in rows)
    assert set(rows[0]) == {"step", "Fundus/red", "macro"}
    assert open_file(tmp_path / "whole" / "last.safetensors").config == config_of(made)


def flags(*text):
    return command._parser().parse_args(text)


@pytest.fixture
def refuge(tmp_path):
    """Forty pictures, of which some are held out."""
    import cv2

    root = tmp_path / "Train"
    for part, suffix in (("Disc_Cup_Fovea_Illustration", "jpg"), ("Disc_Cup_Masks", "png")):
        (root / part).mkdir(parents=True)
        for case in range(40):
            plane = np.zeros((20, 20), np.uint8)
            plane[5:12, 5:15] = 255
            cv2.imwrite(str(root / part / f"T{case:04d}.{suffix}"), plane)
    return root


def test_flags_of_the_earlier_port_become_a_recipe(refuge, tmp_path):
    args = flags("--dataset", "refuge2", "--data_path", str(refuge), "--epochs", "20", "--batch_size", "8", "--image_size",
                 "64", "--self_condition", "--disable_ff_parser", "--output_dir", str(tmp_path / "out"), "--learning_rate",
                 "1e-3")
    (table, folder, out, options), = command.planned(args)
    cases = len(data_of(table, refuge)[0].train)
    epoch = -(-cases // 8)
    assert 30 < cases < 40
    assert table["steps"] == 20 * epoch and table["warmup_steps"] == 2 * epoch and table["validate_every"] == epoch
    assert table["learning_rate"] == 3e-4 and table["model"] == "medsegdiff-s" and table["channels"] == 3
    assert out == tmp_path / "out" / "MedSegDiff-S_refuge2_no_ff_parser" and folder == refuge and options == ("--workers", "4")
    (tmp_path / "r.toml").write_text(runs.to_toml(table))
    made = read_recipe(tmp_path / "r.toml")
    config = config_of(made)
    assert config.disable_ff_parser and not config.disable_dynamic_encoding and config.self_condition
    assert config.image_size == 64


def data_of(table, folder):
    from training.medsegdiff import layouts

    return layouts.read(layouts.find(table["layout"], folder))


@pytest.mark.parametrize("rate, batch, steps, expected", [("1e-6", 8, "2", 1.6e-5), ("1e-4", 8, "2", 2e-4)])
def test_scaled_learning_rates(rate, batch, steps, expected, refuge):
    args = flags("--dataset", "refuge2", "--data_path", str(refuge), "--learning_rate", rate, "--batch_size", str(batch),
                 "--scale_lr", "--gradient_accumulation_steps", steps)
    assert next(iter(command.planned(args)))[0]["learning_rate"] == pytest.approx(expected)


def test_every_data_set_is_read_from_its_own_folder(refuge, tmp_path, monkeypatch):
    """The earlier port read all of them from the first one's."""
    monkeypatch.setattr(command, "FOLDERS", {"refuge2": str(refuge), "ddti": str(tmp_path / "DDTI")})
    for part in ("images", "masks"):
        (tmp_path / "DDTI" / part).mkdir(parents=True)
        (tmp_path / "DDTI" / part / "1.PNG").write_bytes(b"")
    found = list(command.planned(flags("--train_all_datasets", "--train_all_models", "--include_ablation")))
    assert len(found) == 2 * 4 * 4
    assert all((str(folder) == str(refuge)) == (table["layout"] == "refuge2") for table, folder, _, _ in found)
    assert len({out for _, _, out, _ in found}) == 32
    assert {out.name for _, _, out, _ in found[:4]} == {
        f"MedSegDiff-S_refuge2{suffix}" for suffix in ("", "_no_ff_parser", "_no_dynamic_encoding",
                                                       "_no_ff_parser_no_dynamic_encoding")}
    with pytest.raises(ValueError, match="--data_path is the folder of one data set"):
        list(command.planned(flags("--train_all_datasets", "--data_path", "x")))


@pytest.mark.parametrize("text, message", [
    (["--mixed_precision", "fp16"], "--mixed_precision is not taken: Jittor's mixed precision is for CUDA"),
    (["--early_stopping_patience=3"], "--early_stopping_patience is not taken: best.safetensors keeps the weights"),
    (["--magic"], "unrecognized arguments: --magic"),
    (["--epochs", "0"], "argument --epochs: must be a whole number from 1; got 0"),
    (["--dataset", "ddti", "--data_path", "nowhere"], "nowhere: no case of layout ddti in it"),
    (["--load_model_from", "nothing.safetensors"], "--load_model_from: there is no file nothing.safetensors"),
])
def test_flags_that_are_refused(text, message, capsys):
    with pytest.raises(SystemExit) as status:
        command.main(text)
    assert status.value.code == 2 and message in capsys.readouterr().err


def test_toml_of_a_table_is_read_back():
    table = {"a": "x \"y\" \\ z", "b": 1e-6, "c": [1, 2], "d": True, "e": 5, "f": 100.0}
    assert tomllib.loads(runs.to_toml(table)) == table


@pytest.mark.slow
def test_ablations_train_four_networks_by_one_recipe(folder, tmp_path, monkeypatch, capsys):
    """With the training itself in this process."""
    started = []

    def run(table, data_folder, out, *rest):
        started.append(out.name)
        out.mkdir(parents=True)
        made = recipe(tmp_path, **table)
        train(made, read_datasets(data_folder, made), out)
        return 0

    monkeypatch.setattr(ablation, "run", run)
    recipe(tmp_path)
    out = tmp_path / "out"
    status = ablation.main([str(tmp_path / "recipe.toml"), "--data", str(folder), "--out", str(out), "--steps", "2"])
    assert status == 0 and started == ["neither", "ff_parser", "dynamic_encoding", "both"]
    lines = (out / "ablation.md").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:3] for row in cells] == [["neither", "no", "no"], ["ff_parser", "yes", "no"],
                                          ["dynamic_encoding", "no", "yes"], ["both", "yes", "yes"]]
    sizes = [int(row[3].replace(",", "")) for row in cells]
    assert sizes[0] < min(sizes[1:3]) and max(sizes[1:3]) < sizes[3] == sizes[1] + sizes[2] - sizes[0]


def test_a_run_goes_on_or_is_done_or_is_another(tmp_path, monkeypatch):
    commands = []

    class Process:
        def __init__(self, command):
            commands.append(command)

        def wait(self):
            return 0

    monkeypatch.setattr(runs.subprocess, "Popen", Process)
    out = tmp_path / "run"
    assert runs.run({"steps": 5}, tmp_path, out, ("--workers", "2"), tmp_path / "w") == 0
    assert commands[0][-4:] == ["--workers", "2", "--weights", str(tmp_path / "w")]
    from training.checkpoint import save_state

    save_state(out / "state.safetensors", {"net": {"a": np.zeros(1, np.float32)}}, 3, {}, 0.0)
    runs.run({"steps": 5}, tmp_path, out, weights=tmp_path / "w")
    assert commands[1][-1] == "--resume" and "--weights" not in commands[1]
    save_state(out / "state.safetensors", {"net": {"a": np.zeros(1, np.float32)}}, 5, {}, 0.0)
    assert runs.run({"steps": 5}, tmp_path, out) == 0 and len(commands) == 2
    with pytest.raises(ValueError, match="recipe.toml: a run by another recipe is there; choose another folder"):
        runs.run({"steps": 6}, tmp_path, out)


def test_volumes_give_their_labelled_slices(folder, tmp_path):
    made = recipe(tmp_path, datasets=["rods"], augmentation="none")
    datasets = read_datasets(folder, made)
    assert isinstance(datasets[0], data.Dataset) and datasets[0].train[0].planes() == [1, 2, 3]
    assert make_batch(made, datasets, 0)[0].shape == (4, 3, 16, 16)
