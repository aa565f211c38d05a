"""The ways of segmenting, with an engine whose answer is known: everything brighter than 100 inside the box."""

import numpy as np
import pytest

from inference.case import Case
from inference.segment.labels import LabelImage
from inference.segment.roi import RoiSegmenter
from inference.segment.slices import SliceSegmenter


class BrightEngine:
    """Probability `high` where the crop is brighter than 100, else `low`."""

    def __init__(self, crop_shape, high=0.9, low=0.0, **facts):
        look = ",".join(map(str, crop_shape)) + "@"
        self.facts = {"looks": look, "look_for_many": look, "boxes_for_all_looks": "2", "margin": "0.2",
                      "threshold": "0.5", "least_reach": "0", "loose_px": "0", **facts}
        self.high, self.low, self.batches, self.box_px, self.shapes = high, low, [], [], []

    def __call__(self, crop, box_px):
        self.batches.append(len(crop))
        self.shapes.append(crop.shape[2:])
        self.box_px.extend(box_px.tolist())
        return np.where(crop[:, :1] > 100, self.high, self.low).astype(np.float32)


def discs(shape, centres, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return [(y - cy) ** 2 + (x - cx) ** 2 <= radius**2 for cy, cx in centres]


def dsc(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("colour", [False, True])
def test_two_discs_get_their_labels(colour):
    masks = discs((90, 120), [(30, 30), (60, 85)], 12)
    image = np.where(masks[0] | masks[1], 200, 20).astype(np.uint8)
    if colour:
        image = np.repeat(image[..., None], 3, axis=2)
    engine = BrightEngine((64, 64))
    boxes = np.array([[16, 16, 44, 44], [71, 46, 99, 74]], np.int32)
    segs = RoiSegmenter(engine)(Case("two", image, boxes))
    assert segs.shape == (90, 120) and segs.dtype == np.uint8 and set(np.unique(segs)) == {0, 1, 2}
    assert dsc(segs == 1, masks[0]) > 0.97 and dsc(segs == 2, masks[1]) > 0.97
    assert engine.box_px[0] == [29, 29]


def test_large_boxes_get_larger_crops_and_keep_their_labels():
    masks = discs((200, 260), [(60, 60), (150, 200), (60, 200)], 30)
    image = np.where(masks[0] | masks[1] | masks[2], 200, 20).astype(np.uint8)
    engine = BrightEngine((64, 64), looks="64,64;128,96;192,128@80,90")
    boxes = np.array([[20, 20, 110, 110], [165, 115, 235, 185], [150, 25, 235, 100]], np.int32)
    engine.facts["boxes_for_all_looks"] = "3"
    segs = RoiSegmenter(engine)(Case("three", image, boxes))
    assert engine.shapes == [(192, 128), (64, 64), (64, 96)] and engine.box_px == [[91, 91], [71, 71], [76, 86]]
    assert all(dsc(segs == 1 + index, mask) > 0.97 for index, mask in enumerate(masks))


class LeftEngine(BrightEngine):
    """As sure as `high` in the left half of the crop, `low` in the right half, whatever is in it."""

    def __call__(self, crop, box_px):
        super().__call__(crop, box_px)
        values = np.full((len(crop), 1, *crop.shape[2:]), self.low, np.float32)
        values[..., : crop.shape[-1] // 2] = self.high
        return values


@pytest.mark.parametrize("look", ["32,32@", "32,32;48,48@20"])
def test_a_second_look_is_mirrored_and_averaged(look):
    """An engine that sees the same in every crop: mirrored back, its two looks are each other's mirror image."""
    engine = LeftEngine((32, 32), looks="32,32@|" + look, high=0.8, low=0.4)
    boxes = np.array([[20, 20, 47, 47], [60, 10, 87, 37]], np.int32)
    found = list(RoiSegmenter(engine).probabilities(np.zeros((60, 100), np.uint8), boxes))
    assert [index for index, _, _ in found] == [0, 1]
    assert engine.shapes == [(32, 32), (48, 48) if "48" in look else (32, 32)] and engine.batches == [2, 2]
    for _, _, values in found:
        np.testing.assert_allclose(values[:, [2, -3]], 0.6, atol=1e-6)
    # One box too many for a second look.
    engine.facts["look_for_many"] = "24,24@"
    engine.batches.clear()
    engine.shapes.clear()
    _, where, values = next(RoiSegmenter(engine).probabilities(np.zeros((60, 100), np.uint8), boxes[[0, 1, 1]]))
    assert engine.batches == [3] and engine.shapes == [(24, 24)]
    assert values[0, 2] == pytest.approx(0.8) and values[0, -3] == pytest.approx(0.4)
    assert where == (slice(14, 54), slice(14, 54))


@pytest.mark.parametrize("side, most", [(128, 18), (192, 8), (384, 2), (700, 1)])
def test_a_pass_has_as_many_pixels_as_eight_crops_of_192_px(side, most):
    engine = BrightEngine((side, side))
    boxes = np.array([[5, 5, 20, 20]] * 19, np.int32)
    assert len(list(RoiSegmenter(engine).probabilities(np.zeros((30, 30), np.uint8), boxes))) == 19
    assert max(engine.batches) == most and sum(engine.batches) == 19


class FadingEngine(BrightEngine):
    """Sure of the crop's middle, and less the farther from it: 0.95 in the middle, 0.95 - slope at the box's sides."""

    slope = 0.9

    def __call__(self, crop, box_px):
        super().__call__(crop, box_px)
        axes = [abs(np.linspace(-1.4, 1.4, 2 * side + 1)[1::2]) for side in crop.shape[2:]]
        away = np.maximum.reduce(np.meshgrid(*axes, indexing="ij"))
        return np.broadcast_to(0.95 - self.slope * away, (len(crop), 1, *crop.shape[2:])).astype(np.float32)


@pytest.mark.parametrize("slope, facts, side", [
    (0.9, {}, 53),                                          # above half of the middle's 0.95
    (0.9, {"least_reach": "0.8"}, 80),
    (0.9, {"least_reach": "0.8", "loose_px": "20"}, 64),    # 0.8 of 80 px
    (0.9, {"least_reach": "0.4"}, 53),                      # no need to shrink
    (3.0, {"least_reach": "0.8"}, 15)])                     # nothing is likely so far out: as without the rule
@pytest.mark.parametrize("rank", [2, 3])
def test_a_mask_grows_until_it_reaches_the_sides_of_its_box(rank, slope, facts, side):
    engine = FadingEngine((140,) * 2 if rank == 2 else (70,) * 3, **facts)
    engine.slope = slope
    box = np.array([20] * rank + [119] * rank, np.int32)
    segs = RoiSegmenter(engine)(Case("faint", np.zeros((140,) * rank, np.uint8), box[None]))
    assert [np.ptp(where) + 1 for where in np.nonzero(segs)] == pytest.approx([side] * rank, abs=2 if rank == 2 else 3)


def discs_as_probabilities(*surety_radius_centre):
    y, x = np.mgrid[:60, :60]
    return [np.where((y - cy) ** 2 + (x - cx) ** 2 <= radius**2, surety, 0).astype(np.float32)
            for surety, radius, (cy, cx) in surety_radius_centre]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("inner, wins", [
    ((30, 35), True),     # whole in the other
    ((30, 44), False)])   # across its border: the surer wins
def test_a_part_keeps_its_pixels(order, inner, wins):
    """A nucleus, less sure than the cell around it, in whatever order they are painted."""
    probabilities = discs_as_probabilities((0.9, 20, (30, 30)), (0.7, 8, inner))
    cell, nucleus = (probability > 0.5 for probability in probabilities)
    result = LabelImage((60, 60), 2)
    for index in order:
        own = result.paint(index + 1, (slice(0, 60), slice(0, 60)), probabilities[index], 0.5)
        np.testing.assert_array_equal(own, (cell, nucleus)[index])
    np.testing.assert_array_equal(result.labels == 2, nucleus if wins else nucleus & ~cell)
    np.testing.assert_array_equal(result.labels == 1, cell & ~nucleus if wins else cell)


def test_a_part_is_one_on_each_plane_that_both_are_on():
    """A vessel as wide as its organ's last plane, a tenth of the one before: there, the organ is painted in another pass."""
    square, whole = (slice(10, 20), slice(10, 20)), (slice(0, 60), slice(0, 60))
    vessel = np.full((10, 10), 0.7, np.float32)
    organ = np.full((60, 60), 0.9, np.float32)
    result = LabelImage((2, 60, 60), 2)
    result.paint(1, (0, *square), vessel, 0.5)
    result.paint(2, (1, *square), vessel * 1.2, 0.5)
    result.paint(1, (1, *square), vessel, 0.5)
    result.paint(2, (0, *whole), organ, 0.5)
    assert (result.labels[0] == 1).sum() == 100 and (result.labels[0] == 2).sum() == 3500
    assert (result.labels[1] == 2).sum() == 100 and not (result.labels[1] == 1).any()  # alike: the surer wins


def test_of_two_alike_the_surer_wins():
    one, two = discs_as_probabilities((0.7, 10, (30, 30)), (0.9, 10, (30, 30)))
    result = LabelImage((60, 60), 2)
    for index, probability in enumerate((one, two)):
        result.paint(index + 1, (slice(0, 60), slice(0, 60)), probability, 0.5)
    np.testing.assert_array_equal(result.labels, np.where(two > 0.5, 2, 0))


def test_a_box_in_which_nothing_is_likely_still_gets_its_likeliest_pixels():
    image = np.full((40, 40), 20, np.uint8)
    image[10:20, 10:20] = 200
    boxes = np.array([[8, 8, 21, 21], [30, 30, 30, 30]], np.int32)
    segs = RoiSegmenter(BrightEngine((32, 32), high=0.3, low=0.05))(Case("faint", image, boxes))
    assert dsc(segs == 1, image > 100) > 0.95 and (segs == 2).sum() == 1 and segs[30, 30] == 2


def test_many_boxes_do_not_wrap_at_255():
    image = np.full((20, 700), 200, np.uint8)
    boxes = np.array([[2 * i, 2, 2 * i + 1, 9] for i in range(300)], np.int32)
    segs = RoiSegmenter(BrightEngine((16, 16)))(Case("many", image, boxes))
    assert segs.dtype == np.uint16 and segs.max() == 300
    assert segs[5, 2 * 298] == 299


def test_the_surer_object_wins_whatever_the_order():
    for first, second in ((0.9, 0.6), (0.6, 0.9)):
        result = LabelImage((4, 6), 2)
        a = result.paint(1, (slice(0, 4), slice(0, 4)), np.full((4, 4), first, np.float32), 0.5)
        b = result.paint(2, (slice(0, 4), slice(2, 6)), np.full((4, 4), second, np.float32), 0.5)
        assert a.all() and b.all()
        winner = 1 if first > second else 2
        assert (result.labels[:, 2:4] == winner).all()
        assert (result.labels[:, :2] == 1).all() and (result.labels[:, 4:] == 2).all()


def ball_case():
    z, y, x = np.mgrid[:24, :60, :70]
    ball = ((z - 11) / 8) ** 2 + ((y - 30) / 15) ** 2 + ((x - 33) / 18) ** 2 <= 1
    box = np.array([[12, 12, 3, 54, 48, 19]], np.int32)
    return Case("ball", np.where(ball, 180, 10).astype(np.uint8), box, (1.0, 1.0, 2.0)), ball


def test_a_volume_in_one_pass_per_object():
    case, ball = ball_case()
    engine = BrightEngine((16, 32, 32))
    segs = RoiSegmenter(engine)(case)
    assert segs.shape == case.image.shape and dsc(segs == 1, ball) > 0.95
    assert engine.batches == [1] and engine.box_px == [[17, 37, 43]]


def test_slices_follow_the_object_and_stay_in_the_box():
    case, ball = ball_case()
    engine = BrightEngine((64, 64))
    segs = SliceSegmenter(RoiSegmenter(engine))(case)
    assert dsc(segs == 1, ball) > 0.97
    assert sum(engine.batches) == 17  # slices 3..19, both ends included
    # The middle slice comes first with the given box; the next slice's box is the mask's, loosened, inside the given one.
    assert engine.box_px[0] == [37, 43]
    assert engine.box_px[1][0] <= 37 and engine.box_px[1][1] <= 43


def test_slices_share_a_batch_and_an_empty_slice_falls_back_to_the_given_box():
    image = np.zeros((9, 40, 60), np.uint8)
    image[:, 8:18, 8:18] = 200
    image[:, 22:32, 35:50] = 200
    image[5] = 0  # nothing to see on the slice above the middle
    boxes = np.array([[5, 5, 1, 20, 20, 7], [30, 18, 1, 54, 36, 7]], np.int32)
    engine = BrightEngine((32, 32))
    segs = SliceSegmenter(RoiSegmenter(engine))(Case("pair", image, boxes, (1, 1, 1)))
    assert engine.batches == [2] * 7
    assert not segs[5].any() and not segs[0].any() and not segs[8].any()
    assert dsc(segs[6] == 1, image[6, :, :] * (np.arange(60) < 25) > 0) > 0.9
    after_empty = engine.box_px[2 * 2 : 2 * 3]
    assert after_empty == [[16, 16], [19, 25]]
