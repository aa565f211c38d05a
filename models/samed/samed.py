"""SAM as a semantic segmentation model: LoRA in the image encoder, no prompts, one mask a class."""

import re

from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph
from models.sam.build import BUFFERS
from models.sam.resampling import resize_image
from models.sam.sam import Sam
from models.samed.config import SamedConfig
from models.samed.graphs import graphs_of
from models.samed.lora import LoRA, LoRAProjection, LoRAQkv
from models.samed.mask_decoder import MaskDecoder

_LORA_KEY = re.compile(r"\.(linear_[ab]_[qv]|w_[ab])\.weight$")
_ADAPTED_KEY = re.compile(r"\.(qkv)\.qkv\.|\.([qv]_proj)\.proj\.")


class Samed(nn.Module):
    """Its state dict has the keys of the repository's module; the files that are exchanged hold less, see lora_file.py."""

    def __init__(self, config: SamedConfig):
        super().__init__()
        self.config = config
        sam = config.sam
        self.sam = Sam(sam)
        self.sam.mask_decoder = MaskDecoder(sam.prompt_dim, sam.decoder_heads, sam.decoder_mlp_dim, sam.decoder_norm_eps,
                                            config.masks)
        for block in self.sam.image_encoder.blocks:
            block.attn.qkv = LoRAQkv(block.attn.qkv, config.rank)
        if config.decoder_lora:
            for attention in attentions(self.sam.mask_decoder.transformer):
                attention.q_proj = LoRAProjection(attention.q_proj, config.rank)
                attention.v_proj = LoRAProjection(attention.v_proj, config.rank)

    def execute(self, image):
        """image: float32 (N, 3, H, W) in 0..1, grey repeated; H and W are multiples of the patch size, and where they are
        not config.image_size, positions are interpolated.

        Returns a dict of float32: masks (N, masks, H, W), logits whose argmax is the label; iou_predictions (N, masks);
        low_res_logits (N, masks, 4 grid, 4 grid), from which masks are resampled and which are trained.
        """
        embeddings = self.sam.image_encoder(image)
        _, dense = self.sam.prompt_encoder()
        positions = self.sam.prompt_encoder.get_dense_pe(*embeddings.shape[2:])
        logits, iou = self.sam.mask_decoder(embeddings, positions, dense)
        masks = resize_image(logits, int(image.shape[2]), int(image.shape[3]), "linear")
        return {"masks": masks, "iou_predictions": iou, "low_res_logits": logits}

    def base_state(self) -> dict:
        """The Vars of the adapted SAM under SAM's own keys: all but the LoRAs."""
        return {_ADAPTED_KEY.sub(r".\1\2.", key): var for key, var in self.sam.state_dict().items()
                if not _LORA_KEY.search(key)}

    def trained_state(self) -> dict:
        """The Vars that SAMed trains, by key: LoRAs, prompt encoder, mask decoder, with decoder_lora all of it but its
        transformer. All else stays as the base has it."""
        frozen = ("sam.image_encoder.",) + ("sam.mask_decoder.transformer.",) * self.config.decoder_lora
        return {key: var for key, var in self.state_dict().items()
                if (_LORA_KEY.search(key) or not key.startswith(frozen)) and key.split(".")[-1] not in BUFFERS}

    def merge(self):
        """Adds all LoRAs to the weights that they adapt: the same outputs for less work. Do not train, nor save the state
        dict, before `unmerge`."""
        for lora in self._loras():
            lora.merge()

    def unmerge(self):
        """The inverse of `merge`, to the last bit."""
        for lora in self._loras():
            lora.unmerge()

    @property
    def is_merged(self) -> bool:
        return any(lora.unmerged is not None for lora in self._loras())

    def _loras(self):
        return [module for module in self.modules() if isinstance(module, LoRA)]

    def facts(self) -> dict[str, str]:
        """What a runtime must know, as strings: they travel inside every exported file."""
        return self.config.facts()

    def graphs(self) -> list[Graph]:
        """What is exported of the model, with its LoRAs merged: so they stay until `unmerge`."""
        self.merge()
        return graphs_of(self)


def attentions(transformer) -> list:
    """The seven attentions of a two-way transformer, layer by layer, the last one last."""
    found = []
    for layer in transformer.layers:
        found += [layer.self_attn, layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    return [*found, transformer.final_attn_token_to_image]
