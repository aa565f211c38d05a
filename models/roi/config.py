"""What the named roi networks are made of. Free of Jittor, so that the training data can be made before Jittor starts."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class RoiConfig:
    """What a roi network is made of, and what the runtime must feed it.

    name: the model's name in the manifest. channels: image channels (the box plane comes on top). crop_shape: spatial shape
    of a crop in array order, each side divisible by the product of its strides. large_crop_shape, large_px: an axis on
    which the box extends over more than large_px px or voxel takes its side from large_crop_shape instead. margin:
    share of the box added on each side. widths, blocks: channels and residual blocks of the encoder's stages. strides:
    per stage and axis; the first is the stem's. threshold: probability above which a pixel belongs to the object.
    """

    name: str
    channels: int
    crop_shape: tuple[int, ...]
    large_crop_shape: tuple[int, ...]
    large_px: int
    strides: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    margin: float = 0.2
    threshold: float = 0.5


CONFIGS = {
    "roi2d": RoiConfig(
        name="roi2d", channels=3, crop_shape=(192, 192), large_crop_shape=(384, 384), large_px=256,
        strides=((2, 2),) * 5, widths=(16, 32, 64, 128, 192), blocks=(1, 1, 2, 2, 2),
    ),
    "roi3d": RoiConfig(
        name="roi3d", channels=1, crop_shape=(32, 64, 64), large_crop_shape=(32, 64, 64), large_px=256,
        strides=((1, 2, 2),) + ((2, 2, 2),) * 3, widths=(16, 32, 64, 128), blocks=(1, 1, 2, 2),
    ),
}
