"""DSC, IoU, NSD and HD95 of single objects against published and hand-worked numbers."""

import math

import numpy as np
import pytest
import surface_distance

from evaluation.metrics import dice, iou, surfaces


def ball(centre_zyx, radius_squared):
    """Boolean (40, 48, 48): voxels within a squared distance of the centre."""
    grid = np.indices((40, 48, 48))
    return sum((grid[axis] - centre) ** 2 for axis, centre in enumerate(centre_zyx)) <= radius_squared


def square(shape, rows, columns):
    mask = np.zeros(shape, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


# Computed with the challenge's own SurfaceDice.py: spacing, NSD at 2, NSD at 1, area of the truth, of the prediction.
OFFICIAL = [
    ((1, 1, 1), 0.656331, 0.415525, 1372.0421, 1106.2957),
    ((1, 1, 2.5), 0.597076, 0.416864, 2845.8329, 2291.2820),
    ((2.5, 1, 1), 0.575753, 0.371221, 2845.8329, 2291.2820),
    ((0.7, 0.7, 5), 0.723632, 0.510406, 3748.0234, 3011.3545),
]


@pytest.mark.parametrize("spacing, nsd_2, nsd_1, area_truth, area_prediction", OFFICIAL)
def test_official_numbers_of_two_balls(spacing, nsd_2, nsd_1, area_truth, area_prediction):
    truth, prediction = ball((18, 22, 20), 100), ball((19, 24, 23), 81)
    found = surfaces(truth, prediction, spacing)
    assert dice(truth, prediction) == pytest.approx(0.690331, abs=5e-7)
    assert found.nsd(2.0) == pytest.approx(nsd_2, abs=5e-7)
    assert found.nsd(1.0) == pytest.approx(nsd_1, abs=5e-7)
    assert found.elements["surfel_areas_gt"].sum() == pytest.approx(area_truth, abs=5e-5)
    assert found.elements["surfel_areas_pred"].sum() == pytest.approx(area_prediction, abs=5e-5)
    assert len(found.elements["surfel_areas_gt"]) == 1904


@pytest.mark.parametrize("down, dsc, nsd", [(0, 0.873118, 0.987651), (4, 0.748387, 0.866874)])
def test_official_numbers_of_two_rectangles(down, dsc, nsd):
    truth = square((64, 64), (10, 40), (12, 44))
    prediction = np.roll(square((64, 64), (12, 42), (15, 45)), down, axis=0)
    assert dice(truth, prediction) == pytest.approx(dsc, abs=5e-7)
    assert surfaces(truth[..., None], prediction[..., None], (1, 1, 1)).nsd(2.0) == pytest.approx(nsd, abs=5e-7)


def test_dice_and_iou_by_hand():
    truth = np.array([[1, 1, 0], [1, 0, 0]], bool)
    prediction = np.array([[0, 1, 1], [1, 0, 1]], bool)
    assert dice(truth, prediction) == 4 / 7  # 2 shared, 3 + 4
    assert iou(truth, prediction) == 2 / 5
    assert dice(truth, truth) == iou(truth, truth) == 1
    assert dice(truth, ~truth) == iou(truth, ~truth) == 0


def test_two_empty_masks_have_no_score():
    empty = np.zeros((4, 5), bool)
    found = surfaces(empty, empty, (1, 1))
    assert all(math.isnan(value) for value in (dice(empty, empty), iou(empty, empty), found.nsd(2), found.hd95()))


def test_one_empty_mask_is_worst():
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    for found in (surfaces(empty, full, (1, 1)), surfaces(full, empty, (1, 1))):
        assert found.nsd(2) == 0
        assert found.hd95() == math.inf


def test_nsd_of_a_shifted_square_by_hand():
    """A 10 x 10 square has 36 outline pieces of length 1 and 4 cut corners of length sqrt(1/2). Shifted by 3 along a
    row, at tolerance 2: one whole side (9 pieces and both corners) and the middle 5 pieces of the opposite side are
    too far away; the same holds for the other square."""
    truth, prediction = square((30, 30), (8, 18), (8, 18)), square((30, 30), (8, 18), (11, 21))
    corner = math.sqrt(0.5)
    expected = 1 - (9 + 2 * corner + 5) / (36 + 4 * corner)
    assert surfaces(truth, prediction, (1, 1)).nsd(2) == pytest.approx(expected, abs=1e-12)
    assert surfaces(truth, prediction, (1, 1)).nsd(3) == 1


@pytest.mark.parametrize("spacing, shift_mm", [((1, 1), 5), ((2, 3), 15), ((4, 0.5), 2.5)])
def test_hd95_of_a_shifted_square_by_hand(spacing, shift_mm):
    """A quarter of the outline, far more than 5 %, is a whole shift away, and nothing is further away."""
    truth, prediction = square((40, 40), (10, 20), (10, 20)), square((40, 40), (10, 20), (15, 25))
    assert surfaces(truth, prediction, spacing).hd95() == pytest.approx(shift_mm)


def test_hd95_overlooks_a_twentieth_of_the_surface():
    """100 x 100, outline 396 + 4 corners; a spike of 1 x 8 adds 17 pieces, 4 % of the outline: HD is 8, HD95 is not."""
    truth = square((140, 140), (10, 110), (10, 110))
    spiked = truth.copy()
    spiked[50, 110:118] = True
    assert surfaces(truth, spiked, (1, 1)).hd95() == 0
    spiked[70, 110:130] = True  # now 14 % are the spikes' outline, of which more than 5 % is over 2 px away
    assert surfaces(truth, spiked, (1, 1)).hd95() > 2


def random_pair(seed, shape):
    """Two boolean blobs of `shape` somewhere in it, touching the border in some draws."""
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        mask = np.zeros(shape, bool)
        for _ in range(3):
            first = [random.integers(0, length - 2) for length in shape]
            mask[tuple(slice(start, start + random.integers(2, 9)) for start in first)] = True
        masks.append(mask & (random.random(shape) < 0.9))
    return masks


@pytest.mark.parametrize("shape", [(24, 31), (12, 20, 17)])
@pytest.mark.parametrize("seed", range(8))
def test_properties(shape, seed):
    first, second = random_pair(seed, shape)
    spacing = (1.0, 2.5, 0.7)[: len(shape)]
    forth, back = surfaces(first, second, spacing), surfaces(second, first, spacing)
    assert dice(first, second) == dice(second, first)
    assert forth.nsd(2) == pytest.approx(back.nsd(2), abs=1e-12)
    assert forth.hd95() == back.hd95()
    assert iou(first, second) == pytest.approx(dice(first, second) / (2 - dice(first, second)))
    assert surfaces(first, first, spacing).nsd(0) == 1
    assert surfaces(first, first, spacing).hd95() == 0
    assert forth.nsd(1) <= forth.nsd(2) <= forth.nsd(1000) == 1


@pytest.mark.parametrize("shape", [(24, 31), (12, 20, 17)])
@pytest.mark.parametrize("seed", range(8))
def test_a_crop_to_the_common_box_changes_nothing(shape, seed):
    """Against the library on the whole arrays, and on arrays with wide empty margins."""
    truth, prediction = random_pair(seed, shape)
    spacing = (1.0, 2.5, 0.7)[: len(shape)]
    where = np.nonzero(truth | prediction)
    window = tuple(slice(axis.min(), axis.max() + 1) for axis in where)
    cropped = surfaces(truth[window], prediction[window], spacing).elements
    for margin in (0, 9):
        whole = surface_distance.compute_surface_distances(np.pad(truth, margin), np.pad(prediction, margin), spacing)
        assert all(np.array_equal(cropped[key], whole[key]) for key in whole)
