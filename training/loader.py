"""Batches made by worker processes ahead of the training, in an order and with contents that depend on the seed alone."""

import multiprocessing
import os
import queue
import signal
import threading
import time

import numpy as np

from training import tasks


def make_batch(recipe, datasets, step: int, rank: int = 0, world_size: int = 1) -> tuple[np.ndarray, ...]:
    """What process `rank` of `world_size` trains on in batch `step`: every world_size-th of its samples, stacked."""
    make_sample = tasks.samples(recipe.task).make_sample
    samples = [make_sample(recipe, datasets, step, index) for index in range(rank, recipe.batch, world_size)]
    return tuple(np.stack(arrays) for arrays in zip(*samples))


def _end_with_parent():
    """Nobody ends the workers of a trainer that was killed: they see to it themselves."""
    while multiprocessing.parent_process().is_alive():
        time.sleep(1)
    os._exit(1)


def _work(recipe, datasets, steps, share, out):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for step in steps:
        out.put(make_batch(recipe, datasets, step, *share))


class Loader:
    """Iterates over (step, arrays) from `first_step` to the recipe's last.

    Worker w makes the batches w, w + workers, ...; they share the images of this process (fork), so build the loader
    before anything that starts threads, such as Jittor. ahead: batches that each worker may prepare in advance. share:
    (rank, world_size) of this process in an MPI run.
    """

    def __init__(self, recipe, datasets, first_step: int, workers: int = 1, ahead: int = 6, share: tuple[int, int] = (0, 1)):
        context = multiprocessing.get_context("fork")
        self.steps = range(first_step, recipe.steps)
        self.queues = [context.Queue(ahead) for _ in range(workers)]
        self.processes = [
            context.Process(
                target=_work, args=(recipe, datasets, self.steps[w::workers], share, self.queues[w]), daemon=True)
            for w in range(workers)
        ]
        for process in self.processes:
            process.start()

    def __iter__(self):
        for index, step in enumerate(self.steps):
            worker = index % len(self.queues)
            while True:
                try:
                    yield step, self.queues[worker].get(timeout=5)
                    break
                except queue.Empty:
                    if not self.processes[worker].is_alive():
                        raise RuntimeError(f"loader: worker {worker} died before batch {step}; its error is above") from None

    def close(self):
        """Ends the workers; batches made in advance are dropped."""
        for process in self.processes:
            process.terminate()
            process.join()
