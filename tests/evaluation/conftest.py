"""Folders of small made cases for the tests of the evaluation."""

import numpy as np
import pytest

# surface-distance 0.1 imports from scipy names that SciPy 2 will drop; scipy is pinned below it.
SCIPY_NAMES = "ignore:Please import .* from the `scipy.ndimage` namespace:DeprecationWarning"


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(SCIPY_NAMES))


@pytest.fixture
def folders(tmp_path):
    """Three empty folders: imgs, gts, segs."""
    for name in ("imgs", "gts", "segs"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def add_case(folders):
    """A function that writes a case with numpy itself: a disc (ball) per box, its truth, and a prediction of it."""

    def add(name, shape=(40, 50), segs=None, boxes=((10, 8, 25, 21), (30, 20, 44, 35)), spacing=(1.0, 1.0, 3.0)):
        extra = {"spacing": np.array(spacing, np.float32)} if len(shape) == 3 else {}
        gts = discs(shape, boxes)
        grey = (40 + 160 * (gts > 0)).astype(np.uint8)
        imgs = grey if len(shape) == 3 else np.repeat(grey[..., None], 3, axis=2)
        np.savez_compressed(folders / "imgs" / name, imgs=imgs, boxes=np.array(boxes, np.int32), **extra)
        np.savez_compressed(folders / "gts" / name, gts=gts, **extra)
        np.savez_compressed(folders / "segs" / name, segs=gts if segs is None else segs)
        return gts

    return add


def discs(shape, boxes):
    """uint8 labels: disc (ball) i + 1 touches the sides of box i, corners x y (z) first, x y (z) last, inclusive."""
    gts = np.zeros(shape, np.uint8)
    ndim = len(shape)
    for label, box in enumerate(boxes, start=1):
        radius = 0
        for axis, position in enumerate(np.indices(shape)):
            first, last = box[ndim - 1 - axis], box[2 * ndim - 1 - axis]
            radius = radius + ((position - (first + last) / 2) / ((last - first) / 2 + 0.25)) ** 2
        gts[radius <= 1] = label
    return gts
