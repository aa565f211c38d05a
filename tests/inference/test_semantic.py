"""The promptless segmenter, with an engine whose answers are known: the darkest third is background, the brightest class 2."""

import numpy as np
import pytest
from scipy import ndimage

from inference.case import Case
from inference.segment.semantic import SLICES, SemanticSegmenter, best_class, nearest, picture, spline

SIZE = 48


class Engine:
    """Logits that fall off from the grey values 0, 0.5 and 1 of the picture's first channel."""

    concurrent = True

    def __init__(self, **facts):
        self.facts = {"image_size": str(SIZE), "slice_size": "0", "value_range": "0,1", "classes": "grey,white", **facts}
        self.batches = []

    def __call__(self, image):
        assert image.dtype == np.float32 and image.shape[1:] == (3, SIZE, SIZE)
        self.batches.append(image)
        return np.stack([-np.abs(image[:, 0] - value) for value in (0, 0.5, 1)], axis=1)


def disc(shape, centre, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def test_an_image_gets_a_class_for_every_pixel():
    shape = (60, 90)
    expected = np.zeros(shape, np.uint8)
    expected[disc(shape, (30, 40), 24)], expected[disc(shape, (30, 40), 12)] = 1, 2
    segmenter = SemanticSegmenter(Engine())
    assert segmenter.needs_boxes is False and segmenter.classes == ("grey", "white")
    segs = segmenter(Case("rings", np.array([5, 128, 250], np.uint8)[expected], None))
    assert segs.dtype == np.uint8 and segs.shape == shape
    for number in (1, 2):
        found, true = segs == number, expected == number
        assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.93


def test_a_volume_is_labelled_slice_by_slice_in_batches():
    shape = (2 * SLICES + 3, SIZE, SIZE)
    rng = np.random.default_rng(0)
    expected = rng.integers(0, 3, shape).astype(np.uint8)
    engine = Engine()
    segs = SemanticSegmenter(engine)(Case("noise", np.array([0, 127, 255], np.uint8)[expected], None))
    # At the network's own size nothing is resampled.
    assert (segs == expected).all()
    assert [len(batch) for batch in engine.batches] == [SLICES, SLICES, 3]


def test_colour_and_floats():
    colours = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    engine = Engine()
    assert SemanticSegmenter(engine)(Case("colour", colours, None)).shape == (SIZE, SIZE)
    assert np.allclose(engine.batches[0][0], np.moveaxis(colours, -1, 0) / 255)
    grey = colours[..., 0]
    assert np.allclose(picture(grey, 20), picture(grey / 255, 20)) and (picture(grey, 20) == picture(grey, 20)[:1]).all()


def test_slices_are_brought_to_their_own_size_first():
    image = np.random.default_rng(2).uniform(0, 1, (64, 80)).astype(np.float32)
    engine = Engine(slice_size="20")
    SemanticSegmenter(engine)(Case("twice", image, None))
    small = ndimage.zoom(image.astype(float), (20 / 64, 20 / 80), order=3)
    assert np.abs(engine.batches[0][0, 2] - ndimage.zoom(small, SIZE / 20, order=3)).max() < 1e-5


@pytest.mark.parametrize("old, new", [((224, 224), (512, 512)), ((37, 50), (64, 20)), ((3, 2), (7, 9)), ((1, 5), (4, 1))])
def test_zooms_are_those_of_scipy(old, new):
    rng = np.random.default_rng(3)
    image, labels = rng.uniform(0, 1, old), rng.integers(0, 9, old)
    zoom = [b / a for a, b in zip(old, new)]
    assert np.abs(spline(image.astype(np.float32), new) - ndimage.zoom(image, zoom, order=3)).max() < 1e-5
    assert (nearest(labels, new) == ndimage.zoom(labels, zoom, order=0)).all()


def test_the_last_pixel_lands_on_the_last():
    """Where SciPy's zoom rounds past the border and leaves a black line: 512 to 224."""
    image = np.random.default_rng(4).uniform(1, 2, (512, 512))
    expected = ndimage.zoom(image, 224 / 512, order=3)
    found = spline(image.astype(np.float32), (224, 224))
    assert np.abs(found - expected)[:-1, :-1].max() < 1e-5
    assert np.allclose(found[[0, 0, -1, -1], [0, -1, 0, -1]], image[[0, 0, -1, -1], [0, -1, 0, -1]])


def test_logits_are_compared_after_they_are_resampled():
    # On 0..3 the second class's logit rises from -1 to 2, the first one's falls from 1 to -2: equal at 1 px of 3.
    logits = np.stack([np.linspace(1, -2, 4), np.linspace(-1, 2, 4)])[:, None].astype(np.float32)
    labels = best_class(logits, (1, 31))[0]
    assert labels.tolist() == [0] * 11 + [1] * 20
    # The nearest of the four labels would change at 1.5.
    assert best_class(logits, (1, 4)).tolist() == [[0, 0, 1, 1]]


def test_other_ranges_of_values_are_refused():
    with pytest.raises(ValueError, match="value_range must be 0,1; got -1,1"):
        SemanticSegmenter(Engine(value_range="-1,1"))
