"""SAM 2 (Ravi et al. 2024, arXiv 2408.00714): what it does with one frame, as functions of the frame and of what is
remembered of others. Who keeps the memories, and in what order frames come, is the tracker's."""

import contextlib
import dataclasses

import jittor as jt
import numpy as np
from jittor import nn

import models  # noqa: F401  (sets Jittor's environment first)
from inference.segment import memory_bank
from models.catalogue import Graph
from models.sam.mask_decoder import MLP
from models.sam.prompt_encoder import NOT_A_POINT
from models.sam.resampling import resize_image
from models.sam2.config import Sam2Config
from models.sam2.frame_output import FrameOutput
from models.sam2.graphs import graphs_of
from models.sam2.image_encoder import ImageEncoder
from models.sam2.mask_decoder import MaskDecoder, stability_scores
from models.sam2.memory_attention import MemoryAttention
from models.sam2.memory_encoder import MemoryEncoder, repeated
from models.sam2.position_encoding import sine_1d, sine_2d
from models.sam2.prompt_encoder import PromptEncoder
from models.sam2.resampling import resize_antialiased

NO_OBJ_SCORE = -1024.0
"""Mask logits of an object that is not there."""
SIGMOID_SCALE, SIGMOID_BIAS = 20.0, -10.0
"""Masks of 0..1 become -10..10: what the memory encoder is trained with, and the logits of a mask that is given."""
STABLE = 0.98
"""Of which stability on the one mask needs no help of the other three."""


