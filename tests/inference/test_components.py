"""Connected parts against the library connected-components-3d, and by hand."""

import cc3d
import numpy as np
import pytest

from inference import components


@pytest.mark.parametrize("shape, share", [((40, 50), 0.3), ((40, 50), 0.6), ((7, 20, 30), 0.1), ((7, 20, 30), 0.3),
                                          ((30, 1), 0.5), ((3, 1, 9), 0.7)])
def test_parts_are_those_of_a_library(shape, share):
    for seed in range(20):
        mask = np.random.default_rng(seed).random(shape) < share
        labels = cc3d.connected_components(mask, connectivity=8 if len(shape) == 2 else 26)
        sizes = np.bincount(labels.ravel())
        for most in (1, 4, 20):
            np.testing.assert_array_equal(components.small(mask, most), mask & (sizes[labels] <= most))
        found = components.largest(mask)
        assert found.sum() == sizes[1:].max()
        assert len(np.unique(labels[found])) == 1


def test_a_spiral_is_one_part():
    """Its runs are joined only at the far end."""
    mask = np.array([[1, 1, 1, 1, 1, 1, 1],
                     [0, 0, 0, 0, 0, 0, 1],
                     [1, 1, 1, 1, 1, 0, 1],
                     [1, 0, 0, 0, 1, 0, 1],
                     [1, 0, 1, 1, 1, 0, 1],
                     [1, 0, 0, 0, 0, 0, 1],
                     [1, 1, 1, 1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(components.largest(mask), mask)


def test_ends_of_rows_do_not_touch():
    mask = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0], [1, 0, 1]], bool)
    np.testing.assert_array_equal(components.largest(mask), np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0]], bool))
    assert components.small(np.array([[0, 1], [0, 0], [1, 0]], bool), 1).sum() == 2


def test_a_single_row():
    """By hand: the library mistakes some."""
    mask = np.array([[1, 0, 1, 1, 0, 0, 1, 1, 1, 0]], bool)
    assert np.flatnonzero(components.largest(mask)).tolist() == [6, 7, 8]
    assert np.flatnonzero(components.small(mask, 2)).tolist() == [0, 2, 3]


def test_nothing_and_everything():
    for shape in ((4, 5), (2, 4, 5)):
        assert not components.largest(np.zeros(shape, bool)).any()
        assert components.largest(np.ones(shape, bool)).all()
        assert not components.small(np.ones(shape, bool), 19).any()
