"""The two graphs that a runtime needs of a model: the image encoder, and the decoder from boxes in px to masks."""

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph
from models.sam.resampling import resize_image


class ImageEncoder(nn.Module):
    """The image encoder of a Sam, its input under the name that runtimes give it."""

    def __init__(self, sam):
        super().__init__()
        self.encoder = sam.image_encoder

    def execute(self, image):
        """image float32 (1, 3, side, side), pre-processed. Returns float32 (1, C, grid, grid)."""
        return self.encoder(image)


class BoxDecoder(nn.Module):
    """Prompt encoder and mask decoder of a Sam, with what surrounds them in the originals: the boxes' way into the prompt
    frame, and the masks' way out of it."""

    def __init__(self, sam):
        super().__init__()
        self.sam = sam

    def execute(self, embedding, boxes, shape):
        """embedding float32 (1, C, grid, grid); boxes float32 (N, 4), px of the image, x first; shape float32 (2,): its H
        and W. Returns float32 (N, 1, M, M) over the encoder's frame: logits at the frame's resolution, or probabilities
        at 4 grid where the original takes the sigmoid before it resizes (MedSAM)."""
        facts = self.sam.config.preprocessing
        sides = jt.maximum(shape[0:1], shape[1:2]).broadcast([2]) if facts.keep_aspect else jt.concat([shape[1:2], shape[0:1]])
        boxes = boxes.reshape([-1, 2, 2]) * (facts.prompt_size / sides).reshape([1, 1, 2])
        if facts.whole_boxes:
            boxes = jt.floor(boxes)
        boxes = boxes + facts.box_offset
        logits, _ = self.sam.decode(embedding, boxes=boxes.reshape([-1, 4]))
        if facts.output == "probability":
            return jt.sigmoid(logits)
        return resize_image(logits, facts.image_size, facts.image_size, "linear")


def graphs_of(sam) -> list[Graph]:
    """Encoder and decoder of a Sam, see `models.catalogue.Graph`."""
    config = sam.config
    rng = np.random.default_rng(0)
    side, grid = config.preprocessing.image_size, config.encoder.grid
    image = rng.uniform(0, 1, (1, 3, side, side)).astype(np.float32)
    embedding = rng.standard_normal((1, config.prompt_dim, grid, grid)).astype(np.float32)
    shape = np.array([300, 400], np.float32)
    cases = []
    for boxes in (1, 2, 7):
        corners = np.sort(rng.uniform(0, 299, (boxes, 2, 2)), axis=1).reshape(boxes, 4).astype(np.float32)
        cases.append({"embedding": embedding, "boxes": corners, "shape": shape})
    return [
        Graph("encoder", ImageEncoder(sam), sam.facts(), [{"image": image}], {"image": {}}),
        Graph("decoder", BoxDecoder(sam), sam.facts(), cases, {"embedding": {}, "boxes": {0: "boxes"}, "shape": {}}),
    ]
