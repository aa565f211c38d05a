from jittor import nn


def test_pooling(agrees):
    modules = {
        "max": nn.MaxPool2d(2), "max_padded": nn.MaxPool2d(3, 2, 1), "max_ceil": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        "mean": nn.AvgPool2d(2, 2), "mean_padded": nn.AvgPool2d(3, 2, 1),
        "mean_ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True), "mean_ceil_inside": nn.AvgPool2d(3, 2, 1, True, False),
        # Jittor counts the padding all the same where there is no ceil_mode; the export must agree with Jittor.
        "mean_uncounted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "pool": nn.Pool(2, 1, op="maximum"), "least": nn.Pool(2, 2, op="minimum"), "global": nn.AdaptiveAvgPool2d(1),
        "adaptive": nn.AdaptiveAvgPool2d((2, 4)), "uneven": nn.AdaptiveAvgPool2d((4, 3)),
        "adaptive_max": nn.AdaptiveMaxPool2d(2),
    }
    agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, (1, 2, 6, 8), modules=modules)


def test_pooling_of_volumes(agrees):
    modules = {"max": nn.MaxPool3d(2), "mean": nn.AvgPool3d((1, 2, 2), (1, 2, 2)), "global": nn.AdaptiveAvgPool3d(1)}
    agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, (1, 2, 4, 6, 6), modules=modules)


def test_resize(agrees, kinds):
    modules = {"nearest": nn.Upsample(scale_factor=2), "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
               "to_size": nn.Resize((7, 5), "bilinear"), "shuffle": nn.PixelShuffle(2)}

    def run(self, x):
        return {name: getattr(self, name)(x) for name in modules} | {
            "corners": nn.interpolate(x, size=(9, 7), mode="bilinear", align_corners=True),
            "smaller": nn.interpolate(x, size=(2, 3), mode="bilinear"),
            "half": nn.interpolate(x, scale_factor=0.5, mode="nearest"),
            "thirds": nn.interpolate(x, scale_factor=3, mode="nearest"),
            "cubic": nn.interpolate(x, size=(8, 9), mode="bicubic"),
            "nearest_size": nn.resize(x, (6, 9), mode="nearest"),
            "tensorflow": nn.resize(x, (8, 12), "bilinear", tf_mode=True),
        }

    agrees(run, (1, 4, 4, 6), modules=modules, tolerance=1e-5)


def test_grid_sample(agrees):
    def run(self, x, grid):
        border = nn.grid_sample(x, grid, padding_mode="border", align_corners=True)
        return {"zeros": nn.grid_sample(x, grid * 0.7), "border": border}

    agrees(run, (1, 2, 5, 6), (1, 3, 4, 2), tolerance=1e-5)
