"""Objects carried through the slices of a volume by memory: SAM 2 (Ravi et al. 2024, arXiv 2408.00714) and its video
predictor, of which MedSAM2 and FS-MedSAM2 are uses. A volume is a sequence of frames."""

import dataclasses
from collections import OrderedDict, abc

import numpy as np

from inference import components, resize
from inference.case import Case
from inference.engines import Engine, open_engine
from inference.segment.frame import Frame
from inference.segment.labels import LabelImage
from inference.segment.memory_bank import memory_slots, pointer_times
from inference.segment.slices import spans
from inference.weights import find_model

GRAPHS = frozenset(("image_encoder", "memory_attention", "heads", "mask_pointer", "memory_encoder"))
TOP_LEFT, BOTTOM_RIGHT, NO_POINT = 2.0, 3.0, -1.0
ABSENT = -1024.0
"""The logits of an object that is not on a frame."""
# A mask that is given counts as logits of this size; its score too.
GIVEN = 10.0
# The mask for clear prompts is stable where it hardly depends on its threshold: else the best of the other three is taken.
STABLE, STABLE_WITHIN = 0.98, 0.05
# What attention to memories may take for its scores, and the maps of the frames that are kept for objects to come.
ATTENTION_BYTES, MAPS_BYTES = 1 << 30, 64 << 20


@dataclasses.dataclass(frozen=True)
class Found:
    """N objects on a frame, float32. masks: logits (N, M, M) over the frame, an object above 0. scores: (N, 1), above 0
    where the object is there. pointers: (N, C), the objects as tokens."""

    masks: np.ndarray
    scores: np.ndarray
    pointers: np.ndarray


