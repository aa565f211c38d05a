"""Cases from files to files: read, segmented, written; in turn or, many of them, overlapped."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inference.case import Case

Reader = Callable[[Path], tuple[Case, Callable[[Path, np.ndarray], None]]]
"""A case from its file, and what writes its masks: a function of their file and the labels."""


class Job:
    """One case on its way.

    path, target  its file or folder, and the file of its masks
    objects       boxes it has, once it is read; 0 where it has none
    times_s       seconds to read, segment and write it, as far as it came
    error         what stopped it; later steps are skipped
    held          between two steps: what the last one hands to the next
    """

    def __init__(self, path: Path, target: Path):
        self.path, self.target = path, target
        self.objects = 0
        self.times_s: list[float] = []
        self.error: Exception | None = None
        self.held: Any = None


class Runner:
    """Takes jobs through their three steps; an error stops its job and no other.

    read: the case of a path and its writer, see `Reader`. segment: labels of a case, see `inference.segment`.
    """

    def __init__(self, read: Reader, segment: Callable[[Case], np.ndarray]):
        self._reader, self._segmenter = read, segment

    def in_turn(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Each job, done, before the next is begun."""
        for job in jobs:
            yield self._write(self._segment(self._read(job)))

    def overlapped(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Each job, done, in order; while one is segmented a thread reads the next and another writes the last. At most
        three cases are in memory, however many there are."""
        # Not at the top: a single case does without, and start-up is most of it.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            reading, writing = None, None
            for job, following in itertools.pairwise(itertools.chain(jobs, [None])):
                job = reading.result() if reading else self._read(job)
                reading = following and reader.submit(self._read, following)
                self._segment(job)
                if writing:
                    yield writing.result()
                writing = writer.submit(self._write, job)
            if writing:
                yield writing.result()

    def _read(self, job: Job) -> Job:
        def read(_):
            case, write = self._reader(job.path)
            job.objects = 0 if case.boxes is None else len(case.boxes)
            return case, write
        return _step(job, read)

    def _segment(self, job: Job) -> Job:
        return _step(job, lambda held: (self._segmenter(held[0]), held[1]))

    def _write(self, job: Job) -> Job:
        def write(held):
            segs, to_file = held
            to_file(job.target, segs)
        return _step(job, write)


def _step(job: Job, work: Callable) -> Job:
    """`job` after one more step, which takes what it holds and gives what it then holds."""
    if not job.error:
        start_s = time.perf_counter()
        try:
            job.held = work(job.held)
        except Exception as error:  # whatever it is, the other cases are still to be done
            job.error, job.held = error, None
        job.times_s.append(time.perf_counter() - start_s)
    return job
