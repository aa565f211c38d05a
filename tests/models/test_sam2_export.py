"""Every graph of SAM 2 through the project's exporter: the engines agree with Jittor, at several numbers of objects, of
memories, of pointers and of points; and the graphs together do what the model does with frames."""

import jittor as jt
import numpy as np
import onnxruntime
import pytest

import models  # noqa: F401
from export import Input, export
from models import cpu
from models.sam2.build import build
from models.sam2.memory_bank import memory_slots, pointer_times
from tests.models.test_sam2_frames import images, squares, tiny

GRAPHS = ("image_encoder", "memory_attention", "heads", "mask_pointer", "memory_encoder")


def exported(model, name, folder):
    """Jittor's operators under the names that runtimes use."""
    graph = next(graph for graph in model.graphs() if graph.name == name)
    inputs = [Input(key, array.shape, str(array.dtype), graph.dynamic[key]) for key, array in graph.cases[0].items()]
    with cpu.installed():
        return export(graph.module, inputs, folder / f"{name}.onnx", facts=graph.facts, cases=graph.cases)


def test_the_graphs_have_their_names():
    assert tuple(graph.name for graph in tiny().graphs()) == GRAPHS


@pytest.mark.parametrize("name, version", [*((name, "2.1") for name in GRAPHS), ("memory_attention", "2.0"),
                                           ("memory_encoder", "2.0")])
def test_each_graph(name, version, tmp_path):
    done = exported(tiny(version=version), name, tmp_path)
    assert done.assumptions == []
    assert not {"Loop", "If"} & {node.op_type for node in done.model.graph.node}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_each_graph_at_the_size_that_is_trained(name, tmp_path):
    assert exported(build("sam2-nano"), name, tmp_path).assumptions == []


def chosen(masks, scores, pointers, several):
    """As `Sam2.forward_sam_heads`, in NumPy: (the mask, the pointer) of each object."""
    rows, best = np.arange(len(masks)), 1 + scores[:, 2:].argmax(axis=1)
    if several:
        return masks[rows, best][:, None], pointers[rows, best]
    inner, outer = ((masks[:, 0] > limit).sum(axis=(1, 2)) for limit in (0.05, -0.05))
    index = np.where(inner < 0.98 * outer, best, 0)
    return masks[rows, index][:, None], pointers[:, 0]


def test_the_graphs_track_as_the_model_does(tmp_path):
    """Two objects with a box each in frame 0, then two frames after it; ONNX Runtime beside Jittor."""
    model = tiny()
    for name in GRAPHS:
        exported(model, name, tmp_path)
    sessions = {name: onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in GRAPHS}

    def run(name, **inputs):
        return sessions[name].run(None, inputs)

    frames = images(3)
    boxes = np.array([[[10, 8], [40, 50]], [[2, 30], [60, 60]]], np.float32)
    corners = np.array([[2, 3]] * 2, np.float32)
    conditioned, others, kept = {}, {}, []
    for frame, image in enumerate(frames):
        fine, middle, embedding, features = run("image_encoder", image=image.numpy())
        if frame == 0:
            points, labels, features = boxes, corners, np.repeat(features, 2, axis=0)
        else:
            points, labels = np.zeros((2, 1, 2), np.float32), np.full((2, 1), -1, np.float32)
            slots = memory_slots(frame, [0], range(1, frame), model.config.num_maskmem)
            times = pointer_times(frame, [0], range(1, frame), 3, model.config.max_obj_ptrs_in_encoder)
            features, = run("memory_attention", embedding=embedding,
                            memories=np.stack([kept[other][0] for other, _ in slots], axis=1),
                            slots=np.array([slot for _, slot in slots], np.int32),
                            pointers=np.stack([kept[other][1] for other, _ in times], axis=1),
                            times=np.array([time for _, time in times], np.float32))
        masks, scores, pointers = run("heads", points=points, labels=labels, features=features, high_res_0=fine,
                                      high_res_1=middle)
        mask, pointer = chosen(masks, scores, pointers, several=frame > 0)
        memory, = run("memory_encoder", masks=mask, object_scores=scores[:, :1], binary=np.array([frame == 0], np.float32),
                      embedding=embedding)
        kept.append((memory, pointer, mask))

        with cpu.installed():
            prompt = (jt.array(boxes), jt.array(corners)) if frame == 0 else None
            output = model.track_step(frame, model.forward_image(image), conditioned, others, 3, prompt, first=frame == 0)
        (others if frame else conditioned)[frame] = output
        for got, wanted in zip(kept[-1], (output.maskmem_features, output.obj_ptr, output.low_res_masks)):
            wanted = wanted.numpy()
            assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
    given = squares((8, 16), (30, 2))
    got, = run("mask_pointer", masks=given.numpy(), embedding=embedding)
    with cpu.installed():
        wanted = model.use_mask_as_output(jt.array(embedding), given).obj_ptr.numpy()
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
