"""What the named roi networks are made of. Free of Jittor, so that the training data can be made before Jittor starts."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Look:
    """How a box is looked at. crop_shapes: spatial shapes of a crop in array order; crop_limits_px: one less, ascending, px
    or voxel: each axis takes its side from the first shape, from the second where the box extends over more than the first
    limit, and so on.
    """

    crop_shapes: tuple[tuple[int, ...], ...]
    crop_limits_px: tuple[int, ...] = ()

    def __str__(self):
        """192,192;384,384@256, as facts have it."""
        shapes = ";".join(",".join(map(str, shape)) for shape in self.crop_shapes)
        return f"{shapes}@{','.join(map(str, self.crop_limits_px))}"


@dataclasses.dataclass(frozen=True)
class RoiConfig:
    """What a roi network is made of, and what the runtime must feed it.

    name: the model's name in the manifest. channels: image channels (the box plane comes on top). looks: a box is looked at
    once by each, all but the first mirrored along every axis, and the probabilities are averaged; every side is divisible by
    the product of its strides. boxes_for_all_looks: with more boxes, a case gets look_for_many alone. margin: share of the
    box added on each side. widths, blocks: channels and residual blocks of the encoder's stages. strides: per stage and
    axis; the first is the stem's. threshold: probability above which a pixel belongs to the object. least_reach: share of a
    box's extent, less loose_px, that a mask extends over on each axis, where need be by a lower threshold.
    """

    name: str
    channels: int
    looks: tuple[Look, ...]
    look_for_many: Look
    strides: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    boxes_for_all_looks: int = 16
    margin: float = 0.2
    threshold: float = 0.5
    least_reach: float = 0.85
    loose_px: int = 10


CONFIGS = {
    "roi2d": RoiConfig(
        name="roi2d", channels=3,
        looks=(Look(((192, 192), (384, 384)), (256,)), Look(((192, 192), (384, 384), (640, 640)), (256, 400))),
        look_for_many=Look(((128, 128), (192, 192), (384, 384)), (48, 256)),
        strides=((2, 2),) * 5, widths=(16, 32, 64, 128, 192), blocks=(1, 1, 2, 2, 2),
    ),
    "roi3d": RoiConfig(
        name="roi3d", channels=1, looks=(Look(((32, 64, 64),)),) * 2, look_for_many=Look(((32, 64, 64),)),
        strides=((1, 2, 2),) + ((2, 2, 2),) * 3, widths=(16, 32, 64, 128), blocks=(1, 1, 2, 2),
    ),
}
