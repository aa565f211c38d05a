"""What the noisy mask does to the encoding of the image: the FF-Parser and dynamic conditional encoding (Wu et al. 2022,
arXiv 2211.00611, sections 3.2 and 3.3), each of which may be left out."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.medsegdiff.attention import ViT
from models.medsegdiff.blocks import LayerNorm, ResnetBlock
from models.medsegdiff.config import MedSegDiffConfig
from models.medsegdiff.ff_parser import dft2, inverse_dft2


class Conditioning(nn.Module):
    """Of the level with `dim` channels and maps of `size` px a side."""

    def __init__(self, config: MedSegDiffConfig, dim: int, size: int):
        super().__init__()
        self.ff_parser, self.dynamic = config.ff_parser, config.ff_parser and not config.disable_ff_parser
        if self.ff_parser:
            self.ff_parser_attn_map = jt.ones([dim, size, size])
        if self.dynamic:
            self.to_dynamic_ff_parser_attn_map = ViT(
                4 * dim, dim, size, config.patch_size, config.cond_heads, config.cond_dim_head, config.cond_depth)
        self.dynamic_encoding = config.dynamic_encoding
        if self.dynamic_encoding:
            self.norm_input = LayerNorm(dim, bias=True)
            self.norm_condition = LayerNorm(dim, bias=True)
            self.block = ResnetBlock(dim, dim)

    def execute(self, x, c):
        """x: features of the noisy mask, c: of the image, both float32 (N, dim, size, size). Returns the new c."""
        if self.ff_parser:
            x = self.filtered(x, c)
        if not self.dynamic_encoding:
            return c + x
        return self.block(self.norm_input(x) * self.norm_condition(c) * c)

    def filtered(self, x, c):
        """x with its frequencies weighed by the attention map, which is learned and, where it is dynamic, also depends on
        the spectra of x and c."""
        x = dft2(x)
        weights = self.ff_parser_attn_map
        if self.dynamic:
            spectra = jt.concat([interleaved(*x), interleaved(*dft2(c))], dim=1)
            weights = weights + self.to_dynamic_ff_parser_attn_map(spectra)
        return inverse_dft2(*(part * weights for part in x))


def interleaved(real, imaginary):
    """Two (N, C, H, W) -> (N, 2 C, H, W): real and imaginary part of channel 0, of channel 1, ..."""
    batch, channels, height, width = real.shape
    return jt.stack([real, imaginary], dim=2).reshape([batch, 2 * channels, height, width])
