"""Metrics of one object: two boolean masks in, one number out.

Surfaces are those of DeepMind's `surface-distance`: a 2x2 (2x2x2) neighbourhood code for every corner of the grid, the
length (area) of the contour (surface) that marching squares (cubes) puts there, and a Euclidean distance transform.
The CVPR 2024 challenge "MedSAM on Laptop" vendors the same code, so its numbers are reproduced digit by digit.
"""
from dataclasses import dataclass

import numpy as np
import surface_distance


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|) of two boolean masks of one shape, 0..1; NaN where both are empty."""
    total = np.count_nonzero(truth) + np.count_nonzero(prediction)
    return 2 * np.count_nonzero(truth & prediction) / total if total else float("nan")


def iou(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Jaccard index |A and B| / |A or B| of two boolean masks of one shape, 0..1; NaN where both are empty."""
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else float("nan")


@dataclass(frozen=True)
class Surfaces:
    """Both surfaces' elements: their distances to the other surface and their areas, sorted by distance.

    Four float arrays under the names that `surface_distance.compute_surface_distances` gives them. The unit of a
    distance is that of the spacing (px or mm), that of an area its square (of a 2-D contour's length, the unit).
    """

    elements: dict[str, np.ndarray]

    def nsd(self, tolerance: float) -> float:
        """Normalised surface Dice (Nikolov et al. 2018, arXiv 1809.04430, eq. 1): the part of both surfaces that lies
        within `tolerance` of the other one, 0..1. 0 where one mask is empty, NaN where both are."""
        if not len(self.elements["surfel_areas_gt"]) and not len(self.elements["surfel_areas_pred"]):
            return float("nan")
        return float(surface_distance.compute_surface_dice_at_tolerance(self.elements, tolerance))

    def hd95(self) -> float:
        """95th percentile of the Hausdorff distance, by area, the larger of the two directions; needs both masks to
        have a surface, else infinite (one is empty) or NaN (both are)."""
        empty = [not len(self.elements[key]) for key in ("surfel_areas_gt", "surfel_areas_pred")]
        if any(empty):
            return float("nan") if all(empty) else float("inf")
        return float(surface_distance.compute_robust_hausdorff(self.elements, 95))


def surfaces(truth: np.ndarray, prediction: np.ndarray, spacing) -> Surfaces:
    """Surfaces of two boolean masks (H, W) or (D, H, W); `spacing` is the size of an element along each array axis,
    in the array's own order. Only the common bounding box matters: a crop to it gives the same numbers."""
    return Surfaces(surface_distance.compute_surface_distances(truth, prediction, [float(step) for step in spacing]))
