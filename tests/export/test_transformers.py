"""What transformers are made of, as Jittor has it and as users write it."""

import math

import jittor as jt
import numpy as np
from jittor import attention, nn
from jittor.einops import rearrange, reduce, repeat

from export import Input


class Block(nn.Module):
    """Pre-norm, with the layer norm, GELU and attention of people who write everything out."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.scale, self.shift = jt.rand(width) + 0.5, jt.rand(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.DropPath(0.1)

    def norm(self, x):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / jt.sqrt(variance + 1e-6) * self.scale + self.shift

    def attend(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = nn.softmax(jt.matmul(q, k.transpose(2, 3)) / math.sqrt(width // self.heads), dim=-1)
        return self.proj(jt.matmul(weights, v).transpose(1, 2).reshape(batch, length, width))

    def execute(self, x):
        x = x + self.drop(self.attend(self.norm(x)))
        hidden = self.fc1(self.norm(x))
        return x + self.fc2(0.5 * hidden * (1 + jt.erf(hidden / math.sqrt(2))))


class VisionTransformer(nn.Module):
    """Positions are interpolated to whatever size the image has."""

    def __init__(self, width=8, grid=4):
        super().__init__()
        self.embed = nn.Conv2d(3, width, 2, stride=2)
        self.token = jt.randn(1, 1, width)
        self.position = jt.randn(1, width, grid, grid)
        self.blocks = nn.Sequential(Block(width, 2), Block(width, 2))
        self.head = nn.Linear(width, 5)

    def execute(self, image):
        x = self.embed(image)
        x = x + nn.interpolate(self.position, size=(x.shape[2], x.shape[3]), mode="bicubic")
        x = x.flatten(2).permute(0, 2, 1)
        x = jt.concat([self.token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.head(self.blocks(x)[:, 0])


def test_vision_transformer_at_any_image_size(agrees, kinds):
    image = Input("image", (1, 3, 8, 8), dynamic={0: "batch", 2: "height", 3: "width"})
    sizes = {"batch": 1, "height": 8, "width": 8}, {"batch": 2, "height": 12, "width": 10}
    found = kinds(agrees(VisionTransformer(), image, sizes=sizes, tolerance=1e-5))
    assert found.count("LayerNormalization") == 4 and found.count("Softmax") == 2 and found.count("Erf") == 2


def test_gelu_is_whole_where_onnx_has_it(kinds, agrees):
    found = kinds(agrees(Block(8, 2), (1, 5, 8), opset=20, tolerance=1e-5))
    assert found.count("Gelu") == 1 and "Erf" not in found


def test_language_model_over_a_dynamic_length(agrees):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.position = nn.Embedding(20, 8), nn.Embedding(16, 8)
            self.norm, self.proj = nn.LayerNorm(8), nn.Linear(8, 20, bias=False)

        def execute(self, ids):
            length = ids.shape[1]
            x = self.norm(self.embedding(ids) + self.position(jt.arange(length)))
            scores = x @ x.transpose(1, 2)
            causal = jt.arange(length).unsqueeze(0) > jt.arange(length).unsqueeze(1)
            return self.proj(nn.softmax(scores.masked_fill(causal, -1e9), -1) @ x)

    ids = Input("ids", (1, 6), "int32", dynamic={0: "batch", 1: "length"}, below=20)
    agrees(Model(), ids, sizes=({"batch": 1, "length": 3}, {"batch": 3, "length": 9}), tolerance=5e-6)


def test_multi_head_attention_of_jittor(agrees):
    modules = {
        "own": attention.MultiheadAttention(8, 2), "batch_first": attention.MultiheadAttention(8, 2, batch_first=True),
        "other": attention.MultiheadAttention(8, 4, kdim=6, vdim=6, bias=False),
    }
    mask = jt.array(np.triu(np.full((5, 5), -1e4, np.float32), 1))

    def run(self, x, memory):
        return {
            "own": self.own(x, x, x), "masked": self.own(x, x, x, attn_mask=mask)[0],
            "batch_first": self.batch_first(x, x, x)[0], "other": self.other(x, memory, memory)[0],
            "no_weights": self.own(x, x, x, need_weights=False)[0],
        }

    agrees(run, Input("x", (5, 1, 8), dynamic={1: "batch"}), Input("memory", (4, 1, 6), dynamic={1: "batch"}),
           modules=modules, tolerance=5e-6)


def test_einops(agrees):
    agrees(lambda self, x: {
        "windows": rearrange(x, "b c (h p) (w q) -> (b h w) (p q) c", p=2, q=3), "tokens": rearrange(x, "b c h w -> b (h w) c"),
        "mean": reduce(x, "b c h w -> b c", "mean"), "copies": repeat(x[:, :, 0], "b c w -> b n c w", n=3),
        "most": reduce(x, "b c (h p) w -> b c h w", "max", p=2),
    }, (1, 2, 4, 6))


def test_einsum(agrees):
    agrees(lambda self, x: {
        "attention": jt.linalg.einsum("bic,bjc->bij", x, x), "transposed": jt.linalg.einsum("bij->bji", x),
        "summed": jt.linalg.einsum("bij->b", x), "product": jt.linalg.einsum("bij,jk->bik", x, self.table.weight),
        "outer": jt.linalg.einsum("bi,bj->bij", x[:, 0], x[:, 1]),
    }, (1, 3, 4), modules={"table": nn.Embedding(4, 2)}, tolerance=5e-6)
