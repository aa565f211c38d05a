"""Every part of the family through the project's exporter, at a tiny size: the engines agree with Jittor, at several
numbers of images and of boxes."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

import models  # noqa: F401
from export import Input, export
from models import cpu
from models.sam.build import build
from models.sam.config import EfficientViTConfig, TinyViTConfig, ViTConfig

RNG = np.random.default_rng(0)
TINY = {
    "vit": ViTConfig(image_size=32, embed_dim=16, depth=2, num_heads=2, global_blocks=(1,), patch_size=4, window_size=3),
    "tiny_vit": TinyViTConfig(image_size=32, embed_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2),
                              window_sizes=(3, 3, 4, 3)),
    "efficientvit": EfficientViTConfig(
        image_size=128, widths=(4, 4, 8, 8, 16), depths=(1, 1, 1, 1, 1), blocks=("res", "fmb", "fmb", "mb", "att@5"),
        expand=(1, 2, 2, 2, 2), few_norms=(False, False, False, True, True), neck_stages=(4, 3, 2), neck_depth=1,
        neck_width=8, head_dim=8, grid=16),
}


def tiny(encoder):
    model = build("litemedsam", encoder=TINY[encoder], prompt_dim=16, decoder_heads=2, decoder_mlp_dim=32)
    for key, var in model.state_dict().items():
        if "norm" not in key and "bn" not in key:
            inputs = np.prod(var.shape[1:]) if var.ndim > 1 else 1
            var.assign(jt.array(RNG.standard_normal(var.shape, np.float32) * np.float32(1.5 / np.sqrt(inputs))))
    return model


@pytest.mark.parametrize("name", TINY)
def test_image_encoders(name, tmp_path):
    encoder, side = tiny(name).image_encoder, TINY[name].image_size
    cases = [{"image": RNG.uniform(0, 1, (count, 3, side, side)).astype(np.float32)} for count in (1, 3)]
    with cpu.installed():
        exported = export(encoder, [Input("image", (1, 3, side, side))], tmp_path / "encoder.onnx", cases=cases)
    assert exported.assumptions == []
    assert not {"Loop", "If", "BatchNormalization"} & {node.op_type for node in exported.model.graph.node}


class BoxDecoder(nn.Module):
    """What a runtime calls for the boxes of an image."""

    def __init__(self, sam, multimask_output):
        super().__init__()
        self.sam = sam
        self.multimask_output = multimask_output

    def execute(self, image_embeddings, boxes):
        masks, iou = self.sam.decode(image_embeddings, boxes, multimask_output=self.multimask_output)
        # One number alone has no spread to measure its error by.
        return {"masks": masks, "iou": iou} if self.multimask_output else {"masks": masks}


@pytest.mark.parametrize("multimask_output", [False, True])
def test_decoder_of_any_number_of_boxes(multimask_output, tmp_path):
    decoder = BoxDecoder(tiny("vit"), multimask_output)
    cases = [{
        "image_embeddings": RNG.standard_normal((1, 16, 8, 8)).astype(np.float32),
        "boxes": np.sort(RNG.uniform(0, 256, (count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32),
    } for count in (1, 2, 5)]
    inputs = [Input("image_embeddings", (1, 16, 8, 8), dynamic={}), Input("boxes", (1, 4), dynamic={0: "boxes"})]
    with cpu.installed():
        exported = export(decoder, inputs, tmp_path / "decoder.onnx", cases=cases)
    assert exported.assumptions == []
    assert [output.name for output in exported.model.graph.output] == ["masks", "iou"][:1 + multimask_output]
