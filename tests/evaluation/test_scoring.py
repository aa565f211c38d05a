"""The challenge's rule for a case, and the strict columns beside it."""

import math

import numpy as np
import pytest
import surface_distance

from evaluation.scoring import object_masks, score_case, worst_score

ROWS = {1: (2, 8), 2: (10, 16), 3: (18, 24)}


def bars(present, shift=0):
    """uint8 (30, 40): label i fills rows ROWS[i], columns 5..24, moved right by `shift`."""
    labels = np.zeros((30, 40), np.uint8)
    for label in present:
        labels[slice(*ROWS[label]), 5 + shift:25 + shift] = label
    return labels


def official(gts, segs, spacing_xyz):
    """DSC and NSD as the challenge's script states them, on whole arrays, label by label."""
    spacing = spacing_xyz if gts.ndim == 3 else (1.0, 1.0, 1.0)
    dsc, nsd = [], []
    for label in range(1, int(gts.max()) + 1):
        truth, prediction = gts == label, segs == label
        dsc.append(surface_distance.compute_dice_coefficient(truth, prediction))
        if gts.ndim == 2:
            truth, prediction = truth[..., None], prediction[..., None]
        found = surface_distance.compute_surface_distances(truth, prediction, spacing)
        if truth.any() or prediction.any():
            nsd.append(surface_distance.compute_surface_dice_at_tolerance(found, 2.0))
    return np.mean(dsc), np.mean(nsd) if np.mean(dsc) > 0.2 else 0.0


@pytest.mark.parametrize("shape", [(60, 70), (20, 30, 25)])
@pytest.mark.parametrize("seed", range(6))
def test_the_challenge_columns_are_the_challenges(shape, seed):
    random = np.random.default_rng(seed)
    gts, segs = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
    for label in range(1, 6):
        start = [random.integers(0, length - 8) for length in shape]
        gts[tuple(slice(first, first + 8) for first in start)] = label
        segs[tuple(slice(first + random.integers(0, 3), first + 8) for first in start)] = label
    spacing = (0.8, 1.1, 3.0)
    if len(np.unique(gts)) < 6:
        pytest.skip("this draw buried a label")
    score = score_case(gts, segs, spacing if gts.ndim == 3 else None)
    assert (score.dsc, score.nsd) == pytest.approx(official(gts, segs, spacing), abs=1e-12)


def test_perfect():
    gts = bars((1, 2, 3))
    score = score_case(gts, gts.copy())
    assert (score.dsc, score.nsd, score.dsc_strict, score.nsd_strict, score.iou, score.hd95) == (1, 1, 1, 1, 1, 0)


def test_mean_over_objects_by_hand():
    """Three bars of 20 columns: label 1 exact, label 2 moved by 10 (half shared), label 3 absent."""
    gts = bars((1, 2, 3))
    segs = np.where(gts == 1, gts, 0) + bars((2,), shift=10)
    score = score_case(gts, segs)
    assert score.dsc == score.dsc_strict == pytest.approx((1 + 0.5 + 0) / 3)
    assert score.iou == pytest.approx((1 + 1 / 3 + 0) / 3)
    # 10 px off, as a side of each bar is; where there is nothing, the diagonal of 30 x 40 px.
    assert score.hd95 == pytest.approx((0 + 10 + 50) / 3)


def test_a_label_that_neither_has_makes_the_case_nan_but_not_strictly():
    score = score_case(bars((1, 3)), bars((1, 3)))
    assert math.isnan(score.dsc)
    assert score.nsd == 0  # NaN is not above 0.2
    assert (score.dsc_strict, score.nsd_strict, score.iou, score.hd95) == (1, 1, 1, 0)


def test_a_label_that_only_the_prediction_has_counts_but_not_strictly():
    score = score_case(bars((1, 3)), bars((1, 2, 3)))
    assert score.dsc == pytest.approx(2 / 3)
    assert score.dsc_strict == 1


def test_labels_above_the_highest_of_the_truth_do_not_count():
    assert score_case(bars((1, 2)), bars((1, 2, 3))).dsc == 1


