"""The SAM family's segmenter, with graphs whose answers are known: the embedding is the picture, a mask its bright part."""

import threading

import numpy as np
import pytest
from PIL import Image

from inference import resize
from inference.case import Case
from inference.segment.sam import SamSegmenter
from inference.segment.slices import SliceSegmenter

SIZE = 64


class Encoder:
    """The picture itself, 0..1 after min-max, is its embedding."""

    concurrent = True

    def __init__(self, **facts):
        self.facts = {"image_size": str(SIZE), "resize": "linear", "keep_aspect": "true", "normalise": "min_max", **facts}
        self.inputs, self.threads = [], set()

    def __call__(self, image):
        self.inputs.append(image)
        self.threads.add(threading.get_ident())
        return image[:, :1].copy()


class Decoder:
    """A logit of 4 where the picture is brighter than 0.5 and inside the box, else -4."""

    def __init__(self, keep_aspect=True, output="logit", loosen_px=0):
        self.facts = {"output": output, "loosen_px": str(loosen_px)}
        self.keep_aspect, self.boxes = keep_aspect, []

    def __call__(self, embedding, boxes, shape):
        assert boxes.dtype == shape.dtype == np.float32
        self.boxes.append(boxes.copy())
        scale = SIZE / (np.array([shape.max()] * 2) if self.keep_aspect else shape)[::-1]
        low, high = boxes[:, :2] * scale, (boxes[:, 2:] + 1) * scale
        y, x = np.mgrid[:SIZE, :SIZE] + 0.5
        inside = ((x >= low[:, 0, None, None]) & (x <= high[:, 0, None, None])
                  & (y >= low[:, 1, None, None]) & (y <= high[:, 1, None, None]))
        logits = np.where(inside & (embedding[0, 0] > 0.5), 4.0, -4.0).astype(np.float32)[:, None]
        return logits if self.facts["output"] == "logit" else (logits > 0).astype(np.float32)


