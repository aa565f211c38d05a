"""What the named MedSegDiffs are made of, and what they must be fed. Free of Jittor, as models/sam/config.py."""

import dataclasses

from inference.diffusion.ensemble import Ensemble
from inference.diffusion.schedule import Diffusion

GROUPS = 8
"""Of all group norms."""
PUBLISHED = Ensemble(steps=100, samples=25)
"""Of the published runs."""


@dataclasses.dataclass(frozen=True)
class MedSegDiffConfig:
    """A denoiser and the diffusion that it is for.

    name: a key of CONFIGS. image_size: side of image and mask in px. channels: of the image; the mask has one. dim,
    dim_mults: the levels' widths are dim and dim times each of them; between two levels the sides are halved. attn_heads,
    attn_dim_head: of the attentions of the levels and of the middle, whose transformer has mid_depth layers; the last level
    has full attention, the others linear. cond_heads, cond_dim_head, cond_depth: of the transformers that make the dynamic
    attention maps of the FF-Parsers, from patches of cond_patch_size px; 0: the smallest from 2 that divides the last
    level's side. ensemble: how a runtime draws masks where it is not told otherwise.

    Ablations, each False takes a part away with its parameters: self_condition, the denoiser's own last guess as a further
    input; ff_parser, the filter in the frequency domain; dynamic_encoding, the product of the mask's features with the
    image's and the block that follows, in whose place the filtered features are added, or, without ff_parser too, nothing
    is, and the image is encoded by itself; attention, at the levels and in the middle.
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
    ensemble: Ensemble = Ensemble()
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
        """What a runtime must know, and what it takes to build the same again (`from_facts`), as strings: they travel inside
        every exported file."""
        values = dataclasses.asdict(self)
        for part in ("diffusion", "ensemble"):
            values |= values.pop(part)
        return {"family": values.pop("name"), "value_range": "-1,1"} | {key: _text(value) for key, value in values.items()}


def from_facts(facts: dict[str, str]) -> MedSegDiffConfig:
    """The configuration whose `facts` these are; what they do not say is as in the model of that name. Raises ValueError."""
    if facts.get("family") not in CONFIGS:
        raise ValueError(f"family must be one of {', '.join(CONFIGS)}; got {facts.get('family')}")
    config = CONFIGS[facts["family"]]
    inner = {name: _replaced(getattr(config, name), facts) for name in ("diffusion", "ensemble")}
    return dataclasses.replace(_replaced(config, facts), **inner)


def _replaced(config, facts):
    kinds = {field.name: field.type for field in dataclasses.fields(config) if field.name in facts}
    return dataclasses.replace(config, **{name: _value(facts[name], kind) for name, kind in kinds.items()})


def _text(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _value(text, kind):
    if kind is bool:
        return {"true": True, "false": False}[text]
    return kind(text) if kind in (int, str) else tuple(int(number) for number in text.split(","))


# medsegdiff-nano is to be trained from nothing, in hours, on two cores, and draws an ensemble in seconds. It has S's levels
# but the last at a quarter of the widths: most of the work is in the first levels, and goes with dim^2 and the number of
# pixels. At 64 px, the size of the published runs of the earlier port, a step takes 1.4 GFLOPs an image (two a
# multiply-add), in training 4.8 with gradients and half a pass of self-conditioning; 32 channels would take 4.7, 128 px 6.4.
# Patches of 4 px keep the attention maps' transformers at 256 tokens: with 2 px the first would have 1024, and would take
# 0.29 GFLOPs more. An ensemble of 5 in 10 steps is 68 GFLOPs. It predicts the mask: where it is to say the noise, its error
# at the noisiest steps is multiplied by up to 2000 in the guess of the mask, and short trainings suffer. A smaller one (32 px,
# levels 1, 2, 4), trained once with each objective for 200 batches of 8, had a macro Dice of 0.57 with the mask, 0.26 with the
# velocity and 0.11 with the noise: masks of 8 held-out training images, drawn in 5 steps, four of each.
CONFIGS = {config.name: config for config in (
    MedSegDiffConfig("medsegdiff-s", 256, (1, 2, 4, 8), 2, 16, 2, 2, 16, ensemble=PUBLISHED),
    MedSegDiffConfig("medsegdiff-b", 256, (1, 2, 4, 8, 16), 4, 32, 3, 4, 32, ensemble=PUBLISHED),
    MedSegDiffConfig("medsegdiff-l", 256, (1, 2, 4, 8, 16, 32), 6, 48, 4, 6, 48, ensemble=PUBLISHED),
    MedSegDiffConfig("medsegdiff++", 256, (1, 2, 4, 8, 16, 32), 8, 64, 6, 8, 64, ensemble=PUBLISHED),
    MedSegDiffConfig("medsegdiff-nano", 64, (1, 2, 4, 4), 2, 16, 2, 2, 16, dim=16, cond_patch_size=4,
                     diffusion=Diffusion(objective="pred_x0")),
)}
