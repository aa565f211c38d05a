"""Volumes of which some objects are too thin for a 3-D network."""

import dataclasses
from collections.abc import Callable

import numpy as np

from inference.case import Case
from inference.segment.slices import spans


@dataclasses.dataclass(frozen=True)
class ThinRule:
    """Which boxes a 2-D network takes, slice by slice: those of at most `slices` slices, counted inside the volume."""

    slices: int

    def __call__(self, case: Case) -> np.ndarray:
        """bool (N,): which boxes of a volume these are."""
        low, _, high = spans(case, exclude_z_max=False)
        return high - low + 1 <= self.slices


class ThinAndThickSegmenter:
    """Segments volumes: the objects that `rule` calls thin by `thin`, the others by `thick`. Where they meet, the thin one
    wins: it is the smaller. A segmenter is asked for (`thin()`, `thick()`) when there is something for it."""

    def __init__(self, rule: ThinRule, thin: Callable[[], Callable], thick: Callable[[], Callable]):
        self._rule, self._thin, self._thick = rule, thin, thick

    def __call__(self, case: Case) -> np.ndarray:
        """Labels of the volume's shape, of object i of the boxes i + 1."""
        is_thin = self._rule(case)
        if is_thin.all() or not is_thin.any():
            return (self._thin() if is_thin.all() else self._thick())(case)
        labels = np.zeros(case.image.shape, np.uint8 if len(case.boxes) < 256 else np.uint16)
        for segmenter, chosen in ((self._thick, ~is_thin), (self._thin, is_thin)):
            found = segmenter()(dataclasses.replace(case, boxes=case.boxes[chosen]))
            numbers = np.concatenate([[0], np.flatnonzero(chosen) + 1]).astype(labels.dtype)
            np.copyto(labels, numbers[found], where=found > 0)
        return labels