def disc(shape, centre, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def dsc(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("shape", [(90, 150), (150, 90), (40, 50), (64, 64)])
@pytest.mark.parametrize("keep_aspect", [True, False])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_masks_come_back_where_the_objects_are(shape, keep_aspect, output):
    radius = min(shape) // 4
    masks = [disc(shape, (shape[0] // 3, shape[1] // 3), radius), disc(shape, (shape[0] - 12, shape[1] - 12), 8)]
    image = np.where(masks[0] | masks[1], 200, 20).astype(np.uint8)
    boxes = np.array([[m.any(0).nonzero()[0].min(), m.any(1).nonzero()[0].min(),
                       m.any(0).nonzero()[0].max(), m.any(1).nonzero()[0].max()] for m in masks])
    encoder = Encoder(keep_aspect=str(keep_aspect).lower())
    segs = SamSegmenter(encoder, Decoder(keep_aspect, output))(Case("two", image, boxes))
    assert segs.shape == shape and encoder.inputs[0].shape == (1, 3, SIZE, SIZE)
    assert len(encoder.inputs) == 1 and 0 <= encoder.inputs[0].min() and encoder.inputs[0].max() == 1
    assert dsc(segs == 1, masks[0] & (segs != 2)) > 0.9 and dsc(segs == 2, masks[1]) > 0.85


@pytest.mark.parametrize("keep_aspect, filled", [("true", (32, 64)), ("false", (64, 64))])
def test_the_longest_side_or_both_become_the_input_s(keep_aspect, filled):
    encoder = Encoder(keep_aspect=keep_aspect)
    SamSegmenter(encoder, Decoder()).encode(np.random.default_rng(0).integers(0, 256, (50, 100)).astype(np.uint8))
    assert [encoder.inputs[0][0].any(axis=(0, axis)).nonzero()[0].max() + 1 for axis in (2, 1)] == list(filled)


def test_only_the_part_with_a_mask_is_computed_and_nothing_else_could_be_in_it():
    rng = np.random.default_rng(0)
    for _ in range(30):
        shape = tuple(rng.integers(20, 130, 2))
        size = rng.integers(8, 70)
        segmenter = SamSegmenter(Encoder(image_size=str(size), keep_aspect="false"), Decoder())
        logits = rng.normal(-3, 2, (size, size)).astype(np.float32)
        where, probability = segmenter._paste(logits, shape)
        whole = resize.linear(logits, shape) > 0
        found = np.zeros(shape, bool)
        found[where] = probability > 0.5
        assert (found == whole).all()


def test_mean_and_std_and_colour():
    encoder = Encoder(normalise="mean_std", mean="10,20,30", std="1,2,4")
    image = np.broadcast_to(np.array([20, 20, 50], np.uint8), (SIZE, SIZE, 3))
    SamSegmenter(encoder, Decoder()).encode(image)
    assert encoder.inputs[0][0, :, 5, 7].tolist() == [10, 0, 5]


def volume():
    """Two tilted rods through 9 slices, and their boxes."""
    image = np.full((9, 48, 64), 10, np.uint8)
    truth = np.zeros(image.shape, np.uint8)
    for z in range(1, 8):
        truth[z, 10:18, 8 + z : 18 + z] = 1
        truth[z, 30:40, 50 - z : 58 - z] = 2
    image[truth > 0] = 220
    return Case("rods", image, np.array([[9, 10, 1, 24, 17, 7], [43, 30, 1, 56, 39, 7]]), (1, 1, 1)), truth


def test_slices_are_encoded_once_for_all_objects_ahead_of_the_decoder():
    case, truth = volume()
    encoder, decoder = Encoder(), Decoder(loosen_px=2)
    segs = SliceSegmenter(SamSegmenter(encoder, decoder))(case)
    assert (segs == truth).all()
    assert len(encoder.inputs) == 7 and len(encoder.threads) == 2
    assert [len(boxes) for boxes in decoder.boxes] == [2] * 7
    encoder.concurrent, encoder.threads = False, set()
    assert (SliceSegmenter(SamSegmenter(encoder, decoder))(case) == truth).all() and len(encoder.threads) == 1


def test_the_next_box_is_the_mask_s_loosened_in_the_frame_of_the_encoder():
    case, _ = volume()
    decoder = Decoder(loosen_px=2)
    SliceSegmenter(SamSegmenter(Encoder(), decoder))(case)
    assert decoder.boxes[1][0].tolist() == [10, 10, 23, 17]  # the mask of slice 4 is x 12..21, the box x 9..24


def test_the_last_slice_by_either_convention():
    case, truth = volume()
    segs = SliceSegmenter(SamSegmenter(Encoder(), Decoder(loosen_px=2)), exclude_z_max=True)(case)
    assert not segs[7].any() and (segs[:7] == truth[:7]).all()
    deep = Case("deep", case.image, case.boxes + [0, 0, 0, 0, 0, 3], (1, 1, 1))
    assert SliceSegmenter(SamSegmenter(Encoder(), Decoder(loosen_px=2)), exclude_z_max=True)(deep)[7].any()


def test_a_slice_that_objects_come_back_to_is_not_encoded_again():
    case, _ = volume()
    case = Case("apart", case.image, np.array([[9, 10, 1, 24, 17, 3], [43, 30, 1, 56, 39, 7]]), (1, 1, 1))
    encoder = Encoder()
    SliceSegmenter(SamSegmenter(encoder, Decoder()))(case)
    assert len(encoder.inputs) == 7


@pytest.mark.parametrize("kernel, filter", [("cubic", Image.Resampling.BICUBIC), ("area", Image.Resampling.BOX)])
def test_resizing_agrees_with_pillow(kernel, filter):
    picture = np.random.default_rng(1).integers(0, 256, (60, 90)).astype(np.float32)
    expected = np.asarray(Image.fromarray(picture).resize((30, 20), filter))
    assert np.abs(resize.KERNELS[kernel](picture, (20, 30)) - expected).max() < 1e-2


def test_linear_resizing_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(2).uniform(0, 255, (37, 53, 3)).astype(np.float32)
    for shape in ((80, 64), (20, 31), (37, 53)):
        expected = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.abs(resize.linear(picture, shape) - expected).max() < 1e-3
