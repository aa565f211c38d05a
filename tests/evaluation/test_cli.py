"""The command line end to end, on folders of made cases."""

import csv
import json
import math
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.preview import main as preview_main

VOLUME_BOXES = ((10, 8, 2, 25, 21, 7), (30, 20, 4, 44, 35, 9))


def score(folders, *options):
    return main([str(folders / "segs"), str(folders / "gts"), "--csv", str(folders / "out" / "scores.csv"),
                 "--workers", "1", *map(str, options)])


def rows_of(folders):
    with open(folders / "out" / "scores.csv", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_a_whole_folder(folders, add_case, repo):
    """As a user calls it, in two processes."""
    for number in (3, 1, 2):
        add_case(f"2DBox_US_busi_b{number}.npz")
    add_case("3DBox_MR_sts_T1_a.npz", (12, 40, 50), boxes=VOLUME_BOXES)
    command = [sys.executable, "-m", "evaluation", "segs", "gts", "--csv", "out/scores.csv", "--workers", "2"]
    done = subprocess.run(command, cwd=folders, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(repo)})
    assert (done.returncode, done.stderr) == (0, "")
    lines = (folders / "out" / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("case,dsc,nsd,dsc_strict,nsd_strict,iou,hd95,")
    assert [line.split(",")[0] for line in lines[1:]] == ["2DBox_US_busi_b1.npz", "2DBox_US_busi_b2.npz",
                                                          "2DBox_US_busi_b3.npz", "3DBox_MR_sts_T1_a.npz"]
    assert lines[4] == "3DBox_MR_sts_T1_a.npz,1.0000,1.0000,1.0000,1.0000,1.0000,0.0000,MR,sts_T1,2,"
    assert done.stdout.startswith((folders / "out" / "scores.md").read_text())


def test_files_that_fail_score_zero_and_the_rest_goes_on(folders, add_case, capsys):
    for name in ("missing", "truncated", "shape", "good", "pickled", "truth"):
        add_case(f"2DBox_US_busi_{name}.npz")
    segs = folders / "segs"
    (segs / "2DBox_US_busi_missing.npz").unlink()
    whole = (segs / "2DBox_US_busi_truncated.npz").read_bytes()
    (segs / "2DBox_US_busi_truncated.npz").write_bytes(whole[:100])
    np.savez(segs / "2DBox_US_busi_shape.npz", segs=np.ones((50, 40), np.uint8))
    np.savez(segs / "2DBox_US_busi_pickled.npz", segs=np.array([[{}]], object))
    (folders / "gts" / "2DBox_US_busi_truth.npz").write_bytes(b"no zip")
    np.savez(segs / "2DBox_US_busi_extra.npz", segs=np.ones((50, 40), np.uint8))

    assert score(folders) == 1
    said = capsys.readouterr()
    problems = said.err.splitlines()
    assert len(problems) == 5
    for name, end in (("missing", "scored 0"), ("truncated", "scored 0"), ("shape", "got (50, 40): scored 0"),
                      ("pickled", "scored 0"), ("truth", "not scored")):
        assert [line for line in problems if line.startswith(f"2DBox_US_busi_{name}.npz: ") and line.endswith(end)]
    assert "5 of 6 cases had problems" in said.out
    assert "1 predictions have no truth" in said.out
    rows = rows_of(folders)
    scored = ("good", "missing", "pickled", "shape", "truncated")
    assert sorted(rows) == [f"2DBox_US_busi_{name}.npz" for name in scored]
    assert rows["2DBox_US_busi_good.npz"]["dsc"] == "1.0000"
    assert rows["2DBox_US_busi_missing.npz"]["dsc"] == rows["2DBox_US_busi_missing.npz"]["nsd"] == "0.0000"
    assert "there is no such file" in rows["2DBox_US_busi_missing.npz"]["note"]
    summary = json.loads((folders / "out" / "scores.json").read_text())
    assert summary["macro"]["segs"]["dsc"] == pytest.approx(1 / 5)
    assert (summary["cases"], summary["failed"]) == (5, 5)


def test_no_case_can_be_scored(folders, add_case, capsys):
    add_case("2DBox_US_busi_1.npz")
    (folders / "gts" / "2DBox_US_busi_1.npz").write_bytes(b"")
    assert score(folders) == 1
    assert "1 of 1 cases had problems" in capsys.readouterr().out
    assert rows_of(folders) == {}


def test_means_recomputed_from_the_rows(folders, add_case):
    """Macro: over cases, then datasets, then modalities; from the CSV's rows, against the Markdown's cells."""
    for name, shift in (("2DBox_US_busi_1", 0), ("2DBox_US_busi_2", 3), ("2DBox_US_head_1", 5), ("2DBox_CT_lung_1", 2),
                        ("2DBox_CT_lung_2", 4), ("2DBox_CT_lung_3", 1)):
        gts = add_case(f"{name}.npz")
        np.savez(folders / "segs" / f"{name}.npz", segs=np.roll(gts, shift, axis=1))
    assert score(folders, "--strict") == 0

    def cell(modality, dataset, column):
        lines = [[part.strip() for part in line.split("|")[1:-1]]
                 for line in (folders / "out" / "scores.md").read_text().splitlines()]
        (row,) = [line for line in lines if line[:2] == [modality, dataset]]
        return float(row[lines[0].index(column)].split()[0])

    rows = rows_of(folders)
    for metric, column in (("dsc", "DSC"), ("nsd", "NSD"), ("dsc_strict", "DSC*"), ("nsd_strict", "NSD*"),
                           ("iou", "IoU")):
        value = {case.removesuffix(".npz"): float(row[metric]) for case, row in rows.items()}
        busi = (value["2DBox_US_busi_1"] + value["2DBox_US_busi_2"]) / 2
        us = (busi + value["2DBox_US_head_1"]) / 2
        ct = (value["2DBox_CT_lung_1"] + value["2DBox_CT_lung_2"] + value["2DBox_CT_lung_3"]) / 3
        for found, expected in ((cell("US", "busi", column), busi), (cell("US", "mean of 2", column), us),
                                (cell("CT", "lung", column), ct), (cell("macro", "mean of 2", column), (us + ct) / 2),
                                (cell("all cases", "plain mean", column), sum(value.values()) / 6)):
            assert found == pytest.approx(expected, abs=6e-4)
    assert cell("all cases", "plain mean", "cases") == 6
    assert cell("CT", "lung", "HD95") == pytest.approx((2 + 4 + 1) / 3, abs=0.1)


def test_hd95_of_px_and_mm_is_never_averaged(folders, add_case):
    add_case("2DBox_MR_acdc_1.npz")
    add_case("3DBox_MR_hippo_1.npz", (12, 40, 50), boxes=VOLUME_BOXES)
    assert score(folders) == 0
    summary = json.loads((folders / "out" / "scores.json").read_text())
    assert [row["hd95_unit"] for row in summary["datasets"]] == ["px", "mm"]
    assert [row["segs"]["hd95"] for row in summary["datasets"]] == [0, 0]
    assert summary["macro"]["segs"]["hd95"] is None and summary["macro"]["segs"]["dsc"] == 1


def test_undefined_cases_are_left_out_of_the_mean_and_counted(folders, add_case, capsys):
    add_case("2DBox_US_busi_1.npz")
    gts = add_case("2DBox_US_busi_2.npz")
    gap = np.where(gts == 2, 3, gts)
    np.savez(folders / "gts" / "2DBox_US_busi_2.npz", gts=gap)
    np.savez(folders / "segs" / "2DBox_US_busi_2.npz", segs=gap)
    assert score(folders) == 0
    assert "1 of 2 cases have no DSC by the challenge's rule" in capsys.readouterr().out
    row = rows_of(folders)["2DBox_US_busi_2.npz"]
    assert (row["dsc"], row["nsd"], row["dsc_strict"]) == ("", "0.0000", "1.0000")
    summary = json.loads((folders / "out" / "scores.json").read_text())
    assert (summary["macro"]["segs"]["dsc"], summary["macro"]["segs"]["nsd"]) == (1, 0.5)


def test_a_table_of_cases_groups_them(folders, add_case):
    add_case("2DBox_US_busi_a_1.npz")
    (folders / "cases.csv").write_text("modality,dataset,case\nUS,busi,a_1\n")
    assert score(folders, "--cases", folders / "cases.csv") == 0
    assert rows_of(folders)["2DBox_US_busi_a_1.npz"]["dataset"] == "busi"


def test_baselines_in_the_same_table_and_kept(folders, add_case):
    add_case("2DBox_US_busi_1.npz")
    add_case("3DBox_MR_hippo_1.npz", (12, 40, 50), boxes=VOLUME_BOXES)
    options = ("--boxes", folders / "imgs", "--baselines", "--baseline-dir", folders / "kept")
    assert score(folders, *options) == 0
    first = rows_of(folders)
    for row in first.values():  # the objects are discs and balls as bright as can be
        assert float(row["ellipse_dsc"]) > 0.9 and float(row["grabcut_dsc"]) > 0.9
    kept = sorted(path.relative_to(folders / "kept").as_posix() for path in (folders / "kept").rglob("*.npz"))
    assert kept == [f"{method}/{case}" for method in ("ellipse", "grabcut")
                    for case in ("2DBox_US_busi_1.npz", "3DBox_MR_hippo_1.npz")]
    assert "ellipse DSC" in (folders / "out" / "scores.md").read_text()

    # Kept masks are used as they are, until the image is newer.
    path = folders / "kept" / "ellipse" / "2DBox_US_busi_1.npz"
    np.savez(path, segs=np.zeros((40, 50), np.uint8))
    assert score(folders, *options) == 0
    assert rows_of(folders)["2DBox_US_busi_1.npz"]["ellipse_dsc"] == "0.0000"
    os.utime(path, (0, 0))
    assert score(folders, *options) == 0
    assert rows_of(folders) == first


def test_a_missing_image_costs_the_baselines_only(folders, add_case, capsys):
    add_case("2DBox_US_busi_1.npz")
    add_case("2DBox_US_busi_2.npz")
    (folders / "imgs" / "2DBox_US_busi_1.npz").unlink()
    assert score(folders, "--boxes", folders / "imgs", "--baselines") == 1
    assert capsys.readouterr().err.splitlines()[0].endswith("no baselines")
    rows = rows_of(folders)
    assert (rows["2DBox_US_busi_1.npz"]["dsc"], rows["2DBox_US_busi_1.npz"]["ellipse_dsc"]) == ("1.0000", "")
    assert json.loads((folders / "out" / "scores.json").read_text())["macro"]["ellipse"]["dsc"] > 0.9


@pytest.mark.parametrize("options, text", [
    (("--baselines",), "--baselines needs --boxes"),
    (("--preview", "pictures"), "--preview needs --boxes"),
    (("--boxes", "nowhere"), "--boxes must be a folder; got nowhere"),
    (("--workers", "0"), "--workers must be at least 1; got 0"),
    (("--cases", "nowhere.csv"), "nowhere.csv"),
])
def test_bad_arguments(folders, add_case, capsys, options, text):
    add_case("2DBox_US_busi_1.npz")
    assert score(folders, *options) == 2
    assert text in capsys.readouterr().err
    assert not (folders / "out" / "scores.csv").exists()


def test_bad_folders(folders, capsys):
    assert score(folders) == 2
    assert "GTS must hold npz files" in capsys.readouterr().err
    assert main([str(folders / "nowhere"), str(folders / "gts"), "--csv", "x.csv"]) == 2
    assert "SEGS must be a folder" in capsys.readouterr().err


def is_picture(path):
    picture = cv2.imread(str(path))
    return picture is not None and picture.std() > 5


def test_previews(folders, add_case):
    for number in range(5):
        gts = add_case(f"2DBox_US_busi_{number}.npz")
        np.savez(folders / "segs" / f"2DBox_US_busi_{number}.npz", segs=np.roll(gts, number, axis=0))
    add_case("3DBox_MR_hippo_1.npz", (12, 40, 50), boxes=VOLUME_BOXES)
    assert score(folders, "--boxes", folders / "imgs", "--preview", folders / "pictures", "--preview-most", "3") == 0
    pictures = sorted((folders / "pictures").iterdir())
    assert [path.stem for path in pictures] == ["2DBox_US_busi_0", "2DBox_US_busi_2", "2DBox_US_busi_4",
                                                "3DBox_MR_hippo_1"]
    assert all(map(is_picture, pictures))


def test_a_preview_without_a_prediction(folders, add_case):
    add_case("2DBox_US_busi_1.npz")
    (folders / "segs" / "2DBox_US_busi_1.npz").unlink()
    assert score(folders, "--boxes", folders / "imgs", "--preview", folders / "pictures") == 1
    assert is_picture(folders / "pictures" / "2DBox_US_busi_1.png")


def test_previews_without_a_truth(folders, add_case, capsys):
    add_case("2DBox_US_busi_1.npz")
    add_case("2DBox_US_busi_2.npz")
    add_case("one slice.npz", (1, 40, 50), boxes=((10, 8, 0, 25, 21, 0),))
    (folders / "segs" / "2DBox_US_busi_2.npz").unlink()
    out = folders / "pictures"
    assert preview_main([str(folders / "imgs"), str(folders / "segs"), "-o", str(out), "--workers", "1"]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["2DBox_US_busi_1.png", "one slice.png"]
    assert all(map(is_picture, out.iterdir()))
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "not drawn" in said.err
    assert "2 of 3 pictures drawn" in said.out
    assert preview_main([str(folders / "nowhere"), str(folders / "segs"), "-o", str(out)]) == 2


def test_nan_never_reaches_the_json(folders, add_case):
    add_case("2DBox_US_busi_1.npz")
    np.savez(folders / "gts" / "2DBox_US_busi_1.npz", gts=np.zeros((40, 50), np.uint8))
    assert score(folders) == 0
    text = (folders / "out" / "scores.json").read_text()
    assert "NaN" not in text and not math.isnan(json.loads(text)["undefined"])
