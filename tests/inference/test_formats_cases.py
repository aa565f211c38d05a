"""Which files are cases, their boxes, cases without boxes, and what is missing on a machine."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from inference.__main__ import main
from inference.case import CaseError, read_case
from inference.formats import find_cases, sidecar

GREY = np.full((20, 30), 100, np.uint8)
VOLUME_IJK = np.full((30, 20, 6), 100, np.uint8)
MAGIC = bytes(128) + b"DICM"


def put(folder, name, content=None, boxes=None):
    """A file of the kind that its name says, or of these bytes; its boxes beside it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    elif ".nii" in name:
        nib.save(nib.Nifti1Image(VOLUME_IJK, np.diag([-1, -1, 1, 1])), path)
    elif name.endswith(".npz"):
        np.savez(path, imgs=GREY, boxes=np.array([[1, 2, 9, 8]]))
    else:
        Image.fromarray(GREY).save(path)
    if boxes is not None:
        (folder / f"{name.partition('.')[0]}.boxes.json").write_text(boxes if isinstance(boxes, str) else json.dumps(boxes))
    return path


def run(folder, *options):
    return main(["-i", str(folder / "in"), "-o", str(folder / "out"), *options])


def test_all_formats_in_one_folder_in_the_order_of_their_names(tmp_path, box_filler, capsys):
    boxes, volumes = {"boxes": [[1, 2, 9, 8]]}, {"boxes": [[1, 2, 0, 9, 8, 3]]}
    put(tmp_path / "in", "d.npz")
    put(tmp_path / "in", "a.png", boxes=boxes)
    put(tmp_path / "in", "c.jpg", boxes=boxes)
    put(tmp_path / "in", "b.nii.gz", boxes=volumes)
    for other in (".hidden.png", "._a.png", "notes.txt", "e.tiff", "truth/a.png", "truth/a.npz"):
        put(tmp_path / "in", other, b"none of my business")
    assert run(tmp_path, "-v") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:-1]] == [
        [name, "objects", "1"] for name in ("a.png", "b.nii.gz", "c.jpg", "d.npz")]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.nii.gz", "c.png", "d.npz"]


def test_folders_of_dicom_files_are_cases(tmp_path):
    put(tmp_path, "a/IM1", MAGIC)
    put(tmp_path, "b/one.DCM", b"not even DICOM")
    put(tmp_path, "c/readme.txt", b"")
    put(tmp_path, "c/x.npz", MAGIC)
    put(tmp_path, "d/deep/IM1", MAGIC)
    put(tmp_path, "e/DICOMDIR", MAGIC)
    put(tmp_path, ".f/IM1", MAGIC)
    assert find_cases(tmp_path) == {tmp_path / "a": "a.nii.gz", tmp_path / "b": "b.nii.gz"}
    assert find_cases(tmp_path / "a") == {tmp_path / "a": "a.nii.gz"}       # the input folder itself


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("a.png", "a.jpg"), ("a.JPEG", "a.jpg"), ("a.nii", "a/IM1")])
def test_two_cases_whose_masks_would_have_one_name(tmp_path, box_filler, capsys, names):
    for name in names:
        put(tmp_path / "in", name, MAGIC)
    assert run(tmp_path) == 2
    found = " and ".join(sorted(f"'{name.partition('/')[0]}'" for name in names))
    made = "a.png" if "jp" in names[1].lower() else "a.nii.gz"
    assert capsys.readouterr().err == (f"error: cases must have names of their own; got {found}, whose masks would both be "
                                       f"'{made}'\n")
    assert os.listdir(tmp_path) == ["in"] and box_filler == []


@pytest.mark.parametrize("window", [("40", "0"), ("40", "-1"), ("nan", "400"), ("40", "inf")])
def test_a_window_that_is_none(tmp_path, capsys, box_filler, window):
    put(tmp_path / "in", "a.npz")
    assert run(tmp_path, "--window", *window) == 2
    assert capsys.readouterr().err.startswith("error: --window must be a level and a width above 0; got ")


