"""What the named models of the SAMed family are made of, and what they must be fed. Free of Jittor, as models/sam/config.py.
"""

import dataclasses

from models.sam import config as sam


@dataclasses.dataclass(frozen=True)
class SamedConfig:
    """A model of the family.

    name: a key of CONFIGS. base: the SAM that it adapts, a ViT of models.sam.config.CONFIGS. image_size: side of the square
    input in px, which may be another than the base's; a multiple of the patch size. classes: what labels 1, 2, ... mean;
    label 0 is the background. rank: of all LoRAs. decoder_lora: whether the decoder's transformer gets LoRAs too and stays
    frozen otherwise (SAMed_s). slice_size: side in px to which a slice is resampled before image_size, or 0.
    """

    name: str
    base: str
    image_size: int
    classes: tuple[str, ...]
    rank: int = 4
    decoder_lora: bool = False
    slice_size: int = 0

    def __post_init__(self):
        encoder = sam.CONFIGS[self.base].encoder
        if not isinstance(encoder, sam.ViTConfig):
            raise ValueError(f"{self.name}: base must have a ViT for an encoder; got {self.base}")
        if self.image_size < 1 or self.image_size % encoder.patch_size:
            raise ValueError(f"{self.name}: image_size must be a multiple of {encoder.patch_size}; got {self.image_size}")
        if self.rank < 1 or not self.classes:
            raise ValueError(f"{self.name}: rank and the number of classes must be 1 or more; got {self.rank} and "
                             f"{len(self.classes)}")

    @property
    def sam(self) -> sam.SamConfig:
        """The base at this image_size."""
        base = sam.CONFIGS[self.base]
        preprocessing = dataclasses.replace(base.preprocessing, image_size=self.image_size, prompt_size=self.image_size)
        return dataclasses.replace(base, preprocessing=preprocessing,
                                   encoder=dataclasses.replace(base.encoder, image_size=self.image_size))

    @property
    def masks(self) -> int:
        """How many come out: the background's first, then one a class."""
        return 1 + len(self.classes)

    def facts(self) -> dict[str, str]:
        """What a runtime must know, as strings: they travel inside every exported file."""
        return {"family": self.name, "image_size": str(self.image_size), "slice_size": str(self.slice_size),
                "value_range": "0,1", "classes": ",".join(self.classes)}


SYNAPSE = ("spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")
"""The classes of the published weights, CT of the abdomen: Hounsfield units -125..275 become 0..1."""

# samed-nano adapts medsam-nano to the three classes of the short-axis heart, the largest set with several named organs that
# can be trained on here. It keeps the base's 256 px: tokens of 8 px are as fine as there are, and positions need no
# resampling. An image takes 4.4 GFLOPs (two a multiply-add): 4.1 in the encoder, 0.3 in the decoder, which runs once an
# image. LoRAs of rank 4 add 12,288 parameters and 0.03 GFLOPs, which merging takes away. The encoder's weights are frozen,
# so a training step needs no gradients of them: two thirds of what training all of it costs.
CONFIGS = {config.name: config for config in (
    SamedConfig("samed", "sam-vit-b", 512, SYNAPSE, slice_size=224),
    SamedConfig("samed-s", "sam-vit-b", 512, SYNAPSE, decoder_lora=True, slice_size=224),
    SamedConfig("samed-h", "sam-vit-h", 512, SYNAPSE, slice_size=224),
    SamedConfig("samed-nano", "medsam-nano", 256, ("right ventricle", "myocardium", "left ventricle")),
)}
