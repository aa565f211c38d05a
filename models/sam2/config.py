"""What the named models of the SAM 2 family are made of, and what they must be fed. Free of Jittor, so that a runtime or a
data loader can ask for it without starting Jittor.
"""

import dataclasses

from models.sam.config import Preprocessing


@dataclasses.dataclass(frozen=True)
class HieraConfig:
    """The image encoder (Ryali et al. 2023, arXiv 2306.00989); one value a stage, of which each has twice the channels and
    half the side of the one before.

    embed_dim, num_heads: of the first stage. stages: blocks. window_sizes: in tokens a side; the first block of a stage
    still has the window of the stage before. global_blocks: 0-based blocks of all that attend to the whole image.
    pos_grid: side of the learned positions that are stretched over the image. patch_stride: px of the image a token of the
    first stage.
    """

    embed_dim: int
    num_heads: int
    stages: tuple[int, ...]
    window_sizes: tuple[int, ...]
    global_blocks: tuple[int, ...]
    pos_grid: int = 7
    patch_stride: int = 4
    mlp_ratio: int = 4

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels a stage."""
        return tuple(self.embed_dim * 2**i for i in range(len(self.stages)))


@dataclasses.dataclass(frozen=True)
class Sam2Config:
    """A model of the family (Ravi et al. 2024, arXiv 2408.00714).

    name: a key of CONFIGS. version: "2.1" tells apart when object pointers are from, and marks memories without the object;
    "2.0" does neither. prompt_dim: channels of embeddings and tokens; memory_dim: of memories. memory_layers,
    memory_mlp_dim, dropout: of the memory attention. num_maskmem: memories of masks that a frame sees, prompted frames
    counting as one; max_obj_ptrs_in_encoder: the same of object pointers. decoder_heads, decoder_mlp_dim, mask_in_chans:
    as in SAM. dynamic_multimask: where one mask is asked for and the one is not stable, the best of the other three is
    taken. binarize_mask_from_pts: masks of frames with points are remembered as 0 and 1, not as probabilities.
    """

    name: str
    trunk: HieraConfig
    preprocessing: Preprocessing
    version: str = "2.1"
    prompt_dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_mlp_dim: int = 2048
    dropout: float = 0.1
    num_maskmem: int = 7
    max_obj_ptrs_in_encoder: int = 16
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    mask_in_chans: int = 16
    dynamic_multimask: bool = True
    binarize_mask_from_pts: bool = True

    @property
    def image_size(self) -> int:
        return self.preprocessing.image_size

    @property
    def stride(self) -> int:
        """Px of the image a token of embeddings and memories: the trunk's third stage."""
        return 4 * self.trunk.patch_stride

    @property
    def grid(self) -> int:
        """Side of embeddings and memories; low-resolution masks have 4 times it."""
        return self.image_size // self.stride


HIERA = {
    "t": HieraConfig(96, 1, (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9)),
    "s": HieraConfig(96, 1, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13)),
    "b+": HieraConfig(112, 2, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), pos_grid=14),
    "l": HieraConfig(144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43)),
}
"""Sizes as of the official files."""


def _squashed(size: int) -> Preprocessing:
    """As the official video predictor: both sides to `size`, cubic as Pillow's default, ImageNet's mean and deviation."""
    return Preprocessing(size, size, "mean_std", resize="cubic", keep_aspect=False)


# sam2-nano is to be trained from nothing on two cores. As for medsam-nano, patches are half as wide as the official ones, for
# at 256 px a memory of 16 x 16 cells would hold an object of 20 px in one of them: memories have 32 x 32, masks 128 x 128.
# At the official stride all this would cost a quarter, attention to memories a sixteenth: 64 channels, two layers and three
# memories (the prompted slice and the two before this one) make up for it. Of two FLOPs a multiply-add, a slice takes 3.4 G
# (0.8 in the two global attentions), an object tracked through it 2.7 G (2.4 in the memory attention). Windows divide the
# grids, so that no token is padding.
_NANO = Sam2Config(
    "sam2-nano", HieraConfig(24, 1, (1, 2, 4, 1), (8, 4, 8, 8), (4, 6), patch_stride=2),
    Preprocessing(256, 256, resize="area", loosen_px=2), prompt_dim=64, memory_dim=32, memory_layers=2, memory_mlp_dim=256,
    dropout=0.0, num_maskmem=3, max_obj_ptrs_in_encoder=8, decoder_heads=4, decoder_mlp_dim=256,
)

CONFIGS = {config.name: config for config in (
    *(Sam2Config(f"sam{version}-{size}", trunk, _squashed(1024), "2.0" if version == "2" else version)
      for version in ("2", "2.1") for size, trunk in HIERA.items()),
    Sam2Config("medsam2", HIERA["t"], _squashed(512)),
    _NANO,
)}
