"""SAM's mask decoder (Kirillov et al. 2023, arXiv 2304.02643, appendix A): from an image embedding and prompts to masks
and a guess of their quality."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm2d
from models.sam.transformer import TwoWayTransformer

NUM_MASK_TOKENS = 4
"""One mask for a prompt that says what is meant, three for one that does not."""


class MaskDecoder(nn.Module):
    """transformer_dim: channels of embeddings and tokens."""

    def __init__(self, transformer_dim: int, num_heads: int, mlp_dim: int, norm_eps: float):
        super().__init__()
        dim = transformer_dim
        self.transformer = TwoWayTransformer(2, dim, num_heads, mlp_dim, norm_eps)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASK_TOKENS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList([MLP(dim, dim, dim // 8, 3) for _ in range(NUM_MASK_TOKENS)])
        self.iou_prediction_head = MLP(dim, dim, NUM_MASK_TOKENS, 3)

    def execute(self, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings,
                multimask_output: bool = False):
        """image_embeddings float32 (images, C, H, W); image_pe (1, C, H, W); sparse (N, tokens, C) and dense (N, C, H, W)
        or (1, C, 1, 1) as the prompt encoder returns them. N is a multiple of the number of images, whose prompts follow
        each other.

        Returns (mask logits float32 (N, masks, 4 H, 4 W), predicted IoU float32 (N, masks)) with the three masks of
        multimask_output, or the one.
        """
        prompts, images = sparse_prompt_embeddings.shape[0], image_embeddings.shape[0]
        if images != 1 and images != prompts:
            image_embeddings = jt.repeat_interleave(image_embeddings, prompts // images, dim=0)
        output_tokens = jt.concat([self.iou_token.weight, self.mask_tokens.weight], dim=0)
        output_tokens = output_tokens.unsqueeze(0).broadcast([prompts, *output_tokens.shape])
        tokens = jt.concat([output_tokens, sparse_prompt_embeddings], dim=1)
        tokens, pixels = self.transformer(image_embeddings + dense_prompt_embeddings, image_pe, tokens)
        wanted = range(1, NUM_MASK_TOKENS) if multimask_output else range(1)
        masks = self._masks(tokens, pixels, image_pe.shape[2:], wanted)
        iou = self.iou_prediction_head(tokens[:, 0])
        return masks, iou[:, wanted.start:wanted.stop]

    def _masks(self, tokens, pixels, grid, wanted):
        """tokens (N, 5 or more, C), pixels (N, H * W, C), wanted: which masks -> (N, masks, 4 H, 4 W)."""
        height, width = grid
        batch, _, channels = pixels.shape
        pixels = pixels.transpose(1, 2).reshape([batch, channels, height, width])
        upscaled = self.output_upscaling(pixels).reshape([batch, channels // 8, 16 * height * width])
        filters = jt.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in wanted], dim=1)
        return nn.matmul(filters, upscaled).reshape([batch, len(wanted), 4 * height, 4 * width])


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int):
        super().__init__()
        dims = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(dims, dims[1:])])

    def execute(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x) if i == len(self.layers) - 1 else nn.relu(layer(x))
        return x
