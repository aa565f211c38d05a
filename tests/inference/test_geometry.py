"""Geometry against hand-worked arrays and OpenCV."""

import cv2
import numpy as np
import pytest

from inference import geometry
from inference.geometry import Window


def test_box_interval_is_in_array_order_and_covers_both_end_pixels():
    low, extent = geometry.box_interval(np.array([3, 5, 3, 9]))
    assert low.tolist() == [5, 3] and extent.tolist() == [5, 1]
    low, extent = geometry.box_interval(np.array([1, 2, 3, 4, 6, 8]))
    assert low.tolist() == [3, 2, 1] and extent.tolist() == [6, 5, 4]


def test_box_window_adds_the_margin_on_each_side():
    window = geometry.box_window(np.array([10, 20, 19, 59]), 0.25)
    assert window.start.tolist() == [10, 7.5] and window.extent.tolist() == [60, 15]


def test_mask_box_is_tight_and_inclusive():
    mask = np.zeros((4, 6, 8), bool)
    mask[1:3, 2, 5] = mask[2, 4, 3] = True
    assert geometry.mask_box(mask).tolist() == [3, 2, 1, 5, 4, 2]
    assert geometry.mask_box(np.zeros((3, 3), bool)) is None


def test_sampling_matrix_by_hand():
    # Four pixels to two samples: each the mean of two pixels.
    assert geometry.sampling_matrix(0, 4, 2, 4).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    # Two pixels to four samples, centres at 0.25, 0.75, 1.25, 1.75: linear between the pixel centres 0.5 and 1.5.
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert np.allclose(geometry.sampling_matrix(0, 2, 4, 2), expected)
    # Wholly outside on the left: the first pixel repeats.
    assert geometry.sampling_matrix(-9, 3, 3, 2).tolist() == [[1, 0]] * 3


@pytest.mark.parametrize("start, extent, samples", [(-3.3, 17.1, 9), (2.25, 0.7, 5), (0, 12, 40), (11.5, 8, 3)])
def test_sampling_rows_sum_to_one_and_reproduce_a_ramp(start, extent, samples):
    weights = geometry.sampling_matrix(start, extent, samples, 12)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-6)
    centres = start + (np.arange(samples) + 0.5) * extent / samples
    half = max(extent / samples, 1) / 2
    inner = (centres - half >= 0.5) & (centres + half <= 11.5)
    # Exact where it interpolates; a footprint that ends inside a pixel takes that pixel's value for the part, off by < 1/8.
    tolerance = 1e-5 if half == 0.5 else 0.125
    assert np.allclose((weights @ (np.arange(12) + 0.5))[inner], centres[inner], atol=tolerance)


def test_enlarging_is_opencv_linear_and_whole_reduction_is_opencv_area():
    image = np.random.default_rng(0).integers(0, 256, (24, 36), np.uint8).astype(np.float32)
    whole = Window(np.zeros(2), np.array(image.shape, float))
    for shape, interpolation in (((60, 80), cv2.INTER_LINEAR), ((8, 9), cv2.INTER_AREA)):
        expected = cv2.resize(image, shape[::-1], interpolation=interpolation)
        assert np.allclose(geometry.resample(image, whole, shape), expected, atol=0.01)


def test_resample_of_a_part_equals_resample_of_that_part_cut_out():
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    window = Window(np.array([8.0, 16.0]), np.array([16.0, 8.0]))
    part = image[8:24, 16:24]
    got = geometry.resample(image, window, (4, 4))
    assert got.shape == (4, 4, 3)
    assert np.allclose(got, cv2.resize(part.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA), atol=1e-3)


def test_box_plane_marks_the_box_and_not_the_margin():
    plane = geometry.box_plane((14,), 0.2)
    assert np.allclose(plane, [0, 0, *[1] * 10, 0, 0])
    assert geometry.box_plane((7, 14), 0.2).sum() == pytest.approx(5 * 10)


def test_crop_channels():
    grey = np.full((20, 30), 7, np.uint8)
    made = geometry.crop(grey, np.array([4, 4, 9, 13]), 0.2, (16, 32))
    assert made.shape == (4, 16, 32) and np.allclose(made[:3], 7) and made[3].max() == 1
    volume = np.arange(5, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(9, 2)
    made = geometry.crop(volume, np.array([0, 0, 0, 8, 7, 4]), 0.0, (5, 4, 4))
    assert made.shape == (2, 5, 4, 4) and np.allclose(made[0].mean(axis=(1, 2)), np.arange(5))


def test_paste_puts_a_disc_back_where_it_was():
    y, x = np.mgrid[:120, :160]
    disc = (y - 61) ** 2 + (x - 70) ** 2 <= 30**2
    box = geometry.mask_box(disc)
    cropped = geometry.resample(disc, geometry.box_window(box, 0.2), (192, 192))
    where, values = geometry.paste(cropped, box, 0.2, disc.shape)
    back = np.zeros(disc.shape, bool)
    back[where] = values > 0.5
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.995


@pytest.mark.parametrize("box", [[-30, -20, 4, 6], [150, 100, 400, 300], [159, 119, 159, 119], [0, 0, 0, 0], [-9, 50, 999, 50]])
def test_boxes_beyond_the_image_and_of_one_pixel(box):
    image = np.random.default_rng(2).integers(0, 256, (120, 160, 3), np.uint8)
    made = geometry.crop(image, np.array(box), 0.2, (32, 32))
    assert made.shape == (4, 32, 32) and np.isfinite(made).all() and made[:3].max() <= 255.01
    where, values = geometry.paste(np.ones((32, 32), np.float32), np.array(box), 0.2, image.shape[:2])
    painted = np.zeros(image.shape[:2])
    painted[where] = values
    inside = painted[max(box[1], 0) : box[3] + 1, max(box[0], 0) : box[2] + 1]
    assert inside.size and np.allclose(inside, 1)


def test_a_window_past_the_image_pastes_nothing():
    where, values = geometry.paste(np.ones((8, 8), np.float32), np.array([500, 500, 510, 510]), 0.2, (100, 100))
    assert values.size == 0 and np.zeros((100, 100))[where].size == 0
