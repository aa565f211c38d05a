"""Which objects of a volume go slice by slice, and what becomes of the labels."""

import json

import numpy as np
import pytest

from inference.case import Case
from inference.segment import open_segmenter
from inference.segment.thin import ThinAndThickSegmenter, ThinRule
from inference.weights import WeightsError, find_model

RULE = ThinRule(slices=2)


def box(z_min, z_max, x=0):
    return [x, 0, z_min, x + 3, 3, z_max]


def case(depth, *boxes):
    return Case("volume", np.zeros((depth, 8, 20), np.uint8), np.array(boxes, np.int32))


@pytest.mark.parametrize("depth, z_min, z_max, thin", [
    (40, 7, 7, True), (40, 7, 8, True), (40, 7, 9, False), (3, 0, 2, False), (1, 0, 0, True), (2, -3, 9, True),
    (40, 38, 50, True)])
def test_what_is_thin(depth, z_min, z_max, thin):
    """Of a box that sticks out of the volume only the part inside counts."""
    assert RULE(case(depth, box(z_min, z_max))).tolist() == [thin]


def filler():
    """A segmenter that fills each of its boxes with its label and notes on what it was called."""
    def segment(case):
        segment.boxes.append(case.boxes.tolist())
        labels = np.zeros(case.image.shape, np.uint8)
        for index, (x0, y0, z0, x1, y1, z1) in enumerate(case.boxes):
            labels[z0:z1 + 1, y0:y1 + 1, x0:x1 + 1] = index + 1
        return labels
    segment.boxes = []
    return segment


def test_every_object_keeps_its_label_and_a_thin_one_lies_on_top():
    volume = case(40, box(0, 20), box(5, 5, x=2), box(30, 31, x=8), box(0, 30, x=14))
    thin, thick = filler(), filler()
    labels = ThinAndThickSegmenter(RULE, lambda: thin, lambda: thick)(volume)
    assert thin.boxes == [[box(5, 5, x=2), box(30, 31, x=8)]] and thick.boxes == [[box(0, 20), box(0, 30, x=14)]]
    assert labels.dtype == np.uint8 and labels.shape == volume.image.shape
    assert labels[5, 0].tolist() == [1, 1, 2, 2, 2, 2] + [0] * 8 + [4] * 4 + [0, 0]
    assert labels[6, 0].tolist() == [1] * 4 + [0] * 10 + [4] * 4 + [0, 0]
    assert labels[31, 0].tolist() == [0] * 8 + [3] * 4 + [0] * 8


@pytest.mark.parametrize("boxes, called", [([box(1, 1), box(2, 2)], "thin"), ([box(1, 9), box(2, 9)], "thick")])
def test_what_nothing_needs_is_not_opened(boxes, called):
    segmenters = {called: filler}
    labels = ThinAndThickSegmenter(RULE, segmenters.get("thin"), segmenters.get("thick"))(case(40, *boxes))
    assert np.unique(labels).tolist() == [0, 1, 2]


def test_labels_beyond_255_do_not_wrap():
    boxes = [box(0, 9)] + [box(1, 1, x=8)] * 299
    labels = ThinAndThickSegmenter(RULE, lambda: lambda case: np.full(case.image.shape, len(case.boxes), np.uint16),
                                   filler)(case(40, *boxes))
    assert labels.dtype == np.uint16 and labels.max() == 300


def test_what_ships_takes_one_slice_by_slices_and_ten_at_once(repo):
    """Against the two models asked by name."""
    if not (repo / "weights/manifest.json").exists():
        pytest.skip("weights/manifest.json does not exist yet: no weights are shipped")
    volume = np.random.default_rng(0).integers(0, 256, (12, 64, 64), np.uint8)
    models = {name: open_segmenter(name) for name in ("roi", "roi2d", "roi3d")}
    for z_max, same in ((4, "roi2d"), (13, "roi3d")):
        one = Case("volume", volume, np.array([[10, 12, 4, 40, 44, z_max]], np.int32))
        found = {name: segment(one) for name, segment in models.items()}
        assert np.array_equal(found["roi"], found[same])
        assert not np.array_equal(found["roi2d"], found["roi3d"])


@pytest.mark.parametrize("rule", [{"slices": 2, "through": 6}, {"slices": "2"}, "roi2d"])
def test_a_rule_that_is_none_is_named(rule, tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    (tmp_path / "manifest.json").write_text(json.dumps(
        {"models": [{"name": "roi3d", "family": "roi3d", "files": {}, "thin": rule}]}))
    with pytest.raises(WeightsError, match="manifest.json must be JSON, models each with .*; got "):
        find_model("roi3d")
