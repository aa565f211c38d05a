"""The three protocols of FS-MedSAM2: what a tracker is shown, and in which order.

slice   a sequence for each query: all supports of the case (up to three) with their masks, then the query
top     one sequence: the support of the second sub-volume, then all queries, top slice first
middle  one sequence: the first half of the queries, that support, the other half; followed from the support to the end,
        then from the support to the beginning
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.fewshot.data import FewShotCase, FewShotError

PROTOCOLS = ("slice", "top", "middle")


@dataclass(frozen=True, eq=False)
class Run:
    """A sequence that a tracker is shown.

    images: the frames. masks: bool (H, W) of the frames that are prompts. spans: (first, last) frames to follow, both of
    them; downwards where last < first. queries: frame -> which query of the case it is.
    """

    images: list[np.ndarray]
    masks: dict[int, np.ndarray]
    spans: list[tuple[int, int]]
    queries: dict[int, int]


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a query. query: which one of the case. mask bool (H, W). propagate_s: from asking the tracker for the mask
    to having it; prompt_s: opening the sequence and giving it the prompts, 0 but for a sequence's first answer."""

    query: int
    mask: np.ndarray
    propagate_s: float = 0.0
    prompt_s: float = 0.0


def runs(case: FewShotCase, protocol: str) -> Iterator[Run]:
    """The sequences of a case. Raises FewShotError where top or middle find no second sub-volume."""
    images = [query.image for query in case.queries]
    if protocol == "slice":
        shown = [support.image for support in case.supports]
        masks = {frame: support.mask for frame, support in enumerate(case.supports)}
        for index, image in enumerate(images):
            yield Run([*shown, image], masks, [(len(shown), len(shown))], {len(shown): index})
        return
    support = case.supports[supports_shown(case, protocol)[0]]
    at = 0 if protocol == "top" else len(images) // 2
    frames = [*images[:at], support.image, *images[at:]]
    spans = [(at + 1, len(images))]
    if at:
        # One frame alone has no direction: then the prompted one, which stays as it is, comes first.
        spans.append((max(at - 1, 1), 0))
    yield Run(frames, {at: support.mask}, spans, {index + (index >= at): index for index in range(len(images))})


def supports_shown(case: FewShotCase, protocol: str) -> list[int]:
    """Which of the case's supports the protocol shows to the tracker. Raises FewShotError."""
    if protocol == "slice":
        return list(range(len(case.supports)))
    if len(case.supports) < 2:
        raise FewShotError(f"{case.name}: protocol {protocol} takes the support of the second sub-volume, so that the files "
                           "of a case must have at least two different support slices; got one (protocol slice can do with "
                           "it)")
    return [1]


def follow(case: FewShotCase, protocol: str, open_sequence: Callable) -> Iterator[Answer]:
    """Answers in the order in which the tracker gives them. open_sequence: a list of images (H, W, 3) to an
    `inference.segment.propagate.Sequence`. Raises FewShotError, and what the tracker raises."""
    for run in runs(case, protocol):
        start_s = time.perf_counter()
        sequence = open_sequence(run.images)
        for frame, mask in run.masks.items():
            sequence.add_masks(frame, mask[None])
        prompt_s = time.perf_counter() - start_s
        for first, last in run.spans:
            start_s = time.perf_counter()
            for frame, logits in sequence.propagate(first, last):
                if frame in run.queries:
                    elapsed_s = time.perf_counter() - start_s
                    yield Answer(run.queries[frame], logits[0] > 0, elapsed_s, prompt_s)
                    start_s, prompt_s = time.perf_counter(), 0.0


def copied(case: FewShotCase, protocol: str) -> Iterator[Answer]:
    """The comparison without a tracker: each query gets the mask of the nearest support that the protocol shows, which in
    slice is that of its own sub-volume. Raises FewShotError as `runs` does."""
    shown = supports_shown(case, protocol)
    for index, query in enumerate(case.queries):
        yield Answer(index, case.supports[query.support if query.support in shown else shown[0]].mask)
