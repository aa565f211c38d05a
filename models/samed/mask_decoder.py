"""SAM's mask decoder without prompts: one mask a class and one for the background, all of them given out."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam import mask_decoder


class MaskDecoder(mask_decoder.MaskDecoder):
    """masks: how many come out; other arguments as for SAM's."""

    def __init__(self, transformer_dim: int, num_heads: int, mlp_dim: int, norm_eps: float, masks: int):
        super().__init__(transformer_dim, num_heads, mlp_dim, norm_eps)
        dim = transformer_dim
        self.mask_tokens = nn.Embedding(masks, dim)
        self.output_hypernetworks_mlps = nn.ModuleList([mask_decoder.MLP(dim, dim, dim // 8, 3) for _ in range(masks)])
        self.iou_prediction_head = mask_decoder.MLP(dim, dim, masks, 3)
        self.masks = masks

    def execute(self, image_embeddings, image_pe, dense_prompt_embeddings):
        """image_embeddings float32 (N, C, H, W); image_pe (1, C, H, W); dense_prompt_embeddings (1, C, 1, 1).

        Returns (mask logits float32 (N, masks, 4 H, 4 W), predicted IoU float32 (N, masks)).
        """
        tokens = jt.concat([self.iou_token.weight, self.mask_tokens.weight], dim=0)
        tokens = tokens.unsqueeze(0).broadcast([image_embeddings.shape[0], *tokens.shape])
        tokens, pixels = self.transformer(image_embeddings + dense_prompt_embeddings, image_pe, tokens)
        masks = self._masks(tokens, pixels, image_pe.shape[2:], range(self.masks))
        return masks, self.iou_prediction_head(tokens[:, 0])
