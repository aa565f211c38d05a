"""What the named MedSegDiffs are made of, and what they must be fed. Free of Jittor, as models/sam/config.py."""

import dataclasses

from models.medsegdiff.diffusion import Diffusion

GROUPS = 8
"""Of all group norms."""


@dataclasses.dataclass(frozen=True)
class MedSegDiffConfig:
    """A denoiser and the diffusion that it is for.

    name: a key of CONFIGS. image_size: side of image and mask in px. channels: of the image; the mask has one. dim,
    dim_mults: the levels' widths are dim and dim times each of them; between two levels the sides are halved. attn_heads,
    attn_dim_head: of the attentions of the levels and of the middle, whose transformer has mid_depth layers; the last level
    has full attention, the others linear. cond_heads, cond_dim_head, cond_depth: of the transformers that make the dynamic
    attention maps of the FF-Parsers, from patches of cond_patch_size px; 0: the smallest from 2 that divides the last
    level's side.

    Ablations, each False takes a part away with its parameters: self_condition, the denoiser's own last guess as a further
    input; ff_parser, the filter in the frequency domain; dynamic_encoding, all of the conditioning by the noisy mask, the
    FF-Parser in it, so that the image is encoded by itself; attention, at the levels and in the middle.
    The flags of an earlier port, by their names there: disable_ff_parser takes away the dynamic attention map alone, the
    learned static map stays; disable_dynamic_encoding keeps the image's features out of the decoder's skip connections
    (and leaves all conditioning where it is).
    """

    name: str
    image_size: int
    dim_mults: tuple[int, ...]
    cond_heads: int
    cond_dim_head: int
    cond_depth: int
    attn_heads: int
    attn_dim_head: int
    channels: int = 3
    dim: int = 64
    mid_depth: int = 1
    cond_patch_size: int = 0
    diffusion: Diffusion = Diffusion()
    self_condition: bool = True
    ff_parser: bool = True
    dynamic_encoding: bool = True
    attention: bool = True
    disable_ff_parser: bool = False
    disable_dynamic_encoding: bool = False

    def __post_init__(self):
        halvings = len(self.dim_mults) - 1
        if any(width % GROUPS for width in self.widths):
            raise ValueError(f"{self.name}: dim and dim times each of dim_mults must be multiples of {GROUPS}, the groups of "
                             f"the norms; got {', '.join(map(str, self.widths))}")
        if self.image_size % 2**halvings or self.last_size % self.patch_size:
            raise ValueError(f"{self.name}: image_size must be halved {halvings} times and then be a multiple of "
                             f"cond_patch_size, {self.patch_size}; got {self.image_size}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels: level i works at widths[i] and hands on widths[i + 1]."""
        return self.dim, *(self.dim * mult for mult in self.dim_mults)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the levels' feature maps in px."""
        return tuple(self.image_size >> level for level in range(len(self.dim_mults)))

    @property
    def last_size(self) -> int:
        return self.sizes[-1]

    @property
    def patch_size(self) -> int:
        """cond_patch_size, or what 0 stands for; at most the last level's side."""
        if self.cond_patch_size:
            return self.cond_patch_size
        return next((size for size in range(2, self.last_size) if self.last_size % size == 0), max(1, self.last_size))

    def facts(self) -> dict[str, str]:
        """What a runtime must know, as strings: they travel inside every exported file."""
        return {"family": self.name, "image_size": str(self.image_size), "channels": str(self.channels),
                "value_range": "-1,1", "self_condition": str(self.self_condition).lower()} | {
                    key: str(value) for key, value in dataclasses.asdict(self.diffusion).items()}


# medsegdiff-nano is to be trained from nothing, in hours, on two cores, and draws an ensemble in seconds. It has S's levels
# but the last at a quarter of the widths: most of the work is in the first levels, and goes with dim^2 and the number of
# pixels. At 64 px, the size of the published runs of the earlier port, a step takes 1.4 GFLOPs an image (two a
# multiply-add), in training 4.8 with gradients and half a pass of self-conditioning; 32 channels would take 4.7, 128 px 6.4.
# Patches of 4 px keep the attention maps' transformers at 256 tokens: with 2 px the first would have 1024, and would take
# 0.29 GFLOPs more. An ensemble of 5 in 10 steps is 68 GFLOPs.
CONFIGS = {config.name: config for config in (
    MedSegDiffConfig("medsegdiff-s", 256, (1, 2, 4, 8), 2, 16, 2, 2, 16),
    MedSegDiffConfig("medsegdiff-b", 256, (1, 2, 4, 8, 16), 4, 32, 3, 4, 32),
    MedSegDiffConfig("medsegdiff-l", 256, (1, 2, 4, 8, 16, 32), 6, 48, 4, 6, 48),
    MedSegDiffConfig("medsegdiff++", 256, (1, 2, 4, 8, 16, 32), 8, 64, 6, 8, 64),
    MedSegDiffConfig("medsegdiff-nano", 64, (1, 2, 4, 4), 2, 16, 2, 2, 16, dim=16, cond_patch_size=4),
)}
