"""Which of the frames before a frame looks back at, and from how far. Free of Jittor.

`conditioned`: frames with prompts; `others`: frames that were tracked; both containers of 0-based frame numbers. reverse:
tracking goes from the last frame to the first, and "before" is what comes after.
"""

from collections.abc import Collection


def memory_slots(frame: int, conditioned: Collection[int], others: Collection[int], num_maskmem: int,
                 reverse: bool = False) -> list[tuple[int, int]]:
    """(frame, row of the learned positions in time) of the masks to look at: all frames with prompts, by the last row; then
    the num_maskmem - 1 frames before this one that are there, the farthest first, the nearest by row 0."""
    step = -1 if reverse else 1
    slots = [(other, num_maskmem - 1) for other in conditioned]
    for distance in range(num_maskmem - 1, 0, -1):
        if frame - step * distance in others:
            slots.append((frame - step * distance, distance - 1))
    return slots


def pointer_times(frame: int, conditioned: Collection[int], others: Collection[int], num_frames: int, max_obj_ptrs: int,
                  reverse: bool = False) -> list[tuple[int, float]]:
    """(frame, how long ago) of the object pointers to look at: frames with prompts that are not still to come, then the
    frames before this one, the nearest first. Time is 1 at the farthest frame of those others that may be looked at."""
    step = -1 if reverse else 1
    most = min(num_frames, max_obj_ptrs)
    longest = max(most - 1, 1)
    times = [(other, (frame - other) * step / longest) for other in conditioned if (frame - other) * step >= 0]
    for distance in range(1, most):
        if frame - step * distance in others:
            times.append((frame - step * distance, distance / longest))
    return times
