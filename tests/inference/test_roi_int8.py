"""roi-int8: the two networks in 8 bits, chosen as roi chooses."""

import numpy as np
import pytest

from inference.case import Case
from inference.segment import open_segmenter
from inference.weights import WeightsError, find_model


@pytest.fixture(scope="module", autouse=True)
def shipped(repo):
    if not (repo / "weights/manifest.json").exists():
        pytest.skip("weights/manifest.json does not exist yet: no weights are shipped")


@pytest.mark.parametrize("shape, box, of", [
    ((80, 70), [10, 12, 50, 60], "roi2d-int8"), ((12, 64, 64), [10, 12, 1, 40, 44, 10], "roi3d-int8"),
    ((12, 64, 64), [10, 12, 4, 40, 44, 4], "roi3d-int8")])
def test_takes_the_network_that_fits(shape, box, of):
    case = Case("case", np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.array([box], np.int32))
    found = {name: open_segmenter(name)(case) for name in ("roi-int8", of, of.removesuffix("-int8"))}
    assert np.array_equal(found["roi-int8"], found[of])
    assert not np.array_equal(found[of], found[of.removesuffix("-int8")])


def test_is_a_quarter_of_the_bytes():
    for name in ("roi2d", "roi3d"):
        small, large = (find_model(model).path("openvino_bin").stat().st_size for model in (f"{name}-int8", name))
        assert 0.2 < small / large < 0.3


def test_other_engines_have_none():
    with pytest.raises(WeightsError, match="must have a file for onnxruntime; got openvino, openvino_bin"):
        open_segmenter("roi-int8", "onnxruntime")(Case("case", np.zeros((9, 9), np.uint8), np.array([[1, 1, 5, 5]], np.int32)))
