"""The tracker, with graphs whose answers are known: a memory is the mask, and an object is where its last memory says."""

import tracemalloc

import numpy as np
import pytest

from inference.case import Case
from inference.segment.propagate import NO_POINT, PropagateSegmenter, Sequence, Tracker

GRID, SIDE = 8, 64  # a cell of a memory is 8 px, a pixel of a mask 2


class Graphs(dict):
    """The five graphs, which note what they are asked. The nearest memory alone decides: slot 0, else the highest."""

    class Graph:
        def __init__(self, function):
            self.function, self.calls = function, []
            self.facts = {"image_size": str(SIDE), "keep_aspect": "false", "resize": "linear", "normalise": "min_max",
                          "grid": str(GRID), "num_maskmem": "7", "max_obj_ptrs": "16"}

        def run(self, **inputs):
            assert all(array.dtype == np.float32 for array in inputs.values())
            self.calls.append(inputs)
            return self.function(**inputs)

        def __call__(self, **inputs):
            output, = self.run(**inputs).values()
            return output

    def __init__(self, mask_of_box=None, score=5.0):
        def image_encoder(image):
            cells = image[:, :1].reshape(1, 1, GRID, 8, GRID, 8).mean(axis=(3, 5))
            return {"high_res_0": np.zeros((1, 1, 4 * GRID, 4 * GRID), np.float32),
                    "high_res_1": np.zeros((1, 1, 2 * GRID, 2 * GRID), np.float32), "embedding": cells, "first_features": cells}

        def memory_encoder(masks, object_scores, binary, embedding):
            return {"memories": (masks > 0).reshape(-1, 1, GRID, 4, GRID, 4).mean(axis=(3, 5)).astype(np.float32)}

        def memory_attention(memories, slots, pointers, times, embedding):
            assert memories.shape[1] == len(slots) and pointers.shape[1] == len(times)
            return {"features": memories[:, np.argmin(slots)]}

        def heads(points, labels, features, high_res_0, high_res_1):
            masks = np.kron(features, np.ones((1, 1, 4, 4), np.float32)) * 20 - 10
            if (labels[0] != NO_POINT).any():
                y, x = np.mgrid[: 4 * GRID, : 4 * GRID] * 2 + 1
                masks = np.stack([(mask_of_box or _inside)(y, x, box.ravel())[None] * 20.0 - 10 for box in points])
            quality = np.array([0.1, 0.5, 0.9, 0.7])
            # Of the others, only the best that the network knows is the object.
            masks = np.where(np.arange(4)[:, None, None] == (2 if labels[0, 0] == NO_POINT else 0), masks, -10)
            scores = np.tile(np.append(score, quality), (len(points), 1))
            return {"masks": masks.astype(np.float32), "scores": scores.astype(np.float32),
                    "pointers": np.zeros((len(points), 4, 3), np.float32) + np.arange(4, dtype=np.float32)[:, None]}

        def mask_pointer(masks, embedding):
            return {"pointers": np.zeros((len(masks), 3), np.float32)}

        super().__init__({graph.__name__: self.Graph(graph)
                          for graph in (image_encoder, memory_attention, heads, mask_pointer, memory_encoder)})


def _inside(y, x, box):
    return (box[0] <= x) & (x < box[2] + 1) & (box[1] <= y) & (y < box[3] + 1)


def images(count, shape=(SIDE, SIDE)):
    return np.random.default_rng(0).integers(0, 255, (count, *shape)).astype(np.uint8)


def square(y, x, side=16, shape=(SIDE, SIDE)):
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def assert_alike(logits, mask):
    """But for corners, which resampling rounds."""
    assert ((logits > 0) != mask).sum() <= 4


def test_a_mask_is_carried_both_ways():
    graphs, mask = Graphs(), square(16, 24)
    sequence = Sequence(Tracker(graphs), images(8))
    sequence.add_masks(3, mask[None])
    for first, last, frames in ((3, 7, [3, 4, 5, 6, 7]), (2, 0, [2, 1, 0])):
        found = dict(sequence.propagate(first, last))
        assert list(found) == frames
        for logits in found.values():
            assert logits.shape == (1, SIDE, SIDE) and logits.dtype == np.float32
            assert_alike(logits[0], mask)
    assert len(graphs["image_encoder"].calls) == 8


