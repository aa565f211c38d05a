"""The evaluation of diffusion models: scores by hand, and the command with a denoiser in numpy."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation.diffusion import __main__ as command
from evaluation.diffusion import cases, drawn, network, scores
from inference.diffusion.ensemble import fuse, uncertainty
from inference.engines import EngineError
from inference.segment.diffusion import DiffusionSegmenter
from inference.weights import WeightsError

FACTS = {"family": "medsegdiff-nano", "image_size": "16", "channels": "3", "self_condition": "false", "timesteps": "20",
         "schedule": "cosine", "objective": "pred_x0", "steps": "3", "samples": "2", "fusion": "mean"}


class Bright:
    """Says that the object is where it is bright, and some noise."""

    concurrent = False

    def __init__(self, unsure=0.4, **facts):
        self.facts, self.unsure, self.drawn = FACTS | facts, unsure, 0

    def __call__(self, noisy, time, image):
        self.drawn += len(noisy)
        return (np.where(image[:, :1] > 0, 1, -1) + self.unsure * noisy).astype(np.float32)


@pytest.fixture
def engine(monkeypatch):
    """Stands for a model of the manifest that is called nano."""
    one = Bright()

    def open_model(name, engine):
        if name != "nano":
            raise WeightsError(f"model must be one of nano; got {name}")
        return one, "0" * 64

    monkeypatch.setattr(network, "open_model", open_model)
    return one


@pytest.fixture
def folder(tmp_path):
    """imgs/ and gts/ of three images of two datasets, 32 x 48 px, and a volume."""
    for part in ("imgs", "gts"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name, columns in (("2DBox_US_busi_1", 20), ("2DBox_US_busi_2", 30), ("2DBox_Fundus_huz_1", 10)):
        gts = np.zeros((32, 48), np.uint8)
        gts[8:20, 6:6 + columns], gts[10:14, 10:14] = 1, 2
        np.savez(tmp_path / "data" / "imgs" / f"{name}.npz", imgs=np.where(gts > 0, 220, 30).astype(np.uint8),
                 boxes=np.array([[6, 8, 40, 19]]))
        np.savez(tmp_path / "data" / "gts" / f"{name}.npz", gts=gts)
    for part, key in (("imgs", "imgs"), ("gts", "gts")):
        np.savez(tmp_path / "data" / part / "3DBox_CT_x_1.npz", **{key: np.zeros((3, 8, 8), np.uint8)})
    return tmp_path / "data"


def run(folder, out, *more):
    return command.main(["--model", "nano", "--data", str(folder), "--out", str(out), *more])


def rows(out):
    with open(out / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_dice_and_iou_by_hand():
    truth, prediction = np.zeros((2, 8), bool), np.zeros((2, 8), bool)
    truth[0, :4], prediction[0, 2:8] = True, True  # 4, 6, in common 2
    dice, iou = scores.dice_iou(truth, prediction)
    assert dice == pytest.approx(0.4, abs=1e-6) and iou == pytest.approx(0.25, abs=1e-6)
    empty = np.zeros((2, 8), bool)
    assert scores.dice_iou(empty, empty) == (1, 1) and max(scores.dice_iou(truth, empty)) < 1e-6


def test_both_resolutions_are_scored():
    """A truth of 32 x 32 px that the network's 4 x 4 px cannot draw: a strip of 4 px a side of 8. At 4 x 4 it has no pixel."""
    truth = np.zeros((32, 32), bool)
    truth[8:24, 8:24] = True
    fused = np.zeros((4, 4), np.float32)
    fused[1:3, 1:3] = 1
    found = scores.score(truth, fused, 0.5)
    assert found["dice_network"] == found["iou_network"] == 1 and 0.9 < found["dice"] < 1  # the enlargement rounds corners
    thin = np.zeros((32, 32), bool)
    thin[8:11] = True
    found = scores.score(thin, np.zeros((4, 4), np.float32), 0.5)
    assert found["dice_network"] == 1 and found["dice"] < 1e-6


def test_means_are_over_images_not_over_datasets():
    def row(dataset, image, dice, samples=1):
        return scores.Row(dataset, image, 5, samples, 8, 8, 4, dice, dice, dice, dice, 2.0)

    found = scores.means([row("a", "1", 0.2), row("a", "2", 0.4), row("b", "3", 0.9), row("a", "1", 0.5, 5)])
    values = {(group["samples"], group["dataset"]): (group["images"], group["dice"]) for group in found}
    assert values[1, "a"] == (2, pytest.approx(0.3)) and values[1, "all"] == (3, pytest.approx(0.5))
    assert values[5, "all"] == (1, 0.5) and found[0]["seconds"] == 2
    assert "| 5 | 1 | a | 2 | 0.3000 |" in scores.to_markdown(found, 4)


