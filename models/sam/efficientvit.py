"""EfficientViT-SAM's image encoder (Zhang et al. 2024, arXiv 2402.05008): the convolutions and linear attention of
EfficientViT (Cai et al. 2023, arXiv 2205.14756), and a neck that adds up three scales. GELU is the tanh form throughout.
"""

import jittor as jt
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from models.sam.common import LayerNorm2d, gelu_tanh
from models.sam.config import EfficientViTConfig
from models.sam.resampling import resize_image

EPS = 1e-6  # of all norms; 1e-5 is the default that the authors replace


class EfficientViTSamImageEncoder(nn.Module):
    """Images float32 (N, 3, side, side), pre-processed -> embeddings float32 (N, out_chans, grid, grid), whatever the
    side; it must be divisible by 2 to the power of the stages."""

    def __init__(self, config: EfficientViTConfig, out_chans: int):
        super().__init__()
        self.backbone = Backbone(config)
        self.neck = SamNeck(config, out_chans)
        self.norm = LayerNorm2d(out_chans, EPS)

    def execute(self, x):
        return self.norm(self.neck(self.backbone(x)))


class Backbone(nn.Module):
    """(N, 3, H, W) -> one feature map a stage, each half as wide as the one before."""

    def __init__(self, config: EfficientViTConfig):
        super().__init__()
        width = config.widths[0]
        stem = [ConvLayer(3, width, 3, stride=2, act=True)]
        stem += [ResidualBlock(ResBlock(width)) for _ in range(config.depths[0])]
        self.stages = nn.ModuleList([OpSequential(stem)])
        for i in range(1, len(config.widths)):
            self.stages.append(OpSequential(_stage(config, i)))

    def execute(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _stage(config, i):
    """The blocks of stage i: a down-sampling without shortcut, then those that the configuration names."""
    kind, width, expand, few_norms = config.blocks[i], config.widths[i], config.expand[i], config.few_norms[i]
    down = FusedMBConv if kind == "fmb" else MBConv
    blocks = [ResidualBlock(down(config.widths[i - 1], width, expand * 4, 2, few_norms), shortcut=False)]
    for _ in range(config.depths[i]):
        if kind.startswith("att@"):
            blocks.append(EfficientViTBlock(width, config.head_dim, int(kind[4:]), expand))
        else:
            bottleneck = FusedMBConv if kind == "fmb" else MBConv
            blocks.append(ResidualBlock(bottleneck(width, width, expand, 1, few_norms)))
    return blocks


class OpSequential(nn.Module):
    """Layers one after the other, under the checkpoints' name for them."""

    def __init__(self, layers):
        super().__init__()
        self.op_list = nn.ModuleList(layers)

    def execute(self, x):
        for layer in self.op_list:
            x = layer(x)
        return x


class ResidualBlock(nn.Module):
    """x + main(x), or main(x)."""

    def __init__(self, main: nn.Module, shortcut: bool = True):
        super().__init__()
        self.main = main
        self.shortcut = shortcut

    def execute(self, x):
        return x + self.main(x) if self.shortcut else self.main(x)


class ConvLayer(nn.Module):
    """Convolution that keeps or divides the size, BatchNorm (norm) or a bias (bias) or neither, activation (act)."""

    def __init__(self, inputs, outputs, kernel=1, stride=1, groups=1, norm=True, bias=False, act=False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
        self.norm = nn.BatchNorm(outputs, eps=EPS) if norm else None
        self.act = act

    def execute(self, x):
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return gelu_tanh(x) if self.act else x


class ResBlock(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = ConvLayer(width, width, 3, act=True)
        self.conv2 = ConvLayer(width, width, 3)

    def execute(self, x):
        return self.conv2(self.conv1(x))


class FusedMBConv(nn.Module):
    """3x3 convolution to `expand` times the channels, then 1x1. few_norms: the first has a bias instead of its norm."""

    def __init__(self, inputs, outputs, expand, stride=1, few_norms=False):
        super().__init__()
        self.spatial_conv = ConvLayer(inputs, inputs * expand, 3, stride, norm=not few_norms, bias=few_norms, act=True)
        self.point_conv = ConvLayer(inputs * expand, outputs)

    def execute(self, x):
        return self.point_conv(self.spatial_conv(x))


class MBConv(nn.Module):
    """1x1 to `expand` times the channels, depthwise 3x3, 1x1. few_norms: the first two have biases instead of norms."""

    def __init__(self, inputs, outputs, expand, stride=1, few_norms=False):
        super().__init__()
        hidden = inputs * expand
        how = {"norm": not few_norms, "bias": few_norms, "act": True}
        self.inverted_conv = ConvLayer(inputs, hidden, **how)
        self.depth_conv = ConvLayer(hidden, hidden, 3, stride, groups=hidden, **how)
        self.point_conv = ConvLayer(hidden, outputs)

    def execute(self, x):
        return self.point_conv(self.depth_conv(self.inverted_conv(x)))


class EfficientViTBlock(nn.Module):
    """Attention over the whole map, then an inverted bottleneck for what is local; each is added to its input."""

    def __init__(self, width: int, head_dim: int, scale: int, expand: int):
        super().__init__()
        self.context_module = ResidualBlock(LiteMLA(width, head_dim, scale))
        self.local_module = ResidualBlock(MBConv(width, width, expand, few_norms=True))

    def execute(self, x):
        return self.local_module(self.context_module(x))


class LiteMLA(nn.Module):
    """Attention with ReLU in place of softmax, which makes it linear in the number of tokens (Cai et al. 2023, section
    3.1); half of its heads see tokens that a depthwise convolution (kernel `scale`) has mixed with their neighbours.

    (N, width, H, W) -> the same shape.
    """

    def __init__(self, width: int, head_dim: int, scale: int):
        super().__init__()
        heads = width // head_dim
        self.head_dim = head_dim
        self.qkv = ConvLayer(width, 3 * width, norm=False)
        self.aggreg = nn.ModuleList([nn.Sequential(
            nn.Conv2d(3 * width, 3 * width, scale, padding=scale // 2, groups=3 * width, bias=False),
            nn.Conv2d(3 * width, 3 * width, 1, groups=3 * heads, bias=False),
        )])
        self.proj = ConvLayer(2 * width, width)

    def execute(self, x):
        batch, width, height, columns = x.shape
        qkv = self.qkv(x)
        qkv = jt.concat([qkv, self.aggreg[0](qkv)], dim=1)
        qkv = qkv.reshape([batch, 2 * width // self.head_dim, 3 * self.head_dim, height * columns])
        q, k, v = jt.split(qkv, self.head_dim, dim=2)  # (N, heads, head_dim, tokens)
        # Fewer tokens than channels: then the quadratic form is the shorter one.
        attend = linear_attention if height * columns > self.head_dim else quadratic_attention
        y = attend(nn.relu(q), nn.relu(k), v)
        return self.proj(y.reshape([batch, 2 * width, height, columns]))


def linear_attention(q, k, v, eps: float = 1e-15):
    """v k^T q, divided for each query by the sum of its k^T q. q, k, v, result: (N, heads, head_dim, tokens); q, k >= 0."""
    values_by_key = nn.matmul(v, k.transpose(-2, -1))
    total = (k.sum(dim=-1, keepdims=True) * q).sum(dim=-2, keepdims=True)
    return nn.matmul(values_by_key, q) / (total + eps)


def quadratic_attention(q, k, v, eps: float = 1e-15):
    """The same, by the matrix of all weights."""
    weights = nn.matmul(k.transpose(-2, -1), q)  # (N, heads, key, query)
    return nn.matmul(v, weights / (weights.sum(dim=-2, keepdims=True) + eps))


class SamNeck(nn.Module):
    """Feature maps of the backbone -> (N, out_chans, grid, grid): each to one width and size, summed, refined."""

    def __init__(self, config: EfficientViTConfig, out_chans: int):
        super().__init__()
        width = config.neck_width
        self.grid = config.grid
        self.neck_stages = config.neck_stages
        self.input_ops = nn.ModuleList([OpSequential([ConvLayer(config.widths[i], width)]) for i in config.neck_stages])
        self.middle = OpSequential([ResidualBlock(FusedMBConv(width, width, config.neck_expand))
                                    for _ in range(config.neck_depth)])
        self.output_ops = nn.ModuleList([OpSequential([ConvLayer(width, out_chans, norm=False, bias=True)])])

    def execute(self, features):
        x = None
        for i, op in zip(self.neck_stages, self.input_ops):
            y = resize_image(op(features[i]), self.grid, self.grid, "cubic")
            x = y if x is None else x + y
        return self.output_ops[0](self.middle(x))
