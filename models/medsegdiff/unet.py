"""MedSegDiff's denoiser: a U-Net with one encoder for the noisy mask and one for the image, in the structure and under the
names of lucidrains/med-seg-diff-pytorch."""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.catalogue import Graph
from models.medsegdiff.attention import Attention, LinearAttention, Transformer
from models.medsegdiff.blocks import Residual, ResnetBlock, SinusoidalPosEmb, downsample, upsample
from models.medsegdiff.conditioning import Conditioning
from models.medsegdiff.config import MedSegDiffConfig
from models.medsegdiff.graphs import graphs_of


class Unet(nn.Module):
    """What the diffusion's objective asks for, from a noisy mask, its time step and the image."""

    def __init__(self, config: MedSegDiffConfig):
        super().__init__()
        self.config = config
        dim, last = config.dim, config.widths[-1]
        self.init_conv = nn.Conv2d(1 + config.self_condition, dim, 7, padding=3)
        self.cond_init_conv = nn.Conv2d(config.channels, dim, 7, padding=3)
        self.time_mlp = nn.Sequential(SinusoidalPosEmb(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim))
        levels = list(zip(config.widths, config.sizes))
        self.conditions = config.dynamic_encoding or config.ff_parser
        if self.conditions:
            self.conditioners = nn.ModuleList([Conditioning(config, width, size) for width, size in levels])
        self.downs = encoder(config)
        self.mid_block1 = ResnetBlock(last, last, 4 * dim)
        self.mid_transformer = (Transformer(last, config.attn_heads, config.attn_dim_head, config.mid_depth)
                                if config.attention else nn.Identity())
        self.mid_block2 = ResnetBlock(last, last, 4 * dim)
        self.cond_downs = encoder(config)
        self.cond_mid_block1 = ResnetBlock(last, last, 4 * dim)
        self.ups = decoder(config)
        self.final_res_block = ResnetBlock(2 * dim, dim, 4 * dim)
        self.final_conv = nn.Conv2d(dim, 1, 1)

    def execute(self, x, time, image, x_self_cond=None):
        """x: noisy mask float32 (N, 1, S, S), around -1..1; time: steps (N,), from 0; image: float32
        (N, channels, S, S) in -1..1; x_self_cond: the last guess of the mask in -1..1, like x, None for zeros.

        Returns float32 (N, 1, S, S): the noise, the mask or the velocity.
        """
        if self.config.self_condition:
            x = jt.concat([jt.zeros_like(x) if x_self_cond is None else x_self_cond, x], dim=1)
        x = first = self.init_conv(x)
        c, t = self.cond_init_conv(image), self.time_mlp(time)
        skips = []
        for i in range(len(self.downs)):
            (block1, block2, attend, down), (cond1, cond2, cond_attend, cond_down) = self.downs[i], self.cond_downs[i]
            x, c = block1(x, t), cond1(c, t)
            skips.append(self.skipped(x, c))
            x, c = attend(block2(x, t)), cond_attend(cond2(c, t))
            if self.conditions:
                c = self.conditioners[i](x, c)
            skips.append(self.skipped(x, c))
            x, c = down(x), cond_down(c)
        x = self.mid_block1(x, t) + self.cond_mid_block1(c, t)
        x = self.mid_block2(self.mid_transformer(x), t)
        for block1, block2, attend, up in self.ups:
            x = block1(jt.concat([x, *skips.pop()], dim=1), t)
            x = block2(jt.concat([x, *skips.pop()], dim=1), t)
            x = up(attend(x))
        return self.final_conv(self.final_res_block(jt.concat([x, first], dim=1), t))

    def skipped(self, x, c):
        """What the decoder gets of a level."""
        return [x] if self.config.disable_dynamic_encoding else [x, c]

    def facts(self) -> dict[str, str]:
        """What a runtime must know, as strings: they travel inside every exported file."""
        return self.config.facts()

    def graphs(self) -> list[Graph]:
        """What is exported of the model."""
        return graphs_of(self)


def encoder(config: MedSegDiffConfig) -> nn.ModuleList:
    """Of each level two blocks, attention, and the way to the next."""
    levels = nn.ModuleList()
    for i, (dim_in, dim_out) in enumerate(zip(config.widths, config.widths[1:])):
        is_last = i == len(config.dim_mults) - 1
        levels.append(nn.ModuleList([
            ResnetBlock(dim_in, dim_in, 4 * config.dim),
            ResnetBlock(dim_in, dim_in, 4 * config.dim),
            attention(config, dim_in, is_last),
            nn.Conv2d(dim_in, dim_out, 3, padding=1) if is_last else downsample(dim_in, dim_out),
        ]))
    return levels


def decoder(config: MedSegDiffConfig) -> nn.ModuleList:
    """As `encoder`, from the last level to the first; each block also takes what the level's encoders have left."""
    levels = nn.ModuleList()
    for i, (dim_in, dim_out) in reversed(list(enumerate(zip(config.widths, config.widths[1:])))):
        taken = dim_in if config.disable_dynamic_encoding else 2 * dim_in
        levels.append(nn.ModuleList([
            ResnetBlock(dim_out + taken, dim_out, 4 * config.dim),
            ResnetBlock(dim_out + taken, dim_out, 4 * config.dim),
            attention(config, dim_out, i == len(config.dim_mults) - 1),
            nn.Conv2d(dim_out, dim_in, 3, padding=1) if i == 0 else upsample(dim_out, dim_in),
        ]))
    return levels


def attention(config: MedSegDiffConfig, dim: int, full: bool) -> nn.Module:
    """Added to its input; nothing where the configuration has none."""
    if not config.attention:
        return nn.Identity()
    return Residual((Attention if full else LinearAttention)(dim, config.attn_heads, config.attn_dim_head))