class Sam2(nn.Module):
    """A promptable model with a memory; its state dict has the keys of the official checkpoints. N is a number of objects, in
    one image or in an image each. In eval mode `track_step` keeps no graph for gradients."""

    def __init__(self, config: Sam2Config):
        super().__init__()
        self.config = config
        dim, memory_dim = config.prompt_dim, config.memory_dim
        self.image_encoder = ImageEncoder(config.trunk, dim)
        self.memory_attention = MemoryAttention(config.memory_layers, dim, memory_dim, config.memory_mlp_dim, config.dropout)
        self.memory_encoder = MemoryEncoder(dim, memory_dim, config.stride)
        self.sam_prompt_encoder = PromptEncoder(dim, config.image_size, config.mask_in_chans)
        self.sam_mask_decoder = MaskDecoder(dim, config.decoder_heads, config.decoder_mlp_dim)
        self.obj_ptr_proj = MLP(dim, dim, dim, 3)
        # From a mask of the image's size to a mask prompt.
        self.mask_downsample = nn.Conv2d(1, 1, config.stride // 4, stride=config.stride // 4)
        self.maskmem_tpos_enc = _small([config.num_maskmem, 1, 1, memory_dim])
        self.no_mem_embed = _small([1, 1, dim])
        self.no_mem_pos_enc = _small([1, 1, dim])  # of the official files; nothing uses it
        self.no_obj_ptr = _small([1, dim])
        if config.version != "2.0":
            self.no_obj_embed_spatial = _small([1, memory_dim])
            self.obj_ptr_tpos_proj = nn.Linear(dim, memory_dim)

    def forward_image(self, image):
        """image float32 (N, 3, side, side), pre-processed as `config.preprocessing` says. Returns float32 [(N, C / 8, 4 grid,
        4 grid), (N, C / 4, 2 grid, 2 grid), (N, C, grid, grid)]: two maps for the mask decoder, and the embedding."""
        fine, middle, embedding = self.image_encoder(image)
        return [self.sam_mask_decoder.conv_s0(fine), self.sam_mask_decoder.conv_s1(middle), embedding]

    def without_memory(self, embedding):
        """The embedding float32 (N, C, grid, grid) of a frame that nothing comes before, for the heads."""
        return embedding + self.no_mem_embed.reshape([1, -1, 1, 1])

    def prepare_memory_conditioned_features(self, embedding, memories, slots, pointers=None, times=None):
        """The embedding of a frame in the light of those before, see `memory_bank`.

        embedding float32 (N or 1, C, grid, grid); memories float32 (N, frames, memory_dim, grid, grid) and their slots int32
        (frames,); pointers float32 (N, P, C), P at least 1, and their times float32 (P,), or None. Returns float32 (N, C,
        grid, grid), for the heads.
        """
        batch, _, dim, height, width = memories.shape
        channels, pixels = self.config.prompt_dim, height * width
        memory = memories.reshape([batch, -1, dim, pixels]).transpose(2, 3).reshape([batch, -1, dim])
        memory_pos = (self.maskmem_tpos_enc[slots].reshape([-1, 1, dim]) + _tokens_of_sine(dim, height, width)).reshape(
            [1, -1, dim])
        pointer_tokens = None
        if pointers is not None:
            tokens = pointers.reshape([batch, -1, dim])
            pointer_tokens = tokens.shape[1]
            memory = jt.concat([memory, tokens], dim=1)
            memory_pos = jt.concat([memory_pos, self._pointer_positions(times)], dim=1)
        x = self.memory_attention(embedding.reshape([embedding.shape[0], channels, pixels]).transpose(1, 2), memory,
                                  _tokens_of_sine(channels, height, width), memory_pos, pointer_tokens)
        return x.transpose(1, 2).reshape([batch, channels, height, width])

    def _pointer_positions(self, times):
        """times (P,) -> (1, P * C / memory_dim, memory_dim): a pointer is cut into tokens as wide as memories."""
        dim, channels = self.config.memory_dim, self.config.prompt_dim
        if self.config.version == "2.0":
            positions = times.unsqueeze(-1) * jt.zeros([1, dim])
        else:
            positions = self.obj_ptr_tpos_proj(sine_1d(times, channels))
        return jt.repeat_interleave(positions, channels // dim, dim=0).unsqueeze(0)

    def predict_all(self, features, high_res_features, points=None, mask_inputs=None):
        """All that the heads say, of which one mask is to be chosen.

        features float32 (N or 1, C, grid, grid): an embedding with or without memory; high_res_features: the two others of
        `forward_image`; points: (xy_px float32 (N, P, 2) in the frame of the image's input, labels (N, P): 1 object, 0
        background, 2 and 3 top left and bottom right of a box, -1 none), or None; mask_inputs: logits float32 (N, 1, h, w)
        over the same frame, or None. Without both the N of features counts.

        Returns float32 (mask logits (N, 4, 4 grid, 4 grid), their quality 0..1 (N, 4), object pointers (N, 4, C), object
        score logits (N, 1)). The first of four is for prompts that say what is meant.
        """
        if points is None:
            count = (features if mask_inputs is None else mask_inputs).shape[0]
            points = jt.zeros([count, 1, 2]), jt.zeros([count, 1]) + NOT_A_POINT
        if mask_inputs is not None:
            mask_inputs = resize_antialiased(mask_inputs, 4 * self.config.grid, 4 * self.config.grid)
        features = repeated(features, points[1].shape[0])
        sparse, dense = self.sam_prompt_encoder(points, masks=mask_inputs)
        positions = self.sam_prompt_encoder.get_dense_pe(*features.shape[2:])
        masks, ious, tokens, score = self.sam_mask_decoder(features, positions, sparse, dense, high_res_features)
        if self.is_training():  # a network that finds no object yet would never learn to draw one, nor to point at it
            there = jt.sigmoid(score)
        else:
            there = _above_0(score)
            masks = masks * there.reshape([-1, 1, 1, 1]) + (1 - there.reshape([-1, 1, 1, 1])) * NO_OBJ_SCORE
        return masks, ious, self._unless_absent(self.obj_ptr_proj(tokens), there.unsqueeze(1)), score

    def _unless_absent(self, pointers, there):
        """pointers (N, ..., C) of objects that are there (1) or not (0); there (N, 1) or (N, 1, 1)."""
        return there * pointers + (1 - there) * self.no_obj_ptr

    def forward_sam_heads(self, features, high_res_features, points=None, mask_inputs=None,
                          multimask_output: bool = False) -> FrameOutput:
        """One mask an object, not yet remembered; arguments as `predict_all`'s. multimask_output: the best of the three
        masks for prompts that may mean several things, instead of the one."""
        masks, ious, pointers, score = self.predict_all(features, high_res_features, points, mask_inputs)
        rows = jt.arange(masks.shape[0])
        best = 1 + jt.argmax(ious[:, 1:], dim=1)[0]
        if multimask_output:
            chosen, candidates, pointers = masks[rows, best], (masks[:, 1:], ious[:, 1:]), pointers[rows, best]
        else:
            pointers = pointers[:, 0]
            index = rows * 0
            if self.config.dynamic_multimask and not self.is_training():
                index = jt.ternary(stability_scores(masks[:, 0]) < STABLE, best, index)
            chosen = masks[rows, index]
            candidates = chosen.unsqueeze(1), ious[rows, index].unsqueeze(1)
        low_res = chosen.unsqueeze(1)
        side = self.config.image_size
        return FrameOutput(*candidates, low_res, resize_image(low_res, side, side, "linear"), pointers, score)

    def use_mask_as_output(self, embedding, masks) -> FrameOutput:
        """A mask that is given stays as it is; only its object pointer is predicted. embedding: of `forward_image`; masks
        float32 (N, 1, side, side), 0 or 1. Not yet remembered."""
        high_res = masks * SIGMOID_SCALE + SIGMOID_BIAS
        low_res = resize_antialiased(high_res, 4 * self.config.grid, 4 * self.config.grid)
        score = _is_any(masks) * SIGMOID_SCALE + SIGMOID_BIAS
        return FrameOutput(low_res, jt.ones([masks.shape[0], 1]), low_res, high_res,
                           self.pointers_of_masks(embedding, masks), score)

    def pointers_of_masks(self, embedding, masks):
        """Object pointers float32 (N, C) of masks that are given; arguments as `use_mask_as_output`'s."""
        dim, grid = self.config.prompt_dim, self.config.grid
        # They matter to the masks alone, which nobody looks at here.
        high_res_features = jt.zeros([1, dim // 8, 4 * grid, 4 * grid]), jt.zeros([1, dim // 4, 2 * grid, 2 * grid])
        _, _, pointers, _ = self.predict_all(embedding, high_res_features, mask_inputs=self.mask_downsample(masks))
        return self._unless_absent(pointers[:, 0], _is_any(masks))

    def encode_new_memory(self, embedding, masks, object_score_logits):
        """embedding float32 (N or 1, C, grid, grid) of `forward_image`; masks float32 (N, 1, side, side), 0..1;
        object_score_logits float32 (N, 1). Returns float32 (N, memory_dim, grid, grid)."""
        memory = self.memory_encoder(embedding, masks * SIGMOID_SCALE + SIGMOID_BIAS)
        if self.config.version == "2.0":
            return memory
        absent = 1 - _above_0(object_score_logits)
        return memory + (absent * self.no_obj_embed_spatial).unsqueeze(-1).unsqueeze(-1)

    def track_step(self, frame: int, image_features, conditioned: dict[int, FrameOutput], others: dict[int, FrameOutput],
                   num_frames: int, points=None, masks=None, first: bool = False, reverse: bool = False,
                   run_mem_encoder: bool = True) -> FrameOutput:
        """A frame's objects from its prompts, or from the frames before.

        image_features: of `forward_image`. conditioned, others: remembered frames by number, those with prompts and those
        that were tracked. num_frames: of the whole sequence. points: as `predict_all`'s; masks: as `use_mask_as_output`'s,
        which then decide alone. first: nothing is remembered of the objects when they are prompted. reverse: tracking
        goes towards frame 0. run_mem_encoder: the frame is to be remembered.
        """
        with contextlib.nullcontext() if self.is_training() else jt.no_grad():
            *high_res_features, embedding = image_features
            if masks is not None:
                output = self.use_mask_as_output(embedding, masks)
            else:
                features = (self.without_memory(embedding) if first else
                            self.remember(frame, embedding, conditioned, others, num_frames, reverse))
                multimask_output = points is None or points[1].shape[1] <= 1
                output = self.forward_sam_heads(features, high_res_features, points, multimask_output=multimask_output)
            if run_mem_encoder:
                output = dataclasses.replace(output, maskmem_features=self.encode_new_memory(
                    embedding, self.mask_for_memory(output.high_res_masks, points is not None), output.object_score_logits))
            # Now, or the next frame's graph would grow on top of this one's.
            jt.sync([value for value in vars(output).values() if value is not None])
        return output

    def remember(self, frame, embedding, conditioned, others, num_frames, reverse=False):
        """The heads' features of a tracked frame, float32 (N, C, grid, grid); arguments as `track_step`'s."""
        slots = memory_bank.memory_slots(frame, conditioned, others, self.config.num_maskmem, reverse)
        times = memory_bank.pointer_times(frame, conditioned, others, num_frames, self.config.max_obj_ptrs_in_encoder, reverse)
        outputs = {**others, **conditioned}
        memories = jt.stack([outputs[other].maskmem_features for other, _ in slots], dim=1)
        slots = jt.array(np.array([slot for _, slot in slots], np.int32))
        if not times:
            return self.prepare_memory_conditioned_features(embedding, memories, slots)
        pointers = jt.stack([outputs[other].obj_ptr for other, _ in times], dim=1)
        times = jt.array(np.array([time for _, time in times], np.float32))
        return self.prepare_memory_conditioned_features(embedding, memories, slots, pointers, times)

    def mask_for_memory(self, high_res_masks, from_points: bool):
        """Mask logits -> 0..1, as `encode_new_memory` wants them. from_points: of a frame with points or a box."""
        if from_points and self.config.binarize_mask_from_pts and not self.is_training():
            return _above_0(high_res_masks)
        return jt.sigmoid(high_res_masks)

    def facts(self) -> dict[str, str]:
        """What a runtime must know, as strings: they travel inside every exported file."""
        config = self.config
        return {"family": config.name, "grid": str(config.grid), "num_maskmem": str(config.num_maskmem),
                "max_obj_ptrs": str(config.max_obj_ptrs_in_encoder)} | config.preprocessing.facts()

    def graphs(self) -> list[Graph]:
        """What is exported of the model."""
        return graphs_of(self)


def _small(shape):
    return jt.init.gauss(shape, "float32", std=0.02)


def _above_0(x):
    return (x > 0).float32()


def _is_any(masks):
    """(N, ...) -> (N, 1): 1 where any value is above 0."""
    return _above_0(masks.reshape([masks.shape[0], -1]).max(dim=1, keepdims=True))


def _tokens_of_sine(channels, height, width):
    """(1, H * W, channels)"""
    return jt.array(sine_2d(channels, int(height), int(width)).reshape(1, channels, -1)).transpose(1, 2)
