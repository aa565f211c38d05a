"""Grey values 0..255 out of a scanner's, by the rules with which the challenge's own files were made.

Source: pre_CT_MR.py of github.com/bowang-lab/MedSAM, branch LiteMedSAM.
"""

from dataclasses import dataclass

import numpy as np


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
        low, high = np.percentile(positive, [rule.low, rule.high])
    # What clipping leaves at the ends, without a clipped copy of the volume.
    least, most = (float(np.clip(end, low, high)) for end in (image.min(), image.max()))
    grey = np.zeros(image.shape, np.uint8)
    if most > least:
        for z, plane in enumerate(image):
            grey[z] = (np.clip(plane.astype(np.float64), low, high) - least) / (most - least) * 255.0
    if isinstance(rule, Percentiles):
        grey[image == 0] = 0
    return grey


def rule_of(modality: str, window: Window, percentiles: Percentiles) -> Window | Percentiles:
    """Only CT has a scale of its own."""
    return window if modality == "CT" else percentiles
