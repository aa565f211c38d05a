"""Batches made by worker processes ahead of the training, in an order and with contents that depend on the seed alone."""

import multiprocessing
import os
import queue
import signal
import threading
import time

import numpy as np

from inference import geometry
from training import augment, data

MOST_DRAWS = 10000


def batch_shape(recipe, step: int) -> tuple[int, ...]:
    """The crop shape of batch `step`."""
    rng = np.random.default_rng([recipe.seed, step, 1])
    return recipe.crop_shapes[rng.choice(len(recipe.crop_shapes), p=recipe.crop_chances)]


def _draw_for(recipe, shape, datasets, chances, rng):
    for _ in range(MOST_DRAWS):
        image, mask = data.draw_object(datasets, chances, len(shape), rng)
        if len(shape) == 2 and rng.random() < 0.6:
            mask = augment.part_of_thin(mask, rng)
        # Some as a scanner with finer pixels would show them: a larger box, loose by a smaller share of it.
        zoom = rng.uniform(1.0, 2.5) if len(shape) == 2 and rng.random() < 0.3 else 1.0
        if recipe.shape_of(zoom * geometry.box_interval(geometry.mask_box(mask))[1]) == shape:
            return image, mask, zoom
    raise RuntimeError(f"loader: none of {MOST_DRAWS} objects has a box for the crop shape {list(shape)}")


def make_batch(recipe, datasets, chances, margin, step: int):
    """Batch `step`: crop (N, C + 1, *shape), box_px (N, rank), target (N, 1, *shape), float32."""
    rng = np.random.default_rng([recipe.seed, step, 2])
    shape = batch_shape(recipe, step)
    samples = []
    for _ in range(recipe.batch):
        image, mask, zoom = _draw_for(recipe, shape, datasets, chances, rng)
        samples.append(augment.sample(image, mask, shape, margin, recipe.loosen_px, rng, zoom))
    return tuple(np.stack(arrays) for arrays in zip(*samples))


def _end_with_parent():
    """Nobody ends the workers of a trainer that was killed: they see to it themselves."""
    while multiprocessing.parent_process().is_alive():
        time.sleep(1)
    os._exit(1)


def _work(recipe, datasets, margin, steps, out):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    chances = data.dataset_chances(datasets)
    for step in steps:
        out.put(make_batch(recipe, datasets, chances, margin, step))


class Loader:
    """Iterates over (step, crop, box_px, target) from `first_step` to the recipe's last.

    Worker w makes the batches w, w + workers, ...; they share the images of this process (fork), so build the loader
    before anything that starts threads, such as Jittor. ahead: batches that each worker may prepare in advance.
    """

    def __init__(self, recipe, datasets, margin: float, first_step: int, workers: int = 1, ahead: int = 6):
        context = multiprocessing.get_context("fork")
        self.steps = range(first_step, recipe.steps)
        self.queues = [context.Queue(ahead) for _ in range(workers)]
        self.processes = [
            context.Process(
                target=_work, args=(recipe, datasets, margin, self.steps[w::workers], self.queues[w]), daemon=True)
            for w in range(workers)
        ]
        for process in self.processes:
            process.start()

    def __iter__(self):
        for index, step in enumerate(self.steps):
            worker = index % len(self.queues)
            while True:
                try:
                    yield step, *self.queues[worker].get(timeout=5)
                    break
                except queue.Empty:
                    if not self.processes[worker].is_alive():
                        raise RuntimeError(f"loader: worker {worker} died before batch {step}; its error is above") from None

    def close(self):
        """Ends the workers; batches made in advance are dropped."""
        for process in self.processes:
            process.terminate()
            process.join()