def test_what_is_looked_at():
    """Reference/04 section 7: the prompted frame by row 6, then distance 6 (row 5) .. 1 (row 0); pointers in 15ths, the
    prompted frame's first, then the nearest; the best of three masks and its pointer."""
    graphs = Graphs()
    sequence = Sequence(Tracker(graphs), images(30))
    sequence.add_masks(2, square(16, 24)[None])
    for _ in sequence.propagate(2, 20):
        pass
    calls = graphs["memory_attention"].calls
    assert calls[0]["slots"].tolist() == [6] and calls[0]["times"].tolist() == pytest.approx([1 / 15])
    assert calls[2]["slots"].tolist() == [6, 1, 0] and calls[2]["times"].tolist() == pytest.approx([3 / 15, 1 / 15, 2 / 15])
    assert calls[-1]["slots"].tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert calls[-1]["times"].tolist() == pytest.approx([18 / 15] + [d / 15 for d in range(1, 16)])
    assert calls[-1]["pointers"][0, :, 0].tolist() == [0] + [2] * 15
    assert [call["binary"].tolist() for call in graphs["memory_encoder"].calls] == [[1]] + [[0]] * 18


def test_objects_are_tracked_as_if_each_were_alone():
    """Two start together and are one batch; the third starts later, at another distance."""
    starts = {0: (0, square(16, 24)), 1: (0, square(40, 8)), 2: (4, square(0, 40))}

    def run(chosen):
        graphs = Graphs()
        sequence = Sequence(Tracker(graphs), images(10))
        for index in chosen:
            frame, mask = starts[index]
            sequence.add_masks(frame, mask[None], [index])
        return {frame: dict(zip(sorted(chosen), logits)) for frame, logits in sequence.propagate(0, 9)}, graphs

    together, graphs = run([0, 1, 2])
    for index, (start, mask) in starts.items():
        alone, _ = run([index])
        for frame in range(10):
            np.testing.assert_array_equal(together[frame][index], alone[frame][index])
            assert_alike(together[frame][index], mask & (frame >= start))
    assert len(graphs["image_encoder"].calls) == 10
    assert {len(call["memories"]) for call in graphs["memory_attention"].calls} == {1, 2}


def test_attention_is_bounded(monkeypatch):
    monkeypatch.setattr("inference.segment.propagate.ATTENTION_BYTES", 2 * 4 * GRID**4 * 7)
    graphs = Graphs()
    sequence = Sequence(Tracker(graphs), images(2))
    masks = np.stack([square(8 * index, 8 * index) for index in range(5)])
    sequence.add_masks(0, masks)
    for logits, mask in zip(sequence.track(1, range(5)), masks):
        assert_alike(logits, mask)
    assert [len(call["memories"]) for call in graphs["memory_attention"].calls] == [2, 2, 1]


def test_memory_does_not_grow_with_frames():
    class Repeated(list):
        def __len__(self):
            return 300

        def __getitem__(self, index):
            return images(1)[0]

    class Forgetful(Graphs.Graph):
        calls = property(lambda self: [], lambda self, value: None)

    graphs = Graphs()
    sequence = Sequence(Tracker({name: Forgetful(graph.function) for name, graph in graphs.items()}), Repeated())
    sequence.add_masks(0, square(16, 24)[None])
    sizes = []
    tracemalloc.start()
    for frame, _ in sequence.propagate(0, 299):
        if frame in (100, 299):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # Beside the maps of frames, which have a bound of their own, of 12 kB each.
    assert sizes[1] - sizes[0] < 199 * 14_000 + 20_000
    assert len(sequence._memories[0].tracked) <= 33


