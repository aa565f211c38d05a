"""Few-shot protocols: files to cases, what a tracker is shown and in which order, pixels counted by hand, resuming."""

import csv
import os

import cv2
import numpy as np
import pytest

from evaluation.fewshot import __main__ as command
from evaluation.fewshot.data import FewShotCase, FewShotError, Query, Support, find_cases, read_case
from evaluation.fewshot.picture import picture_of
from evaluation.fewshot.protocols import copied, follow, runs
from evaluation.fewshot.results import read_rows
from inference.segment.frame import Frame

SIDE = 8
IMAGENET = {"image_size": "16", "resize": "cubic", "normalise": "mean_std", "mean": "123.675,116.28,103.53",
            "std": "58.395,57.12,57.375"}
DRAW = command._picture


def square(size: int) -> np.ndarray:
    """bool (8, 8) with size x size pixels."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:size, :size] = True
    return mask


def image_of(name: float, guess: np.ndarray) -> np.ndarray:
    """float32 (1, 3, 8, 8): `name` in channel 0, by which tests know it; in channel 1 what the fake tracker answers."""
    image = np.zeros((1, 3, SIDE, SIDE), np.float32)
    image[0, 0], image[0, 1] = name, guess
    return image


def write_file(folder, name, support: int, query: int, truth=1, guess=1, label=2, **changes):
    """One file. support, query: names of the images; the support's mask has that many pixels a side."""
    arrays = {"sup_img_part": image_of(support, square(0)), "sup_fgm_part": square(support)[None].astype(np.float32),
              "sup_bgm_part": (~square(support))[None].astype(np.float32), "query_images": image_of(query, square(guess)),
              "query_labels": square(truth)[None].astype(np.float32), "labels": np.array([label]), "n_scan": np.array(0)}
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, **{key: array for key, array in (arrays | changes).items() if array is not None})


class FakeSequence:
    """The interface of `inference.segment.propagate.Sequence`; `log` has what was asked of it."""

    log: list = []

    def __init__(self, images):
        self._images = images
        self.log.append(("images", [int(image[0, 0, 0]) for image in images]))

    def add_masks(self, frame, masks):
        assert masks.shape == (1, SIDE, SIDE) and masks.dtype == bool
        self.log.append(("mask", frame, int(masks.sum())))

    def propagate(self, first, last):
        step = -1 if last < first else 1
        for frame in range(first, last + step, step):
            self.log.append(("frame", frame))
            yield frame, np.where(self._images[frame][None, :, :, 1] > 0, 3.0, -3.0).astype(np.float32)


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(FakeSequence, "log", [])
    return FakeSequence.log


