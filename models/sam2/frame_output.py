"""What is known of a frame after it was looked at, and what others remember of it."""

import dataclasses

import jittor as jt

import models  # noqa: F401  (sets Jittor's environment first)


@dataclasses.dataclass(frozen=True)
class FrameOutput:
    """What is known of N objects in a frame; all float32.

    low_res_multimasks   logits (N, M, 4 grid, 4 grid) that the mask was chosen from, M 3 or 1; ious (N, M): their quality
    low_res_masks        logits (N, 1, 4 grid, 4 grid), an object above 0; high_res_masks: the same (N, 1, side, side)
    obj_ptr              (N, C), the object as a token
    object_score_logits  (N, 1), above 0 where the object is in the frame
    maskmem_features     (N, memory_dim, grid, grid), or None where the frame is not remembered
    """

    low_res_multimasks: jt.Var
    ious: jt.Var
    low_res_masks: jt.Var
    high_res_masks: jt.Var
    obj_ptr: jt.Var
    object_score_logits: jt.Var
    maskmem_features: jt.Var | None = None
