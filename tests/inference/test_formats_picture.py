"""Pictures in, label pictures out."""

import io
import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from inference import formats
from inference.__main__ import main
from inference.case import CaseError

GREY = (10 * np.arange(20)[:, None] + np.arange(30)).astype(np.uint8)
RGB = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)
BOXES = [[3, 4, 10, 12], [0, 0, 5, 5]]
EXPECTED = np.zeros((20, 30), np.uint8)
EXPECTED[4:13, 3:11] = 1
EXPECTED[0:6, 0:6] = 2


def save(folder, name, picture, boxes=None, **options):
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(folder / name, {"png": "PNG"}.get(name[-3:].lower(), "JPEG"), **options)
    if boxes is not None:
        (folder / f"{name.rpartition('.')[0]}.boxes.json").write_text(json.dumps({"boxes": boxes}))
    return folder / name


def image_of(path) -> np.ndarray:
    return formats.read(path, needs_boxes=False)[0].image


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.jpeg", "D.PNG", "E.Jpg"])
@pytest.mark.parametrize("picture", [GREY, RGB])
def test_each_pixel_of_the_masks_has_its_label(tmp_path, box_filler, name, picture):
    save(tmp_path / "in", name, picture, BOXES)
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    made = f"{name.rpartition('.')[0]}.png"
    assert os.listdir(tmp_path / "out") == [made]
    labels = cv2.imread(str(tmp_path / "out" / made), cv2.IMREAD_UNCHANGED)   # another reader than the one that wrote it
    assert labels.dtype == np.uint8 and np.array_equal(labels, EXPECTED)


def test_more_than_255_labels_take_16_bits(tmp_path, box_filler):
    boxes = [[i % 30, i // 30, i % 30, i // 30] for i in range(300)]
    save(tmp_path / "in", "a.png", GREY, boxes)
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    labels = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16 and labels[:10].ravel().tolist() == list(range(1, 301)) and not labels[10:].any()


def test_pixels_are_those_of_the_picture(tmp_path):
    assert np.array_equal(image_of(save(tmp_path, "a.png", GREY)), GREY)
    assert np.array_equal(image_of(save(tmp_path, "a.png", RGB)), RGB)
    rgba = np.dstack([RGB, np.full_like(GREY, 7)])
    assert np.array_equal(image_of(save(tmp_path, "a.png", rgba)), RGB)
    assert np.array_equal(image_of(save(tmp_path, "a.png", Image.fromarray(np.dstack([GREY, GREY]), "LA"))), GREY)
    assert np.array_equal(image_of(save(tmp_path, "a.png", Image.fromarray(GREY > 99))), (GREY > 99) * np.uint8(255))
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 8, 7, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert image_of(save(tmp_path, "a.png", palette)).tolist() == [[[9, 8, 7], [200, 100, 50]]]
    path = save(tmp_path, "a.jpg", RGB)
    assert np.array_equal(image_of(path), cv2.imread(str(path))[..., ::-1])
    assert image_of(save(tmp_path, "a.jpg", Image.fromarray(RGB).convert("CMYK"))).shape == (20, 30, 3)


def test_16_bits_of_grey_are_stretched_or_cut_to_the_window(tmp_path):
    deep = np.concatenate([[0], np.arange(1000, 3001, 10)]).astype(np.uint16)[None]     # of 1000..3000: 1010 and 2990
    path = save(tmp_path, "a.png", deep)
    grey = image_of(path)
    assert grey.dtype == np.uint8 and grey[0, [0, 1, 2, 101, 200, 201]].tolist() == [0, 0, 0, int(990 / 1980 * 255), 255, 255]
    windowed, _ = formats.read(path, False, (2000, 1000))
    assert windowed.image[0, [0, 51, 101, 151, 201]].tolist() == [0, 0, 127, 255, 255]
    assert image_of(save(tmp_path, "a.png", np.array([[0, 9, 255]], np.uint16))).tolist() == [[0, 9, 255]]


def test_a_photograph_is_turned_as_viewers_show_it(tmp_path, box_filler):
    exif = Image.Exif()
    exif[0x0112] = 6                                     # the camera was held upright: shown turned by 90 degrees
    path = save(tmp_path / "in", "a.jpg", GREY, [[0, 1, 2, 3]], exif=exif)
    shown = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # which heeds the tag
    assert shown.shape == (30, 20) and np.array_equal(image_of(path), shown)
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    labels = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (30, 20) and labels.sum() == 9 and labels[1:4, 0:3].all()


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims this many pixels of RGB, with next to none of them."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


BAD = {"empty": ("a.png", b""), "no picture": ("a.jpg", b"no picture" * 99), "half a PNG": ("a.png", encoded("PNG")[:3000]),
       "half a JPEG": ("a.jpg", encoded("JPEG")[:1500]), "a TIFF": ("a.png", encoded("TIFF")),
       "a bomb": ("a.png", png(60000, 60000)), "fewer pixels than claimed": ("a.png", png(300, 300)),
       "EPS": ("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", BAD)
def test_one_line_and_the_others_are_done(tmp_path, capfd, box_filler, what):
    name, data = BAD[what]
    save(tmp_path / "in", "z.png", GREY, BOXES)
    (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "a.boxes.json").write_text(json.dumps({"boxes": BOXES}))
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    printed = capfd.readouterr()
    assert printed.err.startswith(f"error: {name}: must be a whole PNG or JPEG; got ") and printed.err.count("\n") == 1
    assert os.listdir(tmp_path / "out") == ["z.png"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_anywhere_is_a_case_error_or_harmless(tmp_path, kind):
    rng, whole, refused = np.random.default_rng(1), encoded(kind), 0
    path = tmp_path / f"a.{kind.lower()}"
    for trial in range(200):
        data = bytearray(whole)
        place, length = rng.integers(len(data) if trial % 3 else 300), rng.integers(1, 9)
        if trial % 2:
            data[place : place + length] = rng.bytes(length)
        else:
            del data[place : place + length * 20]
        path.write_bytes(data)
        try:
            case, _ = formats.read(path, needs_boxes=False)
        except CaseError as error:
            refused += 1
            assert str(error).startswith(f"{path.name}: must be a whole PNG or JPEG") and "\n" not in str(error)
        else:
            assert case.image.dtype == np.uint8 and case.ndim == 2
    assert refused > 20
