"""An image encoder, the prompt encoder and the mask decoder as one model."""

from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph
from models.sam.config import EfficientViTConfig, SamConfig, TinyViTConfig, ViTConfig
from models.sam.efficientvit import EfficientViTSamImageEncoder
from models.sam.graphs import graphs_of
from models.sam.image_encoder import ImageEncoderViT
from models.sam.mask_decoder import MaskDecoder
from models.sam.prompt_encoder import PromptEncoder
from models.sam.tiny_vit import TinyViT

ENCODERS = {ViTConfig: ImageEncoderViT, TinyViTConfig: TinyViT, EfficientViTConfig: EfficientViTSamImageEncoder}


class Sam(nn.Module):
    """A promptable segmentation model; its state dict has the keys of the official checkpoints."""

    def __init__(self, config: SamConfig):
        super().__init__()
        self.config = config
        self.image_encoder = ENCODERS[type(config.encoder)](config.encoder, config.prompt_dim)
        self.prompt_encoder = PromptEncoder(config.prompt_dim, config.preprocessing.prompt_size, config.mask_in_chans)
        self.mask_decoder = MaskDecoder(config.prompt_dim, config.decoder_heads, config.decoder_mlp_dim,
                                        config.decoder_norm_eps)

    def execute(self, image, boxes=None, points=None, masks=None, multimask_output: bool = False):
        """image: float32 (images, 3, side, side), pre-processed as `config.preprocessing` says; prompts: as
        PromptEncoder.execute's, in the frame of prompt_size px, the same number for each image, image by image.

        Returns (mask logits float32 (prompts, masks, 4 grid, 4 grid), predicted IoU float32 (prompts, masks)).
        """
        return self.decode(self.image_encoder(image), boxes, points, masks, multimask_output)

    def decode(self, image_embeddings, boxes=None, points=None, masks=None, multimask_output: bool = False):
        """As `execute`, from image embeddings float32 (images, prompt_dim, grid, grid)."""
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        positions = self.prompt_encoder.get_dense_pe(*image_embeddings.shape[2:])
        return self.mask_decoder(image_embeddings, positions, sparse, dense, multimask_output)

    def facts(self) -> dict[str, str]:
        """What a runtime must know, as strings: they travel inside every exported file."""
        return {"family": self.config.name, "grid": str(self.config.encoder.grid)} | self.config.preprocessing.facts()

    def graphs(self) -> list[Graph]:
        """What is exported of the model."""
        return graphs_of(self)