def test_no_object_at_all():
    score = score_case(bars(()), bars((1,)))
    assert score.nsd == 0
    assert all(math.isnan(value) for value in (score.dsc, score.dsc_strict, score.nsd_strict, score.iou, score.hd95))


@pytest.mark.parametrize("shared, dsc", [(4, 0.2), (5, 0.25)])
def test_nsd_is_zero_up_to_a_dsc_of_a_fifth(shared, dsc):
    gts, segs = np.zeros((1, 60), np.uint8), np.zeros((1, 60), np.uint8)
    gts[0, 10:30] = 1
    segs[0, 30 - shared:50 - shared] = 1
    score = score_case(gts, segs)
    assert score.dsc == pytest.approx(dsc)
    assert (score.nsd > 0) == (dsc > 0.2)
    assert score.nsd_strict > 0


def test_spacing_is_used_as_stored_and_in_the_order_of_the_axes_strictly():
    """One slice too high: 1 voxel along z, whose size is 5 mm. The challenge takes x's 1 mm for it."""
    gts = np.zeros((12, 20, 30), np.uint8)
    gts[3:8, 5:15, 5:25] = 1
    segs = np.roll(gts, 1, axis=0)
    score = score_case(gts, segs, (1.0, 2.0, 5.0))
    assert score.nsd == 1
    assert score.nsd_strict < 0.8
    assert score.hd95 == 5
    sideways = score_case(gts, np.roll(gts, 1, axis=2), (1.0, 2.0, 5.0))
    assert sideways.nsd < 0.97  # x's shift is measured with z's 5 mm
    assert sideways.nsd_strict == 1
    assert sideways.hd95 == 1


def test_two_dimensional_surface_is_the_area_for_the_challenge_and_the_contour_strictly():
    """20 x 20, moved by 4: pixels that both have are surface of both slabs, at distance 0, but of neither contour."""
    gts, segs = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    gts[10:30, 8:28], segs[10:30, 12:32] = 1, 1
    score = score_case(gts, segs)
    # 2 * 20 * 16 px are shared and 2 * 20 * 2 more lie within 2 px, of 2 * 400; corners and sides shift it a little.
    assert score.nsd == pytest.approx(0.9, abs=0.03)
    # A contour has 4 * 19 pieces of length 1 and 4 cut corners of sqrt(1/2). Further than 2 px away are a whole side
    # (19 and 2 corners), the next piece of either adjoining side, and the middle 15 of the opposite side.
    corner = math.sqrt(0.5)
    assert score.nsd_strict == pytest.approx(1 - (19 + 2 * corner + 2 + 15) / (76 + 4 * corner), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_dtypes_give_one_score(dtype):
    assert score_case(bars((1, 2)).astype(dtype), bars((1, 2), 3).astype(np.uint16)) == \
        score_case(bars((1, 2)), bars((1, 2), 3))


def test_object_masks_are_cut_to_the_common_box():
    gts, segs = bars((1, 2)), bars((2,), shift=4)
    first, second = object_masks(gts, segs)
    assert [mask.shape for mask in first] == [(6, 20)] * 2 and first[0].all() and not first[1].any()
    assert [mask.shape for mask in second] == [(6, 24)] * 2
    assert second[0][:, :20].all() and not second[0][:, 20:].any()
    assert second[1][:, 4:].all() and not second[1][:, :4].any()


def test_worst_score():
    score = worst_score(np.ones((2, 3, 6), np.uint8), (2.0, 1.0, 2.0))
    assert (score.dsc, score.nsd, score.nsd_strict, score.iou) == (0, 0, 0, 0)
    assert score.hd95 == 13  # 4, 3 and 12 mm


def test_errors():
    gts = bars((1,))
    with pytest.raises(ValueError, match=r"shape of gts \(30, 40\); got \(40, 30\)"):
        score_case(gts, gts.T)
    with pytest.raises(ValueError, match="spacing is missing"):
        score_case(gts[None], gts[None])