def test_the_command_writes_tables_and_pictures(engine, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(folder, out, "--steps", "2", "3", "--samples", "1", "4") == 0
    found = rows(out)
    assert len(found) == 3 * 2 * 2 and {row["image"] for row in found} == {"2DBox_US_busi_1", "2DBox_US_busi_2",
                                                                           "2DBox_Fundus_huz_1"}
    assert {(row["height"], row["width"], row["network_px"]) for row in found} == {("32", "48", "16")}
    assert all(float(row["dice"]) > 0.85 and float(row["seconds"]) > 0 for row in found)
    summary = json.loads((out / "results.json").read_text())
    assert summary["model"] == "medsegdiff-nano" and "16 x 16 px" in summary["resolution"] and summary["threshold"] == 0.5
    first = [(group["steps"], group["samples"], group["dataset"]) for group in summary["results"][:3]]
    assert first == [(2, 1, "huz"), (2, 1, "busi"), (2, 1, "all")]
    group = summary["results"][-1]
    assert (group["steps"], group["samples"], group["dataset"]) == (3, 4, "all")
    mine = [float(row["dice"]) for row in found if (row["steps"], row["samples"]) == ("3", "4")]
    assert group["images"] == 3 and group["dice"] == pytest.approx(np.mean(mine), abs=1e-6)
    assert capsys.readouterr().out.startswith((out / "results.md").read_text())
    montage = cv2.imread(str(out / "overview.png"))
    assert montage.shape[0] > 3 * 150 and montage.std() > 10

    # The pictures are those of the samples that the runtime, too, would draw.
    with np.load(folder / "imgs" / "2DBox_US_busi_1.npz") as stored:
        samples = DiffusionSegmenter(engine, steps=3).draw(stored["imgs"], range(4))
    folder_of = out / "steps3_samples4_mean"
    for kind, plane in (("fused", fuse(samples)), ("uncertainty", uncertainty(samples) * 4)):
        picture = cv2.imread(str(folder_of / f"2DBox_US_busi_1_{kind}.png"), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (32, 48) and picture.dtype == np.uint8
        expected = cv2.resize(plane, (48, 32), interpolation=cv2.INTER_LINEAR) * 255
        assert np.abs(picture - expected).max() < 2
    assert len(list(folder_of.iterdir())) == 6 and len(list((out / "steps3_samples1_mean").iterdir())) == 3


def test_the_command_draws_what_is_missing_alone(engine, folder, tmp_path):
    out = tmp_path / "out"
    assert run(folder, out, "--steps", "2", "--samples", "2") == 0
    first, engine.drawn = rows(out), 0
    assert run(folder, out, "--steps", "2", "--samples", "2") == 0
    assert engine.drawn == 0 and rows(out) == first
    assert run(folder, out, "--steps", "2", "--samples", "2", "5") == 0
    assert engine.drawn == 3 * 3 * 2 + 2  # three more samples of three images in two steps; one to warm up
    assert [row for row in rows(out) if row["samples"] == "2"] == first
    at_once = tmp_path / "at_once"
    assert run(folder, at_once, "--steps", "2", "--samples", "5") == 0
    key = ("image", "dice", "iou", "dice_network")
    assert [[row[k] for k in key] for row in rows(at_once)] == [[row[k] for k in key] for row in rows(out)
                                                                if row["samples"] == "5"]


def test_other_settings_do_not_mix(engine, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(folder, out, "--samples", "1") == 0
    assert run(folder, out, "--samples", "1", "--seed", "1") == 2
    assert "an evaluation with other settings is there; choose another --out" in capsys.readouterr().err
    assert run(folder, out, "--samples", "1", "--fusion", "majority") == 0  # fuses the same samples
    assert (out / "steps3_samples1_majority").is_dir()


def test_a_broken_image_does_not_stop_the_others(engine, folder, tmp_path, capsys):
    (folder / "imgs" / "2DBox_US_busi_1.npz").write_bytes(b"nothing")
    assert run(folder, tmp_path / "out", "--samples", "1") == 1
    captured = capsys.readouterr()
    assert "2DBox_US_busi_1" in captured.err and "not scored" in captured.err and "Traceback" not in captured.err
    assert "2 of 3 images scored" in captured.out and len(rows(tmp_path / "out")) == 2


def test_a_volume_is_no_image(engine, tmp_path, capsys):
    (tmp_path / "US" / "a").mkdir(parents=True)
    np.savez(tmp_path / "US" / "a" / "case.npz", imgs=np.zeros((4, 8, 8), np.uint8), gts=np.ones((4, 8, 8), np.uint8))
    assert run(tmp_path, tmp_path / "out", "--samples", "1") == 1
    assert "case: gts must be of an image, (H, W); got (4, 8, 8): not scored" in capsys.readouterr().err


def test_datasets_and_labels_are_chosen(engine, folder, tmp_path):
    assert run(folder, tmp_path / "out", "--samples", "1", "--datasets", "huz", "--labels", "2") == 0
    row, = rows(tmp_path / "out")
    assert row["dataset"] == "huz" and float(row["dice"]) < 0.5  # the object is a part of what is bright


@pytest.mark.parametrize("more, message", [
    (["--steps", "21"], "steps must be 1..20; got 21"), (["--samples", "0"], "--samples must be 1 or more; got 0"),
    (["--datasets", "none"], "has no image of none"), (["--layout", "ddti"], "no case of layout ddti in it"),
    (["--seed", "-1"], "seed must be 0 or more; got -1"),
])
def test_bad_arguments(engine, folder, tmp_path, more, message, capsys):
    assert run(folder, tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_unknown_models(engine, folder, tmp_path, capsys):
    for arguments, message in ((["--model", "roi2d"], "model must be one of nano; got roi2d"),
                               (["--weights", "nowhere.safetensors"], "nowhere.safetensors")):
        assert command.main([*arguments, "--data", str(folder), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    engine.facts = {"family": "roi2d"}
    assert run(folder, tmp_path / "out") == 2
    assert "--model must be a diffusion model; got nano" in capsys.readouterr().err


def test_an_engine_that_cannot_run_is_one_line(engine, folder, tmp_path, monkeypatch, capsys):
    def fail(self, *arguments):
        raise EngineError("nano.xml must be a model for other inputs")

    monkeypatch.setattr(DiffusionSegmenter, "draw", fail)
    assert run(folder, tmp_path / "out") == 2
    assert capsys.readouterr().err == "evaluation.diffusion: nano.xml must be a model for other inputs\n"


def test_layouts_of_published_data_sets_are_read(engine, tmp_path):
    for part, grey in (("images", 200), ("masks", 255)):
        (tmp_path / part).mkdir()
        plane = np.zeros((20, 30), np.uint8)
        plane[5:15, 8:22] = grey
        cv2.imwrite(str(tmp_path / part / "1.PNG"), plane)
    assert run(tmp_path, tmp_path / "out", "--layout", "ddti", "--samples", "1") == 0
    assert rows(tmp_path / "out")[0]["dataset"] == "ddti"


def test_names_that_are_there_twice_are_refused(folder, tmp_path):
    root = tmp_path / "tree"
    for dataset in ("a", "b"):
        (root / "US" / dataset).mkdir(parents=True)
        np.savez(root / "US" / dataset / "2D_1.npz", imgs=np.zeros((8, 8), np.uint8), gts=np.ones((8, 8), np.uint8))
    with pytest.raises(ValueError, match="names must differ; 2D_1 is there more than once"):
        cases.find(root, "npz", ())
    assert [source.name for source in cases.find(root, "npz", ("b",))] == ["2D_1"]
    assert [source.name for source in cases.find(folder, "npz", ("busi",))] == ["2DBox_US_busi_1", "2DBox_US_busi_2"]


def test_samples_are_kept_whole(tmp_path):
    image, path = np.full((8, 8), 200, np.uint8), tmp_path / "a.npz"
    segmenter = DiffusionSegmenter(Bright())
    assert drawn.missing(path, 1)
    found = drawn.drawn(segmenter, image, [1, 3], path)
    assert found.samples.shape == (3, 16, 16) and found.seconds.shape == (3,) and not drawn.missing(path, 3)
    assert drawn.missing(path, 4) and [entry.name for entry in Path(tmp_path).iterdir()] == ["a.npz"]
    assert np.array_equal(drawn.drawn(segmenter, image, [3], path).samples, segmenter.draw(image, range(3)))


@pytest.mark.slow
def test_the_weights_of_a_run_are_judged(folder, tmp_path):
    """As training wrote them, with what its recipe changed of the model."""
    from models.medsegdiff.build import build, save_weights

    model = build("medsegdiff-nano", image_size=16, dim=8, dim_mults=(1, 2), cond_patch_size=2, ff_parser=False)
    save_weights(model, tmp_path / "best.safetensors")
    status = command.main(["--weights", str(tmp_path / "best.safetensors"), "--data", str(folder), "--samples", "1", "--steps",
                           "2", "--out", str(tmp_path / "out")])
    summary = json.loads((tmp_path / "out" / "results.json").read_text())
    assert status == 0 and summary["engine"] == "jittor" and len(rows(tmp_path / "out")) == 3
