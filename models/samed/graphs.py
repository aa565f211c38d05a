"""The one graph that a runtime needs of a model: nothing is prompted, so an image goes in and its masks come out."""

import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph


class Segmenter(nn.Module):
    """A Samed, its input under the name that runtimes give it."""

    def __init__(self, samed):
        super().__init__()
        self.samed = samed

    def execute(self, image):
        """image float32 (N, 3, side, side) in 0..1. Returns logits float32 (N, masks, side, side)."""
        return {"masks": self.samed(image)["masks"]}


def graphs_of(samed) -> list[Graph]:
    """See `models.catalogue.Graph`."""
    rng = np.random.default_rng(0)
    side = samed.config.image_size
    cases = [{"image": rng.uniform(0, 1, (images, 3, side, side)).astype(np.float32)} for images in (1, 2)]
    return [Graph("", Segmenter(samed), samed.facts(), cases, {"image": {0: "batch"}})]
