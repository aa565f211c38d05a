"""Ways of changing a sample: what may change and what must not."""

import numpy as np

from training import augment


def test_displacements_say_where_each_pixel_comes_from():
    volume = np.arange(2 * 6 * 8, dtype=np.uint8).reshape(2, 6, 8)
    one_down_two_left = np.stack([np.full((6, 8), -1, np.float32), np.full((6, 8), 2, np.float32)])
    image, mask = augment.displace(volume, volume % 3 == 0, one_down_two_left)
    np.testing.assert_array_equal(image[:, 1:, :-2], volume[:, :-1, 2:])
    np.testing.assert_array_equal(mask[:, 1:, :-2], (volume % 3 == 0)[:, :-1, 2:])


def test_bends_are_smooth_and_as_strong_as_asked():
    rng = np.random.default_rng(0)
    bends = np.stack([augment.bends((65, 85), 0.06, rng) for _ in range(100)])
    assert bends.shape == (100, 2, 65, 85)
    strongest = abs(bends[:, :, 6::13, 8::17]).max(axis=(0, 2, 3))  # at the nodes
    np.testing.assert_allclose(strongest, [0.06 * 65, 0.06 * 85], rtol=0.01)
    # No pixel passes its neighbour.
    assert abs(np.diff(bends[:, 0], axis=1)).max() < 1 and abs(np.diff(bends[:, 1], axis=2)).max() < 1


def test_loosened_boxes_grow_within_their_limits():
    rng = np.random.default_rng(3)
    for _ in range(200):
        box = augment.loosen(np.array([10, 12, 40, 32]), (60, 80), 5, rng)
        assert -1.3 <= 10 - box[0] <= 6.3 and -0.9 <= 12 - box[1] <= 5.9 and box[2] <= 46.3 and box[3] <= 37.9
    assert augment.loosen(np.array([0, 0, 79, 59]), (60, 80), 5, rng).tolist()[2:] <= [79, 59]


def test_misplaced_boxes_are_a_twentieth_inside_to_a_fifth_outside():
    rng = np.random.default_rng(5)
    tight = np.array([300, 200, 399, 249])  # 100 wide, 50 high
    boxes = np.stack([augment.misplace(tight, (600, 800), rng) for _ in range(2000)])
    grown = (boxes - tight) * [-1, -1, 1, 1] / [100, 50, 100, 50]
    assert -0.05 <= grown.min() < -0.045 and 0.17 < grown.max() <= 0.2
    assert augment.misplace(np.array([0, 0, 799, 599]), (600, 800), rng)[2:].max() <= 799
    assert (augment.misplace(np.array([7, 7, 7, 7]), (9, 9), rng)[2:] >= 6).all()


def test_few_slices_hold_part_of_the_object():
    volume, mask = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None], (20, 3, 3)), np.zeros((20, 3, 3), bool)
    mask[6:9] = True
    rng = np.random.default_rng(0)
    parts = [augment.few_slices(volume, mask, rng) for _ in range(300)]
    assert {len(image) for image, _ in parts} == set(range(1, 9))
    for image, part in parts:
        assert part.any() and np.array_equal(part[:, 0, 0], (image[:, 0, 0] >= 6) & (image[:, 0, 0] < 9))
        assert (np.diff(image[:, 0, 0]) == 1).all()
    assert all(len(augment.few_slices(volume[6:8], mask[6:8], rng)[0]) <= 2 for _ in range(20))


def test_a_stack_of_a_disc_is_a_ball_that_ends_before_the_volume():
    """A bright disc on a dark ground: bright where the mask is, dark elsewhere, widest in the middle, absent at the ends."""
    y, x = np.mgrid[:60, :70]
    disc = np.hypot(y - 30, x - 33) < 14
    rng = np.random.default_rng(2)
    for _ in range(20):
        volume, mask = augment.stack((40 + disc * 150).astype(np.uint8), disc, rng)
        assert volume.shape == mask.shape and volume.dtype == np.uint8 and mask.dtype == bool
        areas = mask.sum(axis=(1, 2))
        shown = np.flatnonzero(areas)
        assert shown[0] >= 1 and shown[-1] < len(mask) - 1 and (areas[shown[0] : shown[-1]] > 0).all()
        assert 0.8 * disc.sum() < areas.max() < 1.25 * disc.sum()
        assert abs(areas.argmax() - (shown[0] + shown[-1]) / 2) <= max(2, 0.3 * len(shown))
        assert volume[mask].mean() > 150 and volume[0].mean() < 60 and volume[~mask].mean() < 60
    large = np.hypot(*np.mgrid[-300:300, -300:300]) < 250
    assert np.ptp(np.flatnonzero(augment.stack(large * np.uint8(200), large, rng)[1].any(axis=(0, 1)))) < 120


def test_part_of_a_thin_object_is_its_own_pixels_in_a_window():
    ring = np.zeros((80, 90), bool)
    ring[10:70, 10:80] = True
    ring[12:68, 12:78] = False
    rng = np.random.default_rng(0)
    parts = [augment.part_of_thin(ring, rng) for _ in range(50)]
    assert all(part.any() and not (part & ~ring).any() for part in parts)
    assert min(part.sum() for part in parts) < ring.sum() / 3
    disc = np.hypot(*np.mgrid[-20:21, -20:21]) < 15
    assert augment.part_of_thin(disc, rng) is disc
