"""Grey values 0..255 out of a scanner's, by the rules with which the challenge's own files were made.

Source: pre_CT_MR.py of github.com/bowang-lab/MedSAM, branch LiteMedSAM. Training data are prepared by the same code.
"""

from dataclasses import dataclass

import numpy as np

# Hounsfield units: nothing in the body is as low but air, and other modalities hardly have such values.
AIR_HU = -500


@dataclass(frozen=True)
class Window:
    """CT: level and width in Hounsfield units. The default is that of soft tissue in the abdomen, -160..240."""

    level: float = 40.0
    width: float = 400.0


@dataclass(frozen=True)
class Percentiles:
    """Any other modality: these percentiles, 0..100, of the values above 0 become black and white."""

    low: float = 0.5
    high: float = 99.5


def to_grey(values: np.ndarray, window: tuple[float, float] | None, is_ct: bool = False) -> np.ndarray:
    """uint8, same shape, of a case's values, which are finite.

    window: level and width, where the user gives them. Otherwise whole numbers 0..255 stay as they are; CT has the usual
    Window, and CT is also what goes down to AIR_HU; anything else has the usual Percentiles.
    """
    if window:
        return to_uint8(values, Window(*window))
    least, most = values.min(), values.max()
    if least >= 0 and most <= 255 and all((plane == np.rint(plane)).all() for plane in values):
        return values.astype(np.uint8)
    return to_uint8(values, Window() if is_ct or least <= AIR_HU else Percentiles())


def to_uint8(image: np.ndarray, rule: Window | Percentiles) -> np.ndarray:
    """uint8, same shape: clipped by the rule, stretched so that the lowest value left is 0 and the highest 255, fractions
    cut off. With Percentiles what was 0 stays 0. An image of one value becomes 0, and so does one without a value above 0
    under Percentiles."""
    if isinstance(rule, Window):
        low, high = rule.level - rule.width / 2, rule.level + rule.width / 2
    else:
        positive = image[image > 0]
        if not positive.size:
            return np.zeros(image.shape, np.uint8)
        low, high = np.percentile(positive, [rule.low, rule.high], overwrite_input=True)
    # What clipping leaves at the ends, without a clipped copy of the volume.
    least, most = (float(np.clip(end, low, high)) for end in (image.min(), image.max()))
    grey = np.zeros(image.shape, np.uint8)
    if most > least:
        for z, plane in enumerate(image):
            grey[z] = (np.clip(plane.astype(np.float64), low, high) - least) / (most - least) * 255.0
    if isinstance(rule, Percentiles):
        grey[image == 0] = 0
    return grey
