"""SAM's prompt encoder: points, boxes and masks as tokens and as an image (Kirillov et al. 2023, arXiv 2304.02643,
appendix A)."""

import math

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm2d

NOT_A_POINT, BACKGROUND, FOREGROUND = -1, 0, 1
"""Labels of points."""


class PromptEncoder(nn.Module):
    """embed_dim: channels of tokens. input_image_size: side in px of the frame in which prompts are given. mask_in_chans:
    hidden channels of a mask prompt."""

    def __init__(self, embed_dim: int, input_image_size: int, mask_in_chans: int):
        super().__init__()
        self.input_image_size = input_image_size
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        # Background point, foreground point, top left and bottom right corner of a box.
        self.point_embeddings = nn.ModuleList([nn.Embedding(1, embed_dim) for _ in range(4)])
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, 2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, 2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, 1),
        )

    def execute(self, points=None, boxes=None, masks=None):
        """points: (xy_px float32 (N, P, 2), labels (N, P): 1 object, 0 background, -1 none) or None; boxes: xyxy_px float32
        (N, 4) or None; masks: logits float32 (N, 1, 4 H, 4 W) for an image embedding of H x W, or None.

        Returns (sparse float32 (N, tokens, embed_dim), dense float32 (N, embed_dim, H, W)). Without points and boxes there
        are no tokens. Without masks the dense embedding is the same for every prompt and place: (1, embed_dim, 1, 1).
        """
        tokens = []
        if points is not None:
            tokens.append(self.embed_points(*points, pad=boxes is None))
        if boxes is not None:
            tokens.append(self.embed_boxes(boxes))
        count = 1 if masks is None else masks.shape[0]
        sparse = jt.concat(tokens, dim=1) if tokens else jt.zeros([count, 0, self.no_mask_embed.weight.shape[1]])
        if masks is None:
            return sparse, self.no_mask_embed.weight.reshape([1, -1, 1, 1])
        return sparse, self.mask_downscaling(masks)

    def embed_points(self, xy_px, labels, pad: bool):
        """pad: another point without a label at the end, which stands where a box would."""
        unit = self.unit_square(xy_px)
        if pad:
            unit = jt.concat([unit, jt.zeros([unit.shape[0], 1, 2])], dim=1)
            none = jt.zeros([labels.shape[0], 1]) + NOT_A_POINT
            labels = jt.concat([labels.float32(), none], dim=1)
        labels = labels.unsqueeze(-1)
        is_background, is_foreground, is_none = (
            (labels == label).float32() for label in (BACKGROUND, FOREGROUND, NOT_A_POINT))
        return (self.pe_layer(unit) * (1 - is_none) + self.not_a_point_embed.weight * is_none
                + self.point_embeddings[0].weight * is_background + self.point_embeddings[1].weight * is_foreground)

    def embed_boxes(self, boxes_xyxy_px):
        """(N, 4) -> (N, 2, embed_dim)"""
        return self.embed_unit_boxes(self.unit_square(boxes_xyxy_px.reshape([-1, 2, 2])))

    def embed_unit_boxes(self, corners):
        """Corners xy (N, 2, 2) in 0..1 of the frame."""
        which = jt.concat([self.point_embeddings[2].weight, self.point_embeddings[3].weight], dim=0)
        return self.pe_layer(corners) + which

    def get_dense_pe(self, height: int, width: int):
        """The positions of an image embedding's cells, float32 (1, embed_dim, height, width)."""
        return self.pe_layer.of_grid(height, width)

    def unit_square(self, xy_px):
        """Positions of pixels -> 0..1 of the frame, at the pixels' centres."""
        return (xy_px + 0.5) / self.input_image_size


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier features (Tancik et al. 2020, arXiv 2006.10739): the frequencies are drawn once, and never trained.

    xy in 0..1 (..., 2) -> (..., 2 * num_pos_feats).
    """

    def __init__(self, num_pos_feats: int):
        super().__init__()
        self.positional_encoding_gaussian_matrix = jt.randn([2, num_pos_feats]).stop_grad()

    def execute(self, xy):
        phases = 2 * math.pi * nn.matmul(2 * xy - 1, self.positional_encoding_gaussian_matrix)
        return jt.concat([jt.sin(phases), jt.cos(phases)], dim=-1)

    def of_grid(self, height: int, width: int):
        """Of the centres of height x width cells: (1, channels, height, width)."""
        x, y = ((np.arange(size, dtype=np.float32) + 0.5) / size for size in (width, height))
        return self(jt.array(np.stack(np.meshgrid(x, y), axis=-1))).permute(2, 0, 1).unsqueeze(0)