def test_maps_of_frames_are_bounded(monkeypatch):
    monkeypatch.setattr("inference.segment.propagate.MAPS_BYTES", 1)
    graphs = Graphs()
    sequence = Sequence(Tracker(graphs), images(6))
    sequence.add_masks(0, square(16, 24)[None])
    assert all((logits > 0).any() for _, logits in sequence.propagate(0, 5))
    assert len(sequence._kept) == 2


def test_an_absent_object_stays_absent():
    sequence = Sequence(Tracker(Graphs()), images(3))
    assert (sequence.add_masks(0, np.zeros((1, SIDE, SIDE), bool)) < 0).all()
    assert all((logits < 0).all() for _, logits in sequence.propagate(1, 2))


def test_small_holes_are_filled():
    mask = square(16, 16, 32)
    mask[24:26, 24:26] = False   # one pixel of the low-resolution mask
    mask[32:40, 32:40] = False   # sixteen: a cell of a memory
    graphs = Graphs()
    graphs["memory_attention"].function = lambda **_: {"features": np.full((1, 1, GRID, GRID), 0.25, np.float32)}
    low = np.where(mask[::2, ::2], 3, -3).astype(np.float32)
    graphs["heads"].function = lambda points, **_: {
        "masks": np.stack([low] * 4)[None], "scores": np.ones((1, 5), np.float32), "pointers": np.zeros((1, 4, 3), np.float32)}
    for hole_px, left in ((0, {1, 16}), (8, {16}), (16, set())):
        tracker = Tracker(graphs, hole_px)
        maps = tracker.maps(np.zeros((3, SIDE, SIDE), np.float32))
        found = tracker.tracked(maps, np.zeros((1, 1, 1, GRID, GRID), np.float32), [0], np.zeros((1, 1, 3), np.float32), [0.0])
        holes = (found.masks[0] <= 0) & np.pad(np.ones((16, 16), bool), 8)
        assert holes.sum() == sum(left)


@pytest.mark.parametrize("shape", [(96, 48), (SIDE, SIDE)])
def test_a_volume_by_its_boxes(shape):
    """Three objects with spans of their own: each is where its box is, from the first to the last slice."""
    boxes = np.array([[8, 16, 1, 23, 31, 5], [24, 0, 3, 39, 15, 3], [0, 40, 4, 15, 55, 8]])
    graphs = Graphs()
    labels = PropagateSegmenter(Tracker(graphs))(Case("v", images(10, shape), boxes, (1, 1, 1)))
    assert labels.shape == (10, *shape) and labels.dtype == np.uint8
    for label, (x0, y0, z0, x1, y1, z1) in enumerate(boxes, 1):
        found = np.argwhere(labels == label)
        np.testing.assert_array_equal(np.unique(found[:, 0]), np.arange(z0, z1 + 1))
        inside = labels[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] == label
        assert inside.mean() > 0.75 and len(found) == inside.sum()
    assert len(graphs["image_encoder"].calls) == 8  # slices 1..8, each once
    shorter = PropagateSegmenter(Tracker(Graphs()), exclude_z_max=True)(Case("v", images(10, shape), boxes, (1, 1, 1)))
    assert [np.argwhere(shorter == label)[:, 0].max() for label in (1, 2, 3)] == [4, 3, 7]


def test_of_a_volume_the_largest_part_counts():
    def two_parts(y, x, box):
        return _inside(y, x, box) & ((x < box[0] + 16) | (x > box[2] - 8)) & ~((x >= box[0] + 16) & (x < box[0] + 24))

    boxes = np.array([[8, 8, 0, 47, 39, 4]])
    labels = PropagateSegmenter(Tracker(Graphs(two_parts)))(Case("v", images(5), boxes, (1, 1, 1)))
    assert labels[:, 8:40, 8:24].all() and not labels[:, :, 30:].any()


def test_an_image_by_its_boxes():
    labels = PropagateSegmenter(Tracker(Graphs()))(Case("i", images(1)[0], np.array([[8, 16, 23, 31], [40, 40, 55, 55]])))
    expected = np.zeros((SIDE, SIDE), int)
    expected[16:32, 8:24], expected[40:56, 40:56] = 1, 2
    np.testing.assert_array_equal(labels, expected)
