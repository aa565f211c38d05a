"""What precompile segments makes the networks see every shape of crop that they know."""

import numpy as np
import pytest

from inference.precompile import cases
from inference.segment.roi import RoiSegmenter
from models.roi.config import CONFIGS


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_crop_shape_is_seen(config):
    seen = set()

    class Engine:
        facts = {"looks": "|".join(map(str, config.looks)), "look_for_many": str(config.look_for_many),
                 "boxes_for_all_looks": str(config.boxes_for_all_looks), "margin": "0.2", "threshold": "0.5",
                 "least_reach": "0.85", "loose_px": "10"}

        def __call__(self, crop, box_px):
            seen.add(crop.shape[2:])
            return np.zeros((len(crop), 1, *crop.shape[2:]), np.float32)

    segment = RoiSegmenter(Engine())
    for case in cases():
        if case.ndim == len(config.looks[0].crop_shapes[0]):
            segment(case)
    assert seen >= {shape for look in (*config.looks, config.look_for_many) for shape in look.crop_shapes}
