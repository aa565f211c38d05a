import jittor as jt
import numpy as np


def test_reductions(agrees):
    agrees(lambda self, x: {
        "sum": x.sum(1), "mean": x.mean((1, 2)), "kept": x.mean(dims=[1], keepdims=True), "max": x.max(dim=-1),
        "min": x.min(2),
        "sum_of_all": x.reshape(-1, 2).sum(0), "prod": x.prod(1), "by_name": x.reduce("mean", [1, 2], keepdims=True),
        "maximum": x.reduce_maximum((1,)), "all": jt.all(x > -1, 1), "any": jt.any(x > 1, 2), "count": (x > 0).sum(1),
        "variance": x.var(1), "deviation": x.std(1), "norm": x.norm(2, 1), "normalised": jt.normalize(x, dim=1),
        "integers": x.int32().sum(1), "keepdim": x.sum(dim=1, keepdim=True), "total": x.sum(), "mean_of_all": x.mean(),
        "cumsum": jt.cumsum(x, 1),
    }, (1, 3, 4), tolerance=5e-6)


def test_the_index_of_an_extreme_is_that_of_the_first_of_equals(agrees):
    def tied(shape):
        return np.resize(np.array([1, 3, 3, 0, 2, 2, 0], np.float32), shape)

    agrees(lambda self, x: {"max": jt.argmax(x, 1)[0], "value": jt.argmax(x, 1)[1], "min": jt.argmin(x, -1)[0],
                            "kept": jt.argmax(x, 1, keepdims=True)[0]}, (1, 6), values=tied)
