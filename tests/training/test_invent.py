"""Objects that nobody labelled: what is found is a segment of the picture, what is painted is where the mask says."""

import numpy as np
import pytest
from scipy import ndimage

from inference import geometry
from training import invent


def disc(shape=(200, 240), centre=(90, 120), radius=45):
    """uint8 picture with faint noise and a brighter disc, and the disc's mask."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    noise = np.random.default_rng(0).integers(0, 6, shape)
    return (60 + 120 * mask + noise).astype(np.uint8), mask


@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize("shape", [(40, 300), (1000, 700), (144, 144)])
def test_a_window_is_a_square_of_the_picture(shape, colours):
    picture = np.random.default_rng(1).integers(0, 256, shape + colours, np.uint8)
    for seed in range(20):
        seen = invent.window(picture, np.random.default_rng(seed))
        assert seen.shape == (invent.SIDE, invent.SIDE, *colours) and seen.dtype == np.uint8
        assert picture.min() <= seen.min() and seen.max() <= picture.max()


def test_the_only_object_of_a_picture_is_found():
    """Every segment that is neither background nor cut off is the disc, in whatever window it was seen."""
    picture, _ = disc()
    found = 0
    for seed in range(40):
        made = invent.find(picture, np.random.default_rng(seed))
        if made is None:
            continue
        seen, mask = made
        truth = seen > 120
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9  # it may take in the blurred rim
        found += 1
    assert found >= 5


def test_what_is_found_lies_whole_in_the_window():
    rng = np.random.default_rng(2)
    picture = ndimage.gaussian_filter(rng.standard_normal((300, 300)), 6)
    picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
    made = [found for found in (invent.find(picture, rng) for _ in range(30)) if found is not None]
    assert len(made) >= 5
    for _, mask in made:
        assert not (mask[[0, -1]].any() or mask[:, [0, -1]].any())
        extent = geometry.box_interval(geometry.mask_box(mask))[1]
        assert extent.min() >= invent.LEAST_PX and mask.sum() >= extent.prod() / 4


def test_nothing_is_found_in_an_empty_picture():
    assert invent.find(np.full((100, 100), 7, np.uint8), np.random.default_rng(0)) is None


def test_a_smooth_blob_is_an_ellipse():
    for seed in range(10):
        blob = invent.blob(np.array([70.0, 72.0]), np.array([40.0, 20.0]), 0.0, np.random.default_rng(seed))
        y, x = np.nonzero(blob)
        assert blob.sum() == pytest.approx(np.pi * 40 * 20, rel=0.05)
        assert (x.mean(), y.mean()) == pytest.approx((70, 72), abs=0.5)
        half = 2 * np.sqrt(np.linalg.eigvalsh(np.cov(x, y)))  # of a filled ellipse
        assert half == pytest.approx([20, 40], rel=0.04)


@pytest.mark.parametrize("colours, other", [((), ()), ((3,), ()), ((), (3,)), ((3,), (3,))])
def test_what_is_painted_is_one_piece_and_where_its_mask_is(colours, other):
    """On black with white the object's every pixel differs from the canvas, and far from it and its neighbours none does."""
    black, texture = np.zeros((200, 200, *colours), np.uint8), np.full((90, 150, *other), 255, np.uint8)
    shown = 0
    for seed in range(30):
        seen, mask = invent.paint(black, texture, np.random.default_rng(seed))
        assert seen.dtype == np.uint8 and seen.shape[:2] == mask.shape == (invent.SIDE, invent.SIDE)
        assert seen.shape[2:] == (colours or other) and mask.dtype == bool
        assert ndimage.label(mask)[1] == 1
        painted = seen.reshape(*mask.shape, -1).max(axis=2) > 0
        shown += painted[ndimage.binary_erosion(mask, iterations=4)].mean() > 0.5 and not painted.all()
    assert shown >= 15  # the others' colour is black by chance, or parts within are


def test_all_depends_on_the_seed_alone():
    picture, _ = disc()
    for make in (lambda rng: invent.paint(picture, picture, rng), lambda rng: invent.find(picture, rng) or (0, 0)):
        for one, two in zip(make(np.random.default_rng(5)), make(np.random.default_rng(5))):
            np.testing.assert_array_equal(one, two)
