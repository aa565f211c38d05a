"""The roi networks: a residual U-Net that works at half the crop's resolution and shuffles its logits back to the full."""

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from inference.geometry import box_plane
from models.catalogue import Graph
from models.roi.blocks import CONV, ConvNorm, Residual, SizeEmbedding, Upsample, pixel_shuffle, standardise
from models.roi.config import RoiConfig


class Roi(nn.Module):
    """Inputs: crop float32 (N, channels + 1, *spatial), grey values 0..255 and the box plane 0..1; box_px float32
    (N, rank), the box's extent in px or voxel, array order. Output: probability float32 (N, 1, *spatial) in 0..1.
    """

    def __init__(self, config: RoiConfig):
        super().__init__()
        self.config = config
        rank = len(config.looks[0].crop_shapes[0])
        widths, strides = config.widths, config.strides
        # An even kernel with padding 1 halves an axis exactly; an axis that keeps its size takes 3 with padding 1.
        kernel = tuple(4 if stride == 2 else 3 for stride in strides[0])
        self.stem = ConvNorm(rank, config.channels + 1, widths[0], kernel, strides[0], 1)
        self.stem_size = SizeEmbedding(rank, widths[0])
        self.deep_size = SizeEmbedding(rank, widths[-1])
        self.encoder = nn.ModuleList()
        for width, blocks in zip(widths, config.blocks):
            self.encoder.append(nn.Sequential(*[Residual(rank, width) for _ in range(blocks)]))
        self.down = nn.ModuleList([
            ConvNorm(rank, widths[i], widths[i + 1], 3, strides[i + 1], 1) for i in range(len(widths) - 1)
        ])
        self.up = nn.ModuleList([
            Upsample(widths[i + 1], widths[i], strides[i + 1]) for i in range(len(widths) - 1)
        ])
        self.decoder = nn.ModuleList([Residual(rank, widths[i]) for i in range(len(widths) - 1)])
        self.head = CONV[rank](widths[0], int(np.prod(strides[0])), 3, padding=1)

    def logits(self, crop, box_px):
        """As `execute`, before the sigmoid."""
        rank = len(self.config.looks[0].crop_shapes[0])
        channels = self.config.channels
        x = jt.concat([standardise(crop[:, :channels]), crop[:, channels:]], dim=1)
        x = nn.relu(self.stem(x) + self._planes(self.stem_size(box_px), rank))
        skips = []
        for stage, blocks in enumerate(self.encoder):
            x = blocks(x)
            if stage < len(self.down):
                skips.append(x)
                x = nn.relu(self.down[stage](x))
                if stage == len(self.down) - 1:
                    x = x + self._planes(self.deep_size(box_px), rank)
        for stage in reversed(range(len(skips))):
            x = self.decoder[stage](nn.relu(skips[stage] + self.up[stage](x)))
        return pixel_shuffle(self.head(x), self.config.strides[0])

    def execute(self, crop, box_px):
        return jt.sigmoid(self.logits(crop, box_px))

    @staticmethod
    def _planes(vector, rank):
        return vector.reshape([vector.shape[0], vector.shape[1]] + [1] * rank)

    def facts(self) -> dict[str, str]:
        """What the runtime must know, as strings: they travel inside every exported file."""
        config = self.config
        return {
            "family": config.name,
            "looks": "|".join(map(str, config.looks)),
            "look_for_many": str(config.look_for_many),
            "boxes_for_all_looks": str(config.boxes_for_all_looks),
            "channels": str(config.channels),
            "margin": repr(config.margin),
            "threshold": repr(config.threshold),
            "least_reach": repr(config.least_reach),
            "loose_px": str(config.loose_px),
        }

    def crop_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of all looks, the ordinary one first."""
        looks = (*self.config.looks, self.config.look_for_many)
        return list(dict.fromkeys(shape for look in looks for shape in look.crop_shapes))

    def graphs(self) -> list[Graph]:
        """What is exported: the whole, for any batch and, where the crop's sides depend on the box, for any crop."""
        crop = {0: "batch"}
        shapes = self.crop_shapes()
        if len(shapes) > 1:
            crop |= {2 + axis: name for axis, name in enumerate(("depth", "height", "width")[-len(shapes[0]):])}
        return [Graph("", self, self.facts(), self.example_cases(), {"crop": crop, "box_px": {0: "batch"}})]

    def example_cases(self) -> list[dict[str, np.ndarray]]:
        """Inputs to trace and to verify with: batches of 1, 2 and 7, and crops of every shape."""
        ordinary, *larger = self.crop_shapes()
        cases = [self.example_inputs(batch, ordinary) for batch in (1, 2, 7)]
        for shape in larger:
            cases += [self.example_inputs(1, shape), self.example_inputs(2, (*ordinary[:-1], shape[-1]))]
        return cases

    def example_inputs(self, batch: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Noisy pictures of an ellipse in its box: {"crop": ..., "box_px": ...}, float32, crops of `shape`."""
        rng = np.random.default_rng(batch)
        margin = self.config.margin
        grid = np.meshgrid(*[np.linspace(-1 - 2 * margin, 1 + 2 * margin, side) for side in shape], indexing="ij")
        ellipse = sum(axis**2 for axis in grid) <= 1
        crop = rng.uniform(0, 80, (batch, self.config.channels + 1, *shape))
        crop += ellipse * rng.uniform(40, 175, (batch, 1) + (1,) * len(shape))
        crop[:, -1] = box_plane(shape, margin)
        box_px = rng.uniform(4, 300, (batch, len(shape)))
        return {"crop": crop.astype(np.float32), "box_px": box_px.astype(np.float32)}