def made(queries: int, supports: int = 3) -> FewShotCase:
    """Supports are called 1, 2, 3 and have as many pixels a side; queries 10, 11, ..."""
    planar = [np.moveaxis(image_of(name, square(1))[0], 0, -1) for name in (*range(1, supports + 1), *range(10, 10 + queries))]
    return FewShotCase("1_case_0", "0", 2, [Support(planar[i], square(i + 1)) for i in range(supports)],
                [Query(20 + i, planar[supports + i], square(2), i * supports // queries) for i in range(queries)])


def test_slice_shows_all_supports_and_one_query_at_a_time(log):
    answers = list(follow(made(2), "slice", FakeSequence))
    assert log == [("images", [1, 2, 3, 10]), ("mask", 0, 1), ("mask", 1, 4), ("mask", 2, 9), ("frame", 3),
                   ("images", [1, 2, 3, 11]), ("mask", 0, 1), ("mask", 1, 4), ("mask", 2, 9), ("frame", 3)]
    assert [answer.query for answer in answers] == [0, 1] and all(answer.prompt_s > 0 for answer in answers)


def test_top_follows_the_second_support_through_all_queries(log):
    answers = list(follow(made(5), "top", FakeSequence))
    assert log == [("images", [2, 10, 11, 12, 13, 14]), ("mask", 0, 4), *(("frame", frame) for frame in (1, 2, 3, 4, 5))]
    assert [answer.query for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer.prompt_s > 0 for answer in answers] == [True, False, False, False, False]


def test_middle_follows_it_to_the_end_and_then_to_the_beginning(log):
    answers = list(follow(made(5), "middle", FakeSequence))
    assert log == [("images", [10, 11, 2, 12, 13, 14]), ("mask", 2, 4), *(("frame", frame) for frame in (3, 4, 5, 1, 0))]
    assert [answer.query for answer in answers] == [2, 3, 4, 1, 0]


@pytest.mark.parametrize("queries, images, frames, answered", [
    (1, [2, 10], [1], [0]),
    # Frame 0 alone would be followed forwards: the prompted frame comes first, and is no answer.
    (2, [10, 2, 11], [2, 1, 0], [1, 0]),
    (3, [10, 2, 11, 12], [2, 3, 1, 0], [1, 2, 0]),
    (4, [10, 11, 2, 12, 13], [3, 4, 1, 0], [2, 3, 1, 0]),
])
def test_middle_of_few_slices(queries, images, frames, answered, log):
    answers = list(follow(made(queries), "middle", FakeSequence))
    assert log[0] == ("images", images) and [entry[1] for entry in log[2:]] == frames
    assert [answer.query for answer in answers] == answered


def test_two_of_three_supports_do_and_one_is_an_error_that_says_so():
    run, = runs(made(3, supports=2), "top")
    assert run.masks[0].sum() == 4
    for protocol in ("top", "middle"):
        with pytest.raises(FewShotError, match=f"1_case_0: protocol {protocol} takes the support of the second sub-volume"):
            next(runs(made(3, supports=1), protocol))
    assert len(list(runs(made(3, supports=1), "slice"))) == 3


def test_copying_gives_the_nearest_mask_that_the_protocol_shows():
    for protocol, sides in (("slice", [1, 1, 2, 2, 3, 3]), ("top", [2] * 6), ("middle", [2] * 6)):
        assert [int(answer.mask.sum()) for answer in copied(made(6), protocol)] == [side**2 for side in sides]


def test_files_are_grouped_by_scan_label_and_support(tmp_path):
    for counter, scan, z, support in ((1, 10, 9, 1), (1, 10, 10, 1), (1, 10, 11, 2), (1, 10, 12, 3), (1, 9, 4, 1),
                                      (2, 10, 11, 3), (2, 10, 100, 2)):
        write_file(tmp_path, f"{counter}_{z + 1}_case_{scan}_z{z}.npz", support, 100 + z, label=6 * counter)
    (tmp_path / "other.npz").write_bytes(b"")
    cases = find_cases(tmp_path)
    assert [(case.name, case.slices) for case in cases] == [
        ("1_case_9", (4,)), ("1_case_10", (9, 10, 11, 12)), ("2_case_10", (11, 100))]
    case = read_case(cases[1])
    assert (case.label_id, case.scan) == (6, "10")
    assert [int(support.image[0, 0, 0]) for support in case.supports] == [1, 2, 3]
    assert [int(support.mask.sum()) for support in case.supports] == [1, 4, 9]
    assert [(query.z, query.support, int(query.image[0, 0, 0])) for query in case.queries] == [
        (9, 0, 109), (10, 0, 110), (11, 1, 111), (12, 2, 112)]
    # Sub-volumes are counted within a case: here the support of other cases' third one comes first.
    assert [int(support.image[0, 0, 0]) for support in read_case(cases[2]).supports] == [3, 2]


@pytest.mark.parametrize("changes, words", [
    ({"query_labels": None}, "must hold an array query_labels; got sup_img_part"),
    ({"query_images": np.zeros((3, 8, 8))}, "query_images must be (1, 3, H, W); got (3, 8, 8)"),
    ({"query_images": np.full((1, 3, 8, 8), np.nan)}, "query_images must be finite numbers; got float64 nan..nan"),
    ({"sup_fgm_part": np.full((1, 8, 8), 2)}, "sup_fgm_part must hold 0 and 1 alone; got 2..2"),
    ({"sup_fgm_part": np.zeros((1, 9, 8))}, "all images and masks must be of one size; got sup_img_part (8, 8), sup_fgm_part"),
    ({"labels": np.array([0.5])}, "labels must be an integer; got float64"),
    ({"labels": np.array([{}], object)}, "must be an npz that can be read"),
    ({"labels": np.array([3])}, "must be those of the case's other files, 2 and (8, 8); got 3 and (8, 8)"),
])
def test_files_that_cannot_be_used_are_named(changes, words, tmp_path):
    write_file(tmp_path, "1_1_case_0_z1.npz", 1, 10)
    write_file(tmp_path, "1_2_case_0_z2.npz", 1, 11, **changes)
    with pytest.raises(FewShotError) as error:
        read_case(find_cases(tmp_path)[0])
    assert str(error.value).startswith("1_2_case_0_z2.npz: ") and words in str(error.value)


def test_a_picture_is_stretched_resized_and_normalised():
    image = np.random.default_rng(0).normal(-3, 7, (12, 12, 3)).astype(np.float32)
    picture = picture_of(Frame(IMAGENET | {"keep_aspect": "false"}))(image)
    low, high = image.min(), image.max()
    resized = cv2.resize((image - low) / (high - low), (16, 16), interpolation=cv2.INTER_LINEAR)
    expected = (resized - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(picture, expected.transpose(2, 0, 1), atol=1e-5)
    assert len(np.unique(picture[0])) > 200  # not of 8 bits: 256 pixels, hardly two alike


def test_a_picture_that_keeps_its_proportions_is_padded_with_zeros():
    image = np.arange(32, dtype=np.float32).reshape(4, 8)
    picture = picture_of(Frame(IMAGENET | {"keep_aspect": "true"}))(image)
    assert picture.shape == (3, 16, 16) and not picture[:, 8:].any()
    assert picture[0, 0, 0] == pytest.approx(-0.485 / 0.229) and picture[2, 7, 15] == pytest.approx((1 - 0.406) / 0.225)
    plain = {"image_size": "16", "resize": "area", "normalise": "min_max", "keep_aspect": "true"}
    picture = picture_of(Frame(plain))(image - 100)
    assert picture.min() == 0 and picture[:, :8].max() == 1 and not picture[:, 8:].any()


@pytest.mark.parametrize("facts", [IMAGENET, IMAGENET | {"normalise": "min_max"}])
def test_a_constant_slice_is_black(facts):
    with np.errstate(all="raise"):
        picture = picture_of(Frame(facts | {"keep_aspect": "false"}))(np.full((8, 8), 4.2, np.float32))
    black = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225] if facts["normalise"] == "mean_std" else [0, 0, 0]
    np.testing.assert_allclose(picture, np.array(black)[:, None, None] * np.ones((1, 16, 16)), atol=1e-5)


@pytest.fixture
def data(tmp_path, monkeypatch, log):
    """Label 6 of scan 0 (three slices, a support each) and of scan 1 (two slices, two supports), and a fake tracker."""
    folder = tmp_path / "data"
    for z, support, truth, guess in ((4, 1, 2, 2), (5, 2, 3, 2), (6, 3, 0, 1)):
        write_file(folder, f"1_{z + 1}_case_0_z{z}.npz", support, 10 + z, truth, guess, label=6)
    for z, support, truth, guess in ((7, 1, 4, 5), (8, 2, 1, 0)):
        write_file(folder, f"1_{z + 9}_case_1_z{z}.npz", support, 20 + z, truth, guess, label=6)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "manifest.json").write_text('{"models": [{"name": "tiny", "family": "sam2", "files": {"openvino": "t.xml"}}]}')
    (weights / "t.xml").write_text("")
    for path in (weights / "t.xml", *folder.iterdir()):
        os.utime(path, (1, 1))
    monkeypatch.setenv("WEIGHTS", str(weights))
    monkeypatch.setattr(command, "_open", lambda args: FakeSequence)
    monkeypatch.setattr(command, "_picture", lambda *_: b"drawn by one test alone, for its time")
    return folder


def run(data, *options) -> int:
    return command.main(["--model", "tiny", "--data", str(data), "--out", str(data.parent / "out"), *options])


def table(data, protocol) -> list[dict[str, str]]:
    with open(data.parent / "out" / f"{protocol}.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_dice_is_that_of_all_slices_of_all_scans(data, capsys):
    assert run(data, "--protocol", "all", "--baseline", "copy") == 0
    # Squares from one corner. Scan 0: 2 on 2, 3 by 2, none by 1; scan 1: 4 by 5, 1 by none.
    tp, fp, fn = 4 + 4 + 0 + 16 + 0, 0 + 0 + 1 + 9 + 0, 0 + 5 + 0 + 0 + 1
    ours = {"model_cfg": "tiny", "label_id": "6", "tp": "24", "fp": "10", "fn": "6", "dice": "0.750000"}
    assert (tp, fp, fn) == (24, 10, 6) and 2 * tp / (2 * tp + fp + fn) == 0.75
    # Copied in slice: 2 by 1, 3 by 2, none by 3; 4 by 1, 1 by 2. Else all by 2.
    copy = {"slice": (1 + 4 + 0 + 1 + 1, 0 + 0 + 9 + 0 + 3, 3 + 5 + 0 + 15 + 0),
            "top": (4 + 4 + 0 + 4 + 1, 0 + 0 + 4 + 0 + 3, 0 + 5 + 0 + 12 + 0)}
    copy["middle"] = copy["top"]
    for protocol in ("slice", "top", "middle"):
        found = table(data, protocol)
        assert list(found[0]) == ["model_cfg", "label_id", "tp", "fp", "fn", "dice"]
        assert found[0] == ours and found[1]["model_cfg"] == "copy"
        assert tuple(int(found[1][key]) for key in ("tp", "fp", "fn")) == copy[protocol]
    said = capsys.readouterr().out
    assert "| tiny | 6 | 2 | 5 | 0.7500 |" in said and "12 done, 0 failed" in said
    rows = read_rows(data.parent / "out" / "middle" / "tiny" / "1_case_0.csv")
    assert [(row.slice, row.tp, row.fp, row.fn) for row in rows] == [(4, 4, 0, 0), (5, 4, 0, 5), (6, 0, 1, 0)]
    assert all(row.propagate_ms > 0 and row.label_id == 6 and row.case == "0" for row in rows)


def test_there_is_a_picture_of_each_case(data, monkeypatch):
    monkeypatch.setattr(command, "_picture", DRAW)
    assert run(data, "--protocol", "top") == 0
    for name in ("1_case_0", "1_case_1"):
        picture = cv2.imread(str(data.parent / "out" / "top" / "tiny" / f"{name}.png"))
        assert picture.shape[1] == 1200 and picture.std() > 5


def test_it_goes_on_where_it_stopped(data, log):
    assert run(data, "--protocol", "top") == 0
    before, first = table(data, "top"), data.parent / "out" / "top" / "tiny" / "1_case_0.csv"
    log.clear()
    assert run(data, "--protocol", "top") == 0
    assert not log and table(data, "top") == before
    first.write_text("".join(first.read_text().splitlines(keepends=True)[:-1]))
    assert run(data, "--protocol", "top") == 0
    assert [entry[1] for entry in log if entry[0] == "images"] == [[2, 14, 15, 16]] and table(data, "top") == before
    log.clear()
    newer = first.stat().st_mtime_ns + 10**9
    os.utime(next(data.glob("*_case_1_*")), ns=(newer, newer))
    assert run(data, "--protocol", "top") == 0
    assert [entry[1] for entry in log if entry[0] == "images"] == [[2, 27, 28]]
    log.clear()
    assert run(data, "--protocol", "top", "--overwrite") == 0
    assert len([entry for entry in log if entry[0] == "images"]) == 2
    assert not [path for path in data.parent.rglob("*") if path.name.startswith(".")]


def test_a_model_that_was_exported_again_is_measured_again(data, log):
    assert run(data, "--protocol", "top") == 0
    log.clear()
    newer = (data.parent / "out" / "top" / "tiny" / "1_case_0.csv").stat().st_mtime_ns + 10**9
    os.utime(data.parent / "weights" / "t.xml", ns=(newer, newer))
    assert run(data, "--protocol", "top") == 0 and log


def test_a_case_of_one_chunk_and_a_broken_one_do_not_stop_the_others(data, capsys):
    write_file(data, "2_1_case_0_z1.npz", 1, 10, label=3)
    (data / "2_2_case_1_z1.npz").write_bytes(b"PK")
    assert run(data) == 1
    said = capsys.readouterr()
    problems = said.err.splitlines()
    assert [line.split(":")[0] for line in problems if "2_2_case_1_z1.npz: must be an npz" in line] == [
        f"2_case_1, {protocol}, tiny" for protocol in ("slice", "top", "middle")]
    assert [line.split(":")[0] for line in problems if "second sub-volume" in line] == [
        "2_case_0, top, tiny", "2_case_0, middle, tiny"]
    assert "7 done, 5 failed" in said.out
    # Of the supports' one pixel the guess is right: label 3 comes before 6.
    assert [(row["label_id"], row["dice"]) for row in table(data, "slice")] == [("3", "1.000000"), ("6", "0.750000")]
    assert [row["label_id"] for row in table(data, "top")] == ["6"]


def test_a_tracker_that_fails_or_leaves_slices_out_fails_its_case(data, monkeypatch, capsys):
    class Lazy(FakeSequence):
        def propagate(self, first, last):
            if len(self._images) == 3:
                raise RuntimeError("out of\nluck")
            yield from super().propagate(first, last - 1)

    monkeypatch.setattr(command, "_open", lambda args: Lazy)
    assert run(data, "--protocol", "top") == 1
    assert capsys.readouterr().err.splitlines() == ["1_case_0, top, tiny: the tracker must answer all 3 slices; got 2",
                                                    "1_case_1, top, tiny: RuntimeError: out of luck"]
    assert not list((data.parent / "out" / "top" / "tiny").iterdir()) and table(data, "top") == []


def test_neither_truth_nor_prediction_is_no_dice(tmp_path, data):
    for path in data.iterdir():
        path.unlink()
    for z, support in ((1, 1), (2, 2)):
        write_file(data, f"1_{z}_case_0_z{z}.npz", support, 10 + z, truth=0, guess=0)
    assert run(data, "--protocol", "top") == 0
    assert table(data, "top")[0]["dice"] == ""


def test_bad_arguments(data, capsys):
    assert run(data / "nowhere") == 2 and "--data must be a folder" in capsys.readouterr().err
    assert run(data, "--model", "huge") == 2 and "model must be one of tiny; got huge" in capsys.readouterr().err
    (data.parent / "empty").mkdir()
    assert run(data.parent / "empty") == 2 and "must hold files" in capsys.readouterr().err
    assert run(data, "--protocol", "top") == 0
    assert run(data, "--engine", "onnxruntime") == 2
    assert "made with other settings (engine); add --overwrite" in capsys.readouterr().err
