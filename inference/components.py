"""Connected parts of a mask, in numpy. Along its last axis a mask is runs of ones, of which there are few; elements that
share a side, an edge or a corner are connected."""

import itertools

import numpy as np


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a boolean mask (H, W) or (D, H, W), the first of equals."""
    runs = _Runs(mask)
    return runs.where(runs.part == np.argmax(runs.sizes)) if len(runs.part) else mask


def small(mask: np.ndarray, most: int) -> np.ndarray:
    """The connected parts of a boolean mask (H, W) or (D, H, W) that have at most `most` elements."""
    runs = _Runs(mask)
    return runs.where(runs.sizes[runs.part] <= most)


class _Runs:
    """part (runs,): the part that each run belongs to, called by the index of its first run. sizes (runs,): the elements of
    the part of that name; 0 where there is none."""

    def __init__(self, mask):
        # A zero behind each row, so that runs at its end and at the next one's start do not touch in the flat array.
        self._shape = (*mask.shape[:-1], mask.shape[-1] + 1)
        padded = np.zeros(self._shape, np.int8)
        padded[..., :-1] = mask
        steps = np.diff(padded.ravel(), prepend=0)
        self._starts, self._ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)  # ends are exclusive
        self.part = _joined(len(self._starts), *self._touching())
        self.sizes = np.bincount(self.part, self._ends - self._starts, len(self.part)).astype(np.int64)

    def where(self, chosen: np.ndarray) -> np.ndarray:
        """The mask of some of the runs, bool (runs,)."""
        steps = np.zeros(self._shape, np.int8)
        steps.reshape(-1)[self._starts[chosen]] = 1
        steps.reshape(-1)[self._ends[chosen]] = -1
        return steps.reshape(-1).cumsum(dtype=np.int8).reshape(self._shape)[..., :-1].astype(bool)

    def _touching(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of runs that touch, as two arrays of indices."""
        *rows, length = self._shape
        row = np.unravel_index(self._starts // length, rows)
        ones, others = [], []
        for offset in itertools.product((-1, 0, 1), repeat=len(rows)):
            if offset <= (0,) * len(rows):
                continue  # the rows behind; they find these
            inside = [(0 <= at + step) & (at + step < side) for at, step, side in zip(row, offset, rows)]
            runs = np.flatnonzero(np.all(inside, axis=0))
            shift = length * int(np.dot(offset, np.cumprod([1, *rows[:0:-1]])[::-1]))
            low = np.searchsorted(self._ends, self._starts[runs] + shift)  # those that end no sooner than this one starts
            high = np.searchsorted(self._starts, self._ends[runs] + shift, side="right")
            counts = high - low
            ones.append(np.repeat(runs, counts))
            others.append(np.arange(counts.sum()) + np.repeat(low - (np.cumsum(counts) - counts), counts))
        return np.concatenate(ones), np.concatenate(others)


def _joined(count: int, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The least index that each of `count` nodes is connected with, int (count,), for edges between `ones` and `others`."""
    root = np.arange(count)
    while (root[ones] != root[others]).any():
        np.minimum.at(root, root[ones], root[others])
        np.minimum.at(root, root[others], root[ones])
        while (root[root] != root).any():
            root = root[root]
    return root
