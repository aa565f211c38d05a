"""What the named models of the SAM family are made of, and what they must be fed. Free of Jittor, so that a runtime or a
data loader can ask for it without starting Jittor.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image and its prompts become a model's inputs, and its logits a mask.

    image_size: side of the square input in px. resize: "linear", "area" or "cubic". keep_aspect: True: the longest side
    becomes image_size, zeros are added after normalisation at the bottom and right; False: both sides become image_size.
    normalise: "mean_std" of grey values 0..255 per channel with `mean` and `std`, or "min_max" of the whole resized image
    to 0..1. prompt_size: side in px of the frame that boxes and points are given in; the frame covers what the input
    covers. whole_boxes: corners in that frame are rounded down. box_offset: added to them; -0.5 undoes the half pixel of
    the prompt encoder. output: what is resampled linearly to the image's size: "logit", an object above 0 (at the side
    of the input, of which an image's part is cut out), or "probability", above 0.5 (at the side of the masks). loosen_px:
    by how much, in px of the input, the box of a mask is loosened to prompt the next slice of a volume.
    """

    image_size: int
    prompt_size: int
    normalise: str = "min_max"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    resize: str = "linear"
    keep_aspect: bool = True
    whole_boxes: bool = False
    box_offset: float = 0.0
    output: str = "logit"
    loosen_px: int = 0

    def facts(self) -> dict[str, str]:
        """As strings: they travel inside every exported file."""
        return {key: ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
                for key, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """SAM's ViTDet encoder. image_size, patch_size in px: their quotient is the side of the grid of tokens.
    global_blocks: 0-based blocks that attend to the whole grid, the others within windows of window_size tokens a side.
    """

    image_size: int
    embed_dim: int
    depth: int
    num_heads: int
    global_blocks: tuple[int, ...]
    patch_size: int = 16
    window_size: int = 14
    mlp_ratio: int = 4

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size


@dataclasses.dataclass(frozen=True)
class TinyViTConfig:
    """LiteMedSAM's encoder; one value a stage. strides: of the down-sampling after each stage but the last."""

    image_size: int
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    strides: tuple[int, ...] = (2, 2, 1)
    mlp_ratio: int = 4
    mbconv_expand: int = 4

    @property
    def grid(self) -> int:
        grid = self.image_size
        for stride in self.strides:
            grid //= stride
        return grid


@dataclasses.dataclass(frozen=True)
class EfficientViTConfig:
    """EfficientViT-SAM's encoder; one value a stage, of which each halves the image once.

    blocks: "res", "fmb" (fused inverted bottleneck), "mb" (inverted bottleneck), "att@5" or "att@3" (linear attention
    with a multi-scale branch of that kernel, then an inverted bottleneck). expand: the blocks' ratio; a stage's
    down-sampling has four times it. few_norms: True: biases stand for all batch norms of a block but the last.
    neck_stages: the stages that the neck adds up, deepest first, at `grid` tokens a side.
    """

    image_size: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    blocks: tuple[str, ...]
    expand: tuple[int, ...]
    few_norms: tuple[bool, ...]
    neck_stages: tuple[int, ...]
    neck_depth: int
    neck_width: int = 256
    neck_expand: int = 1
    head_dim: int = 32
    grid: int = 64


@dataclasses.dataclass(frozen=True)
class SamConfig:
    """A model of the family.

    name: a key of CONFIGS. prompt_dim: channels of embeddings and tokens. decoder_heads, decoder_mlp_dim,
    mask_in_chans: of the prompt encoder and the mask decoder. decoder_norm_eps: of the transformer's layer norms. The
    low-resolution masks have 4 times the side of the encoder's grid.
    """

    name: str
    encoder: ViTConfig | TinyViTConfig | EfficientViTConfig
    preprocessing: Preprocessing
    prompt_dim: int = 256
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    mask_in_chans: int = 16
    decoder_norm_eps: float = 1e-5


VIT = {
    "b": ViTConfig(image_size=1024, embed_dim=768, depth=12, num_heads=12, global_blocks=(2, 5, 8, 11)),
    "l": ViTConfig(image_size=1024, embed_dim=1024, depth=24, num_heads=16, global_blocks=(5, 11, 17, 23)),
    "h": ViTConfig(image_size=1024, embed_dim=1280, depth=32, num_heads=16, global_blocks=(7, 15, 23, 31)),
}

_L = EfficientViTConfig(
    image_size=512, widths=(32, 64, 128, 256, 512), depths=(1, 1, 1, 4, 4), blocks=("res", "fmb", "fmb", "mb", "att@5"),
    expand=(1, 4, 4, 4, 6), few_norms=(False, False, False, True, True), neck_stages=(4, 3, 2), neck_depth=4,
)
_XL = EfficientViTConfig(
    image_size=1024, widths=(32, 64, 128, 256, 512, 1024), depths=(0, 1, 1, 2, 3, 3),
    blocks=("res", "fmb", "fmb", "fmb", "att@3", "att@3"), expand=(1, 4, 4, 4, 4, 6),
    few_norms=(False, False, False, False, True, True), neck_stages=(5, 4, 3), neck_depth=6, neck_expand=4,
)
EFFICIENTVIT = {
    "l0": _L,
    "l1": dataclasses.replace(_L, depths=(1, 1, 1, 6, 6), neck_depth=8),
    "l2": dataclasses.replace(_L, depths=(1, 2, 2, 8, 8), neck_depth=12),
    "xl0": _XL,
    "xl1": dataclasses.replace(_XL, depths=(1, 2, 2, 4, 6, 6), neck_depth=12),
}

# medsam-nano is to be trained from nothing, in hours, on two cores. At 256 px SAM's patches of 16 px would leave 16 x 16
# tokens, and an object of 20 px one of them; patches of 8 leave 32 x 32, and masks of 128 x 128, half the input's
# resolution where SAM's have a quarter. Patches of 4 would cost 4 times as much, and 16 times in the global blocks. 128
# channels keep the decoder, which runs for every box, at 1/15 of SAM's. Of two FLOPs a multiply-add, an image takes 4.1 G
# (2.4 in the linear layers, 1.1 in the two global attentions), a box 0.24 G. Windows of 8 divide the grid, so that no
# token is padding.
_MEDSAM_NANO = ViTConfig(image_size=256, embed_dim=128, depth=6, num_heads=4, global_blocks=(2, 5), patch_size=8,
                         window_size=8)

# medficientsam-nano: the same grid and channels, for it is distilled from medsam-nano. L0 with a quarter of the widths
# and half the depth: 0.84 GFLOPs an image.
_MEDFICIENTSAM_NANO = EfficientViTConfig(
    image_size=256, widths=(8, 16, 32, 64, 128), depths=(1, 1, 1, 2, 2), blocks=_L.blocks, expand=_L.expand,
    few_norms=_L.few_norms, neck_stages=(4, 3, 2), neck_depth=2, neck_width=64, grid=32,
)


def _named(*configs: SamConfig) -> dict[str, SamConfig]:
    return {config.name: config for config in configs}


CONFIGS = _named(
    *(SamConfig(f"sam-vit-{size}", VIT[size], Preprocessing(1024, 1024, "mean_std")) for size in VIT),
    SamConfig("medsam-vit-b", VIT["b"],
              Preprocessing(1024, 1024, resize="cubic", keep_aspect=False, output="probability")),
    SamConfig("litemedsam", TinyViTConfig(256), Preprocessing(256, 256, resize="area", whole_boxes=True, loosen_px=3)),
    # Their authors set the eps of every norm to 1e-6.
    *(SamConfig(f"efficientvit-sam-{size}", encoder, Preprocessing(encoder.image_size, 1024, "mean_std"),
                decoder_norm_eps=1e-6) for size, encoder in EFFICIENTVIT.items()),
    *(SamConfig(f"medficientsam-{size}", EFFICIENTVIT[size], Preprocessing(512, 512, box_offset=-0.5), decoder_norm_eps=1e-6)
      for size in ("l0", "l1", "l2")),  # boxes as its C++ program normalises them
    *(SamConfig(name, encoder, Preprocessing(256, 256, resize="area", loosen_px=2), prompt_dim=128, decoder_heads=4,
                decoder_mlp_dim=512)
      for name, encoder in (("medsam-nano", _MEDSAM_NANO), ("medficientsam-nano", _MEDFICIENTSAM_NANO))),
)
