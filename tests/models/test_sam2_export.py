"""Every graph of SAM 2 through the project's exporter: the engines agree with Jittor, at several numbers of objects, of
memories, of pointers and of points; and the graphs together do what the model does with frames."""

import dataclasses

import jittor as jt
import numpy as np
import onnxruntime
import pytest

import models  # noqa: F401
from export import Input, export
from inference.segment.propagate import Sequence, tracker_of
from inference.weights import ModelFiles
from models import cpu
from models.sam.resampling import resize_image
from models.sam2.build import build
from tests.models.test_sam2_frames import images, squares, tiny

GRAPHS = ("image_encoder", "memory_attention", "heads", "mask_pointer", "memory_encoder")


def exported(model, name, folder):
    """Jittor's operators under the names that runtimes use."""
    graph = next(graph for graph in model.graphs() if graph.name == name)
    inputs = [Input(key, array.shape, str(array.dtype), graph.dynamic[key]) for key, array in graph.cases[0].items()]
    with cpu.installed():
        return export(graph.module, inputs, folder / f"{name}.onnx", facts=graph.facts, cases=graph.cases, ir=True)


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


class Named:
    """A picture of its own, under a number, that the tracker takes for an image."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return np.full((64, 64), index)

    def picture(self, image):
        return self.pictures[image[0, 0]]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_tracker_does_as_the_model_does(engine, tmp_path):
    """Two objects, by boxes and by masks, on frame 1 of 4, forwards and then backwards: memories, pointers and masks."""
    model = tiny()
    for name in GRAPHS:
        exported(model, name, tmp_path)
    files = {f"{name}.{role}": f"{name}{suffix}" for name in GRAPHS
             for role, suffix in (("onnxruntime", ".onnx"), ("openvino", ".xml"), ("openvino_bin", ".bin"))}
    tracker = tracker_of(ModelFiles("tiny", "sam2-nano", tmp_path, files, {}), engine, "cpu")
    frames = images(4)
    boxes = np.array([[10, 8, 40, 50], [2, 30, 60, 60]], np.float32)
    corners = jt.array(boxes.reshape(2, 2, 2)), jt.array(np.array([[2, 3]] * 2, np.float32))
    masks = squares((8, 16), (30, 2))
    for given in ({"points": corners}, {"masks": masks}):
        pictures = Named([frame.numpy()[0] for frame in frames])
        sequence = Sequence(tracker, pictures, pictures.picture)
        if "masks" in given:
            sequence.add_masks(1, masks.numpy()[:, 0] > 0)
        else:
            sequence.add_boxes(1, boxes)
        conditioned, others = {}, {}
        for frame, reverse in ((1, False), (2, False), (3, False), (0, True)):
            prompt = given if frame == 1 else {}
            with cpu.installed():
                maps = model.forward_image(frames[frame])
                output = model.track_step(frame, maps, conditioned, others, 4, **prompt, first=frame == 1, reverse=reverse)
                shown = resize_image(output.low_res_masks, 64, 64, "linear")
                if "masks" in prompt:  # the video predictor remembers and shows the low-resolution mask
                    output = dataclasses.replace(output, maskmem_features=model.encode_new_memory(
                        maps[2], model.mask_for_memory(shown, True), output.object_score_logits))
            (others if conditioned else conditioned)[frame] = output
            logits, wanted = sequence.track(frame, [0, 1], reverse), shown.numpy()[:, 0]
            assert np.abs(logits - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_masks_that_are_given_have_the_models_pointers(tmp_path):
    model = tiny()
    exported(model, "mask_pointer", tmp_path)
    embedding, given = np.random.default_rng(0).standard_normal((1, 16, 4, 4), np.float32), squares((8, 16), (30, 2))
    got, = onnxruntime.InferenceSession(tmp_path / "mask_pointer.onnx").run(
        None, {"masks": given.numpy(), "embedding": embedding})
    with cpu.installed():
        wanted = model.use_mask_as_output(jt.array(embedding), given).obj_ptr.numpy()
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
