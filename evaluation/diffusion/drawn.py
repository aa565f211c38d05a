"""Samples on the disk: drawing them is what takes the time."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.case import write_npz
from inference.segment.diffusion import DiffusionSegmenter


@dataclass(frozen=True)
class Drawn:
    """Samples of one image: samples float32 (n, S, S) in 0..1; seconds float64 (n,): each one's share of the time that it
    and those drawn at once with it took."""

    samples: np.ndarray
    seconds: np.ndarray


def drawn(segmenter: DiffusionSegmenter, image: np.ndarray, counts: list[int], path: Path) -> Drawn:
    """The first max(counts) samples of an image, from the file `path` as far as it has them; what is missing is drawn, up to
    the first of `counts`, then up to the second, and so on, and kept there. Raises ValueError, CaseError."""
    have = _read(path)
    parts, first = ([have], len(have.seconds)) if have else ([], 0)
    for last in sorted(counts):
        if last > first:
            started = time.perf_counter()
            samples = segmenter.draw(image, range(first, last))
            share = (time.perf_counter() - started) / len(samples)
            parts.append(Drawn(samples, np.full(len(samples), share)))
            first = last
    whole = Drawn(np.concatenate([part.samples for part in parts]), np.concatenate([part.seconds for part in parts]))
    if len(parts) > bool(have):
        write_npz(path, {"samples": whole.samples, "seconds": whole.seconds})
    return whole


def missing(path: Path, count: int) -> bool:
    """Whether there are fewer than `count` samples in the file."""
    have = _read(path)
    return have is None or len(have.seconds) < count


def _read(path):
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return Drawn(stored["samples"], stored["seconds"])
