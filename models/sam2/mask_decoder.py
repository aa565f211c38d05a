"""SAM 2's mask decoder: SAM's, with finer maps of the image and a score that the object is there at all."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam import mask_decoder
from models.sam.mask_decoder import MLP, NUM_MASK_TOKENS


class MaskDecoder(mask_decoder.MaskDecoder):
    """transformer_dim: channels of embeddings and tokens."""

    def __init__(self, transformer_dim: int, num_heads: int, mlp_dim: int, norm_eps: float = 1e-5):
        super().__init__(transformer_dim, num_heads, mlp_dim, norm_eps)
        dim = transformer_dim
        for layer in self.transformer.layers:
            layer.mlp = MLP(dim, mlp_dim, dim, 2)  # SAM's own by SAM 2's names
        self.obj_score_token = nn.Embedding(1, dim)
        self.pred_obj_score_head = MLP(dim, dim, 1, 3)
        self.conv_s0 = nn.Conv2d(dim, dim // 8, 1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, 1)

    def execute(self, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, high_res_features):
        """image_embeddings float32 (N or 1, C, H, W); image_pe (1, C, H, W); sparse (N, tokens, C) and dense (N, C, H, W)
        or (1, C, 1, 1) as the prompt encoder returns them; high_res_features: what conv_s0 and conv_s1 make of the image's
        finer maps, (N or 1, C / 8, 4 H, 4 W) and (N or 1, C / 4, 2 H, 2 W).

        Returns all four masks: (logits float32 (N, 4, 4 H, 4 W), predicted IoU float32 (N, 4), their tokens float32
        (N, 4, C), object score logits float32 (N, 1)).
        """
        prompts = sparse_prompt_embeddings.shape[0]
        tokens = jt.concat([self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight], dim=0)
        tokens = tokens.unsqueeze(0).broadcast([prompts, *tokens.shape])
        tokens = jt.concat([tokens, sparse_prompt_embeddings], dim=1)
        tokens, pixels = self.transformer(image_embeddings + dense_prompt_embeddings, image_pe, tokens)
        mask_tokens = tokens[:, 2:2 + NUM_MASK_TOKENS]
        masks = self._masks(mask_tokens, self._upscaled(pixels, image_pe.shape[2:], *high_res_features))
        return (masks, jt.sigmoid(self.iou_prediction_head(tokens[:, 1])), mask_tokens,
                self.pred_obj_score_head(tokens[:, 0]))

    def _upscaled(self, pixels, grid, s0, s1):
        """pixels (N, H * W, C) -> (N, C / 8, 4 H, 4 W)"""
        first, norm, act, second, last_act = self.output_upscaling
        x = pixels.transpose(1, 2).reshape([pixels.shape[0], pixels.shape[2], *grid])
        return last_act(second(act(norm(first(x) + s1))) + s0)

    def _masks(self, mask_tokens, upscaled):
        batch, channels, height, width = upscaled.shape
        filters = jt.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        masks = nn.matmul(filters, upscaled.reshape([batch, channels, height * width]))
        return masks.reshape([batch, NUM_MASK_TOKENS, height, width])


def stability_scores(mask_logits, offset: float = 0.05):
    """mask_logits (N, H, W) -> float32 (N,), 0..1: the area above `offset` by the area above -`offset`; 1 where there is
    none."""
    inner, outer = ((mask_logits > limit).float32().sum(dims=(1, 2)) for limit in (offset, -offset))
    return jt.ternary(outer > 0, inner / jt.maximum(outer, 1), jt.ones(outer.shape))
