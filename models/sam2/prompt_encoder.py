"""SAM 2's prompt encoder: SAM's, to which a box is two points."""

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam import prompt_encoder
from models.sam.prompt_encoder import NOT_A_POINT

TOP_LEFT, BOTTOM_RIGHT = 2, 3
"""Labels of a box's corners."""


class PromptEncoder(prompt_encoder.PromptEncoder):
    """As SAM's; labels of points may be TOP_LEFT and BOTTOM_RIGHT too."""

    def embed_points(self, xy_px, labels, pad: bool):
        labels = labels.float32()
        if pad:
            xy_px = jt.concat([xy_px, jt.zeros([xy_px.shape[0], 1, 2])], dim=1)
            labels = jt.concat([labels, jt.zeros([labels.shape[0], 1]) + NOT_A_POINT], dim=1)
        tokens = super().embed_points(xy_px, labels, pad=False)
        for corner in (TOP_LEFT, BOTTOM_RIGHT):
            tokens = tokens + self.point_embeddings[corner].weight * (labels == corner).float32().unsqueeze(-1)
        return tokens