class Tracker:
    """What the five graphs of models/sam2/graphs.py do with one frame. A `Sequence` keeps what is remembered of others.

    engines: by the names in GRAPHS. hole_px: holes in tracked masks of at most so many of their pixels are filled (8 in the
    official predictor where it has its CUDA extension; 0: none).
    """

    def __init__(self, engines: abc.Mapping[str, Engine], hole_px: int = 0):
        self._engines, self._hole_px = engines, hole_px
        facts = engines["image_encoder"].facts
        self.frame = Frame(facts)
        self.num_maskmem, self.max_obj_ptrs = int(facts["num_maskmem"]), int(facts["max_obj_ptrs"])
        tokens = int(facts["grid"]) ** 2
        self._at_once = max(1, ATTENTION_BYTES // (4 * tokens * tokens * self.num_maskmem))

    def maps(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """All that is needed of a frame, by name. picture: float32 (3, S, S), see `Frame.picture`."""
        return self._engines["image_encoder"].run(image=picture[None])

    def given(self, maps: dict[str, np.ndarray], masks: np.ndarray) -> Found:
        """Objects by their masks bool (N, S, S) on the frame: they stay as they are."""
        pointers = self._engines["mask_pointer"](masks=masks[:, None].astype(np.float32), embedding=maps["embedding"])
        side = maps["high_res_0"].shape[-1]
        logits = np.stack([resize.triangle(np.where(mask, GIVEN, -GIVEN), (side, side)) for mask in masks])
        scores = np.where(masks.any(axis=(1, 2)), GIVEN, -GIVEN).astype(np.float32)[:, None]
        return Found(logits, scores, pointers)

    def prompted(self, maps: dict[str, np.ndarray], points: np.ndarray, labels: np.ndarray) -> Found:
        """Objects by points float32 (N, P, 2) px of the frame, x first, and labels float32 (N, P): 1 object, 0 background,
        TOP_LEFT and BOTTOM_RIGHT of a box, NO_POINT."""
        features = np.repeat(maps["first_features"], len(points), axis=0)
        return self._heads(maps, features, points, labels)

    def tracked(self, maps: dict[str, np.ndarray], memories: np.ndarray, slots: abc.Sequence[int], pointers: np.ndarray,
                times: abc.Sequence[float]) -> Found:
        """Objects by what is remembered of them: memories float32 (N, frames, C', h, w) and pointers float32 (N, P, C), with
        the slots and times that `memory_bank` gives them."""
        parts = []
        for first in range(0, len(memories), self._at_once):
            some = slice(first, first + self._at_once)
            features = self._engines["memory_attention"](
                memories=memories[some], slots=np.array(slots, np.float32), pointers=pointers[some],
                times=np.array(times, np.float32), embedding=maps["embedding"])
            points = np.zeros((len(features), 1, 2), np.float32)
            parts.append(self._heads(maps, features, points, np.full((len(features), 1), NO_POINT, np.float32)))
        found = Found(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(Found)))
        if self._hole_px:
            for mask in found.masks:
                mask[components.small(mask <= 0, self._hole_px)] = 0.1
        return found

    def remember(self, maps: dict[str, np.ndarray], found: Found, prompted: bool) -> np.ndarray:
        """Memories float32 (N, C', h, w) of objects on a frame. prompted: by somebody, so that their masks are certain."""
        return self._engines["memory_encoder"](masks=found.masks[:, None], object_scores=found.scores,
                                               binary=np.array([prompted], np.float32), embedding=maps["embedding"])

    def _heads(self, maps, features, points, labels):
        """One of four masks an object. A point and tracking are ambiguous: then the best of the last three is taken, by what
        the network thinks of them."""
        heads = self._engines["heads"].run(points=points, labels=labels, features=features,
                                           high_res_0=maps["high_res_0"], high_res_1=maps["high_res_1"])
        masks, pointers, scores, quality = heads["masks"], heads["pointers"], heads["scores"][:, :1], heads["scores"][:, 1:]
        rows, best = np.arange(len(masks)), 1 + quality[:, 1:].argmax(axis=1)
        if (labels != NO_POINT).sum(axis=1).max() <= 1:
            return Found(masks[rows, best], scores, pointers[rows, best])
        inner, outer = ((masks[:, 0] > limit).sum(axis=(1, 2)) for limit in (STABLE_WITHIN, -STABLE_WITHIN))
        return Found(masks[rows, np.where(inner < STABLE * outer, best, 0)], scores, pointers[:, 0])


@dataclasses.dataclass(frozen=True)
class _Remembered:
    """One object on one frame: memory (C', h, w), pointer (C,), and the logits (M, M) of a prompted one."""

    memory: np.ndarray
    pointer: np.ndarray
    logits: np.ndarray | None = None


class _Memory:
    """An object's frames by number: those with prompts, and those that it was tracked to."""

    def __init__(self):
        self.prompted: dict[int, _Remembered] = {}
        self.tracked: dict[int, _Remembered] = {}

    def forget_beyond(self, frame: int, reach: int):
        """Drops what no frame from here on, nor one beside a prompt, will look at."""
        for other in list(self.tracked):
            if all(abs(other - near) > reach for near in (frame, *self.prompted)):
                del self.tracked[other]


class Sequence:
    """Objects 0, 1, ... in a sequence of images. What is kept grows with prompts and objects, not with the images.

    images: anything with a length that gives images (H, W) or (H, W, 3), grey values 0..255, by index. picture: from such an
    image to a network's input float32 (3, S, S); that of the tracker's frame by default.

    Prompts may lie on any frames; those of a later call replace earlier ones of the same object and frame. Results are
    logits float32 (N, H, W) of the image's size, an object above 0.
    """

    def __init__(self, tracker: Tracker, images: abc.Sequence[np.ndarray], picture: abc.Callable | None = None):
        self._tracker, self._images = tracker, images
        self._picture = picture or tracker.frame.picture
        self._memories: dict[int, _Memory] = {}
        self._kept: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()

    def add_masks(self, frame: int, masks: np.ndarray, objects: abc.Sequence[int] | None = None) -> np.ndarray:
        """Prompts objects, 0 .. N - 1 by default, with masks bool (N, H, W); an empty one says that it is not there."""
        maps = self._maps(frame)
        found = self._tracker.given(maps, np.stack([self._tracker.frame.mask(mask) for mask in masks]))
        return self._prompt(frame, maps, found, objects)

    def add_boxes(self, frame: int, boxes_xyxy_px: np.ndarray, objects: abc.Sequence[int] | None = None) -> np.ndarray:
        """Prompts objects with boxes (N, 4), bounds inclusive."""
        boxes = np.asarray(boxes_xyxy_px)
        corners = np.tile(np.array([TOP_LEFT, BOTTOM_RIGHT], np.float32), (len(boxes), 1))
        return self.add_points(frame, boxes.reshape(-1, 2, 2), corners, objects)

    def add_points(self, frame: int, xy_px: np.ndarray, labels: np.ndarray,
                   objects: abc.Sequence[int] | None = None) -> np.ndarray:
        """Prompts objects with points (N, P, 2) and labels (N, P), 1 on the object, 0 beside it; NO_POINT fills up."""
        maps = self._maps(frame)
        points = self._tracker.frame.points(xy_px, self._images[frame].shape[:2])
        return self._prompt(frame, maps, self._tracker.prompted(maps, points, np.asarray(labels, np.float32)), objects)

    def propagate(self, first: int, last: int) -> abc.Iterator[tuple[int, np.ndarray]]:
        """(frame, logits of all objects) from `first` to `last`, both included; backwards where last < first. An object is
        absent before the first of its prompts on the way."""
        step = -1 if last < first else 1
        for frame in range(first, last + step, step):
            yield frame, self.track(frame, sorted(self._memories), reverse=step < 0)

    def track(self, frame: int, objects: abc.Sequence[int], reverse: bool = False) -> np.ndarray:
        """Logits of some objects on a frame, where they are then remembered: as prompted there, or as tracked from the frames
        before it (after it, with `reverse`)."""
        shape = self._images[frame].shape[:2]
        logits = np.full((len(objects), *shape), ABSENT, np.float32)
        alike: dict[tuple, list[int]] = {}
        for row, index in enumerate(objects):
            memory = self._memories[index]
            if frame in memory.prompted:
                logits[row] = self._tracker.frame.at_image(memory.prompted[frame].logits, shape)
                continue
            slots = memory_slots(frame, memory.prompted, memory.tracked, self._tracker.num_maskmem, reverse)
            times = pointer_times(frame, memory.prompted, memory.tracked, len(self._images), self._tracker.max_obj_ptrs,
                                  reverse)
            if times:
                alike.setdefault((tuple(slots), tuple(times)), []).append(row)
        for (slots, times), rows in alike.items():
            maps = self._maps(frame)
            found = self._recall(maps, [objects[row] for row in rows], slots, times)
            kept = self._remembered(maps, found, prompted=False)
            for row, mask, remembered in zip(rows, found.masks, kept):
                memory = self._memories[objects[row]]
                memory.tracked[frame] = remembered
                memory.forget_beyond(frame, max(self._tracker.max_obj_ptrs, self._tracker.num_maskmem))
                logits[row] = self._tracker.frame.at_image(mask, shape)
        return logits

    def forget_tracked(self):
        """Forgets all but the prompts: what is tracked next does not know of what was tracked before."""
        for memory in self._memories.values():
            memory.tracked.clear()

    def _recall(self, maps, objects, slots, times):
        known = [self._memories[index].prompted | self._memories[index].tracked for index in objects]
        return self._tracker.tracked(
            maps,
            np.stack([[frames[frame].memory for frame, _ in slots] for frames in known]), [slot for _, slot in slots],
            np.stack([[frames[frame].pointer for frame, _ in times] for frames in known]), [time for _, time in times])

    def _prompt(self, frame, maps, found, objects):
        objects = range(len(found.masks)) if objects is None else objects
        for index, mask, remembered in zip(objects, found.masks, self._remembered(maps, found, prompted=True)):
            memory = self._memories.setdefault(index, _Memory())
            memory.tracked.pop(frame, None)
            memory.prompted[frame] = dataclasses.replace(remembered, logits=mask)
        return self.track(frame, objects)

    def _remembered(self, maps, found, prompted):
        # Copies: a view would keep the whole batch.
        return [_Remembered(memory.copy(), pointer.copy())
                for memory, pointer in zip(self._tracker.remember(maps, found, prompted), found.pointers)]

    def _maps(self, frame):
        """Each frame is encoded once, but in very long sequences that come back to it late."""
        if frame not in self._kept:
            self._kept[frame] = self._tracker.maps(self._picture(self._images[frame]))
            if len(self._kept) > max(2, MAPS_BYTES // sum(array.nbytes for array in self._kept[frame].values())):
                self._kept.popitem(last=False)
        return self._kept[frame]


class PropagateSegmenter:
    """Segments volumes as MedSAM2 does (bowang-lab/MedSAM2): the box on the middle slice prompts, its mask is carried to the
    box's last slice, and, knowing nothing of that, from the middle to the first; of all that the largest part counts. No
    object leaves its box. Images are segmented by their boxes.

    exclude_z_max: see `slices.spans`.
    """

    needs_boxes = True

    def __init__(self, tracker: Tracker, exclude_z_max: bool = False):
        self._tracker, self._exclude_z_max = tracker, exclude_z_max

    def __call__(self, case: Case) -> np.ndarray:
        result = LabelImage(case.image.shape[: case.ndim], len(case.boxes))
        if case.ndim == 2:
            for index, logits in enumerate(Sequence(self._tracker, [case.image]).add_boxes(0, case.boxes)):
                result.paint(index + 1, (slice(None), slice(None)), _probability(logits), 0.5)
            return result.labels
        low, middle, high = spans(case, self._exclude_z_max)
        sequence = Sequence(self._tracker, case.image)
        for z in range(middle.min(), high.max() + 1):
            self._slice(sequence, case, result, z, np.flatnonzero((middle <= z) & (z <= high)), middle)
        sequence.forget_tracked()
        for z in range(middle.max() - 1, low.min() - 1, -1):
            self._slice(sequence, case, result, z, np.flatnonzero((low <= z) & (z < middle)), middle, reverse=True)
        for label, (x_min, y_min, _, x_max, y_max, _) in enumerate(case.boxes, 1):
            part = result.labels[low[label - 1] : high[label - 1] + 1, max(y_min, 0) : y_max + 1, max(x_min, 0) : x_max + 1]
            part[(part == label) & ~components.largest(part == label)] = 0
        return result.labels

    def _slice(self, sequence, case, result, z, objects, middle, reverse=False):
        """Segments `objects` (indices) on slice z; those whose middle it is start there."""
        starting = objects[middle[objects] == z]
        if len(starting):
            sequence.add_boxes(z, case.boxes[starting][:, [0, 1, 3, 4]], starting)
        if not len(objects):
            return
        for index, logits in zip(objects, sequence.track(z, objects, reverse)):
            x_min, y_min, _, x_max, y_max, _ = case.boxes[index]
            rows, columns = slice(max(y_min, 0), y_max + 1), slice(max(x_min, 0), x_max + 1)
            result.paint(index + 1, (z, rows, columns), _probability(logits[rows, columns]), 0.5)


def open_tracker(model: str, engine: str = "openvino", backend: str = "cpu", hole_px: int = 0) -> Tracker:
    """The tracker of a model of the SAM 2 family. Raises WeightsError for a model of another kind, EngineError for an engine
    that cannot run here."""
    return tracker_of(find_model(model), engine, backend, hole_px)


def tracker_of(files, engine: str, backend: str, hole_px: int = 0) -> Tracker:
    """The same of the `ModelFiles` of a model."""
    return Tracker({graph: open_engine(engine, files.part(graph), backend) for graph in sorted(GRAPHS)}, hole_px)


def _probability(logits):
    return 1 / (1 + np.exp(-np.maximum(logits, -80)))