def test_the_window_reaches_the_image(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("inference.segment.open_segmenter",
                        lambda *_: lambda case: seen.append(case.image) or np.zeros(case.image.shape, np.uint8), raising=False)
    nib.save(nib.Nifti1Image(np.array([[[0, 100, 200, 300]]], np.int16), np.eye(4)), put(tmp_path / "in", "a.nii", boxes={
        "boxes": [[0, 0, 0, 0, 0, 3]]}))
    assert run(tmp_path, "--window", "150", "100") == 0
    assert seen[0].ravel().tolist() == [0, 0, 255, 255]


# what is wrong: (the file, what the line says after "error: a.png: a.boxes.json: ")
BOXES = {
    "no JSON": ("{boxes}", "must be JSON; got "),
    "bytes": ("\x00\x01", "must be JSON; got "),
    "a list": ([[1, 2, 3, 4]], 'must be {"boxes": [...]} and no other key; got list'),
    "empty": ({}, 'must be {"boxes": [...]} and no other key; got nothing'),
    "another key": ({"boxes": [], "labels": []}, 'must be {"boxes": [...]} and no other key; got \'boxes\', \'labels\''),
    "no list": ({"boxes": "1 2 3 4"}, "boxes must be a list of boxes, each a list of numbers"),
    "one box": ({"boxes": [1, 2, 3, 4]}, "boxes must be a list of boxes, each a list of numbers"),
    "none": ({"boxes": []}, "boxes must hold at least one box, (N, 4) xyxy px; got (0,)"),
    "ragged": ({"boxes": [[1, 2, 3, 4], [1, 2, 3]]}, "boxes[1] must be 4 numbers as boxes[0]; got [1, 2, 3]"),
    "text": ({"boxes": [[1, 2, 3, "4"]]}, "boxes[0] must be 4 numbers as boxes[0]; got [1, 2, 3, '4']"),
    "true": ({"boxes": [[1, 2, 3, True]]}, "boxes[0] must be 4 numbers as boxes[0]; got [1, 2, 3, True]"),
    "of a volume": ({"boxes": [[1, 2, 0, 3, 4, 5]]}, "boxes must be (N, 4) xyxy px; got (1, 6)"),
    "NaN": ({"boxes": [[1, 2, 3, float("nan")]]}, "boxes[0] must lie within -16777216..16777216; got y_max nan"),
    "1e999": ('{"boxes": [[1, 2, 3, 1e999]]}', "boxes[0] must lie within -16777216..16777216; got y_max inf"),
    "10^400": ({"boxes": [[1, 2, 3, 10**400]]}, "boxes must hold numbers that a float can hold"),
    "inverted": ({"boxes": [[5, 2, 3, 4]]}, "boxes[0] must have x_min <= x_max; got x_min 5, x_max 3"),
    "outside": ({"boxes": [[1, 2, 3, 4], [30, 2, 33, 4]]}, "boxes[1] must overlap the image, x 0..29; got x_min 30, x_max 33"),
    "deep": ("[" * 100_000, "must be JSON; got "),
    "large": (" " * (9 << 20), "must be a file of at most 8,388,608 bytes; got 9,437,184"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", BOXES)
def test_boxes_that_are_wrong(tmp_path, capsys, box_filler, what):
    content, rule = BOXES[what]
    put(tmp_path / "in", "a.png", boxes=content)
    put(tmp_path / "in", "z.npz")
    assert run(tmp_path) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: a.png: a.boxes.json: {rule}") and complaint.count("\n") == 1
    if not rule.endswith("got "):
        assert complaint == f"error: a.png: a.boxes.json: {rule}\n"
    assert os.listdir(tmp_path / "out") == ["z.npz"]


def test_boxes_that_are_no_file(tmp_path, capsys, box_filler):
    put(tmp_path / "in", "a.png")
    os.mkfifo(tmp_path / "in" / "a.boxes.json")
    put(tmp_path / "in", "b.png")
    (tmp_path / "in" / "b.boxes.json").mkdir()
    put(tmp_path / "in", "c.png")
    (tmp_path / "in" / "c.boxes.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in" / "d.nii")
    assert run(tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: a.png: a.boxes.json: must be a file of at most 8,388,608 bytes; got no file",
        "error: b.png: b.boxes.json: must be a file of at most 8,388,608 bytes; got no file",
        "error: c.png: must have its boxes in c.boxes.json beside it; there is no such file",
        "error: d.nii: must be a file; got something else of that name"]


def test_boxes_are_rounded_outwards_as_those_of_an_npz(tmp_path):
    (tmp_path / "a.boxes.json").write_text('{"boxes": [[3.9, 4, 10.1, 12], [-2.5, 0.2, 4, 5.5]]}')
    assert sidecar.read_boxes(tmp_path / "a.boxes.json", (20, 30)).tolist() == [[3, 4, 11, 12], [-3, 0, 4, 6]]
    assert sidecar.read_boxes(tmp_path / "b.boxes.json", (20, 30)) is None


@pytest.fixture
def promptless(monkeypatch):
    """A segmenter that needs no boxes and labels the whole image 5; returns the cases that it has seen."""
    cases = []

    def segment(case):
        cases.append(case)
        return np.full(case.image.shape[: case.ndim], 5, np.uint8)

    segment.needs_boxes = False
    monkeypatch.setattr("inference.segment.open_segmenter", lambda *_: segment, raising=False)
    return cases


# shape of imgs: how many axes the case has, by its name
SHAPES = [("a", (20, 30), 2), ("a", (20, 30, 1), 2), ("a", (20, 30, 3), 2), ("a", (20, 30, 4), 2), ("a", (6, 20, 30), 3),
          ("a", (6, 20, 30, 3), 3), ("2Da", (20, 30, 3), 2), ("3Da", (6, 20, 30), 3), ("3Da", (6, 20, 30, 3), 3),
          ("3Da", (6, 20, 4), 3), ("3Da", (6, 20, 1), 3)]


@pytest.mark.parametrize("name, shape, ndim", SHAPES)
def test_an_npz_without_boxes(tmp_path, promptless, write_case, name, shape, ndim):
    write_case(f"{name}.npz", tmp_path / "in", imgs=np.ones(shape, np.uint8), spacing=[1, 1, 2])
    assert run(tmp_path, "-v") == 0
    (case,) = promptless
    assert case.boxes is None and case.ndim == ndim and (case.spacing_xyz_mm is None) == (ndim == 2)
    assert (np.load(tmp_path / "out" / f"{name}.npz")["segs"] == np.full(shape[:ndim], 5)).all()


def test_boxes_are_read_where_there_are_some_though_none_are_needed(tmp_path, promptless):
    put(tmp_path / "in", "a.npz")
    put(tmp_path / "in", "b.png", boxes={"boxes": [[1, 2, 9, 8]]})
    put(tmp_path / "in", "c.png")
    put(tmp_path / "in", "d.nii")
    assert run(tmp_path) == 0
    assert [case.boxes if case.boxes is None else case.boxes.tolist() for case in promptless] == [
        [[1, 2, 9, 8]], [[1, 2, 9, 8]], None, None]
    assert (np.asarray(nib.load(tmp_path / "out" / "d.nii.gz").dataobj) == 5).all()


def test_a_volume_that_looks_like_rgb_is_refused_without_boxes(write_case):
    path = write_case("3Da.npz", imgs=np.ones((6, 20, 3), np.uint8))
    rule = r"^3Da.npz: a volume without boxes must not be 3 wide, which would be RGB; got \(6, 20, 3\)$"
    with pytest.raises(CaseError, match=rule):
        read_case(path, needs_boxes=False)


def test_a_model_that_needs_boxes_says_so(tmp_path, capsys, box_filler):
    for name in ("a.nii", "b.png"):
        put(tmp_path / "in", name)
    put(tmp_path / "in", "c/IM1", MAGIC)
    np.savez(tmp_path / "in" / "d.npz", imgs=GREY)
    assert run(tmp_path) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: a.nii: must have its boxes in a.boxes.json beside it; there is no such file",
        "error: b.png: must have its boxes in b.boxes.json beside it; there is no such file",
        "error: c: must have its boxes in c.boxes.json beside it; there is no such file",
        "error: d.npz: must hold an array boxes; got imgs"]


@pytest.mark.parametrize("name, module, package", [("a.nii", "nibabel", "nibabel"), ("a.png", "PIL", "pillow"),
                                                   ("a/IM1", "pydicom", "pydicom")])
def test_a_library_that_is_not_installed(tmp_path, capsys, promptless, monkeypatch, name, module, package):
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("inference.formats.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    put(tmp_path / "in", name, MAGIC)
    put(tmp_path / "in", "z.npz")
    assert run(tmp_path) == 1
    assert capsys.readouterr().err == (f"error: {name.partition('/')[0]}: is read with the Python package {package}, which is "
                                       f"not installed here: pip install {package}\n")
    assert os.listdir(tmp_path / "out") == ["z.npz"]


def test_npz_alone_imports_nothing_of_the_other_formats(tmp_path, repo):
    put(tmp_path / "in", "a.npz")
    code = """if True:
        import sys
        import numpy as np
        import inference.segment
        from inference.__main__ import main
        inference.segment.open_segmenter = lambda *_: lambda case: np.zeros(case.image.shape, np.uint8)
        assert main(sys.argv[1:]) == 0
        print(*sorted(name for name in sys.modules if name.startswith(("inference.formats", "nibabel", "PIL", "pydicom"))))
    """
    run = subprocess.run([sys.executable, "-c", code, "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")], cwd=repo,
                         text=True, capture_output=True)
    assert run.returncode == 0 and run.stdout.splitlines()[1:] == [""], run.stderr
