"""What a picture shows: the right part of the image, outlines where the masks end, a colour for each object."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from evaluation.drawing import COLOURS, MOST_SLICES, colour, contours, draw, surroundings
from inference.case import Case


def case(shape, boxes):
    return Case("made", np.zeros(shape, np.uint8), np.array(boxes, np.int32))


def test_an_outline_runs_around_the_pixels_of_a_label():
    labels = np.zeros((8, 9), np.uint8)
    labels[2:5, 3:7] = 1
    labels[0, 0] = 4
    found = dict(contours(labels, (10, 20)))
    assert sorted(found) == [1, 4]
    assert found[1].min(axis=0).tolist() == [22.5, 11.5] and found[1].max(axis=0).tolist() == [26.5, 14.5]
    assert found[4].min(axis=0).tolist() == [19.5, 9.5]


def test_the_surroundings_hold_all_boxes_in_the_images_proportions():
    window = surroundings(case((400, 600), [(300, 200, 360, 240), (350, 210, 400, 260)]))
    rows, columns = window
    assert rows.start < 200 and rows.stop > 261 and columns.start < 300 and columns.stop > 401
    assert (columns.stop - columns.start) / (rows.stop - rows.start) == pytest.approx(1.5, rel=0.03)
    assert surroundings(case((400, 600), [(10, 20, 500, 300)])) == (slice(0, 400), slice(0, 600))
    corner = surroundings(case((400, 600), [(-5, -5, 3, 3)]))
    assert corner[0].start == corner[1].start == 0


def test_a_volume_is_drawn_within_its_boxes():
    made = case((100, 40, 50), [(10, 8, 20, 25, 21, 80), (10, 8, 30, 25, 21, 90)])
    figure = draw(made, np.zeros((100, 40, 50), np.uint8), None, "caption")
    labels = [axes.texts[0].get_text() for axes in figure.axes]
    assert len(labels) == MOST_SLICES
    assert (labels[0], labels[-1]) == ("z 20", "z 90")


def test_the_picture_has_truth_in_white_and_each_object_in_its_colour():
    gts = np.zeros((60, 60), np.uint8)
    gts[10:20, 10:20], gts[30:50, 30:50] = 1, 2
    figure = draw(case((60, 60), [(9, 9, 20, 20), (28, 28, 50, 50)]), np.roll(gts, 2, axis=1), gts, "caption")
    truth, prediction = [part for part in figure.axes[1].collections if isinstance(part, LineCollection)]
    assert {to_hex(each) for each in truth.get_colors()} == {"#ffffff"}
    assert [to_hex(each) for each in prediction.get_colors()] == [colour(0), colour(1)]
    assert len(set(COLOURS)) == 12 and "#ffffff" not in COLOURS
