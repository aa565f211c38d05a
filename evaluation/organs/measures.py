"""DSC and HD95 of one organ in one volume, by the convention of the published tables and strictly."""

import math

import numpy as np
from scipy import ndimage

from evaluation import metrics
from evaluation.scoring import diagonal, union


def published(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """(DSC, HD95 in voxels) of two boolean masks of one shape as the test programs of TransUNet and SAMed have it.

    Where only the prediction has voxels it is (1, 0), where it has none (0, 0): an organ that is missed improves the mean
    HD95, and one that is not there the DSC.
    """
    if not prediction.any():
        return 0.0, 0.0
    if not truth.any():
        return 1.0, 0.0
    truth, prediction = _cropped(truth, prediction)
    return metrics.dice(truth, prediction), hd95_of_voxels(truth, prediction)


def strict(truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """(DSC, HD95 in the unit of `spacing`, which is in the order of the axes).

    (NaN, NaN) where neither mask has a voxel; (0, the volume's diagonal) where one has none, whichever it is. HD95 is that
    of `metrics.Surfaces`: weighted by area, the larger of both directions.
    """
    found = truth.any(), prediction.any()
    if not any(found):
        return math.nan, math.nan
    if not all(found):
        return 0.0, diagonal(truth.shape, spacing)
    truth, prediction = _cropped(truth, prediction)
    return metrics.dice(truth, prediction), metrics.surfaces(truth, prediction, spacing).hd95()


def hd95_of_voxels(truth: np.ndarray, prediction: np.ndarray) -> float:
    """95th percentile of the distances, in voxels, of all border voxels of either mask to the other's border. Both must have
    voxels.

    The definition of the library MedPy (metric.binary.hd95, no spacing, connectivity 1), which the published tables use: a
    border voxel is one that has a face neighbour outside the mask or outside the volume.
    """
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, prediction)]
    distances = [ndimage.distance_transform_edt(~other)[border] for border, other in zip(borders, borders[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


def _cropped(*masks):
    """To their common bounding box, in which all surfaces lie."""
    boxes = [ndimage.find_objects(mask.astype(np.uint8))[0] for mask in masks]
    window = union(boxes, masks[0].ndim)
    return [mask[window] for mask in masks]
