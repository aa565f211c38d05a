"""The graphs that a runtime needs of a model, between which it keeps the memories and chooses one of four masks."""

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph
from models.sam.resampling import resize_image


class _Part(nn.Module):
    def __init__(self, sam2):
        super().__init__()
        self.sam2 = sam2


class ImageEncoder(_Part):
    """All that is needed of an image."""

    def execute(self, image):
        """image float32 (1, 3, side, side), pre-processed. Returns float32 `high_res_0` (1, C / 8, 4 grid, 4 grid),
        `high_res_1` (1, C / 4, 2 grid, 2 grid), `embedding` (1, C, grid, grid), and `first_features` (the same shape), the
        heads' features of a frame that nothing comes before."""
        high_res_0, high_res_1, embedding = self.sam2.forward_image(image)
        return {"high_res_0": high_res_0, "high_res_1": high_res_1, "embedding": embedding,
                "first_features": self.sam2.without_memory(embedding)}


class MemoryAttention(_Part):
    """An embedding in the light of the frames before; inference/segment/memory_bank.py says which, their slots and times."""

    def execute(self, memories, slots, pointers, times, embedding):
        """memories float32 (objects, frames, memory_dim, grid, grid); slots float32 (frames,), whole numbers; pointers
        float32 (objects, pointers, C); times float32 (pointers,); embedding float32 (1, C, grid, grid). At least one of
        each. Returns the heads' features, float32 (objects, C, grid, grid)."""
        return self.sam2.prepare_memory_conditioned_features(embedding, memories, slots.int32(), pointers, times)


class Heads(_Part):
    """Masks of a frame; an object's points are in px of the input's frame, with SAM 2's labels (-1: none)."""

    def execute(self, points, labels, features, high_res_0, high_res_1):
        """points float32 (objects, P, 2), x first, and labels float32 (objects, P), P at least 1; features float32 (objects,
        C, grid, grid) of `first_features` or of the memory attention; high_res_0, high_res_1: of the image encoder. Returns
        float32 `masks` (objects, 4, 4 grid, 4 grid), logits; `scores` (objects, 5): the logit of the object's being there
        (at or below 0 all masks are -1024), then the quality of each mask; `pointers` (objects, 4, C), one a mask."""
        masks, ious, pointers, score = self.sam2.predict_all(features, [high_res_0, high_res_1], (points, labels))
        return {"masks": masks, "scores": jt.concat([score, ious], dim=1), "pointers": pointers}


class MaskPointer(_Part):
    """The object pointers of masks that are given."""

    def execute(self, masks, embedding):
        """masks float32 (objects, 1, side, side), 0 or 1 in the input's frame; embedding of the image encoder. Returns
        float32 (objects, C)."""
        return self.sam2.pointers_of_masks(embedding, masks)


class MemoryEncoder(_Part):
    """What is to be remembered of a frame."""

    def execute(self, masks, object_scores, binary, embedding):
        """masks float32 (objects, 1, 4 grid, 4 grid), logits; object_scores float32 (objects, 1), logits; binary float32
        (1,): 1 for a frame with prompts, whose masks are remembered as 0 and 1, else 0; embedding float32 (1, C, grid,
        grid). Returns float32 (objects, memory_dim, grid, grid)."""
        side = self.sam2.config.image_size
        masks = resize_image(masks, side, side, "linear")
        masks = binary * (masks > 0).float32() + (1 - binary) * jt.sigmoid(masks)
        return self.sam2.encode_new_memory(embedding, masks, object_scores)


def graphs_of(sam2) -> list[Graph]:
    """The parts of a Sam2, see `models.catalogue.Graph`."""
    config, rng = sam2.config, np.random.default_rng(0)
    side, grid, dim = config.image_size, config.grid, config.prompt_dim

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    fine = {"high_res_0": normal(1, dim // 8, 4 * grid, 4 * grid), "high_res_1": normal(1, dim // 4, 2 * grid, 2 * grid)}
    embedding = {"embedding": normal(1, dim, grid, grid)}
    remembering, heads, pointing, encoding = [], [], [], []
    for objects, frames in ((1, 1), (2, 3), (5, 2)):
        remembering.append({
            "memories": normal(objects, frames, config.memory_dim, grid, grid),
            "slots": np.arange(frames, dtype=np.float32)[::-1].copy(),
            "pointers": normal(objects, 2 * frames, dim),
            "times": rng.uniform(0, 1, 2 * frames).astype(np.float32),
        } | embedding)
        heads.append({
            "points": rng.uniform(0, side, (objects, frames, 2)).astype(np.float32),
            "labels": rng.integers(-1, 4, (objects, frames)).astype(np.float32),
            "features": normal(objects, dim, grid, grid),
        } | fine)
        pointing.append({"masks": (rng.uniform(0, 1, (objects, 1, side, side)) > 0.5).astype(np.float32)} | embedding)
        encoding.append({
            "masks": normal(objects, 1, 4 * grid, 4 * grid), "object_scores": normal(objects, 1),
            "binary": np.array([frames % 2], np.float32),
        } | embedding)
    objects, still = {0: "objects"}, {"embedding": {}}
    return [
        Graph("image_encoder", ImageEncoder(sam2), sam2.facts(),
              [{"image": rng.uniform(0, 1, (1, 3, side, side)).astype(np.float32)}], {"image": {}}),
        Graph("memory_attention", MemoryAttention(sam2), sam2.facts(), remembering,
              {"memories": objects | {1: "frames"}, "slots": {0: "frames"}, "pointers": objects | {1: "pointers"},
               "times": {0: "pointers"}} | still),
        Graph("heads", Heads(sam2), sam2.facts(), heads,
              {"points": objects | {1: "points"}, "labels": objects | {1: "points"}, "features": objects,
               "high_res_0": {}, "high_res_1": {}}),
        Graph("mask_pointer", MaskPointer(sam2), sam2.facts(), pointing, {"masks": objects} | still),
        Graph("memory_encoder", MemoryEncoder(sam2), sam2.facts(), encoding,
              {"masks": objects, "object_scores": objects, "binary": {}} | still),
    ]
