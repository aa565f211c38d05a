"""Ways of segmenting a case: each takes a Case and returns its label image."""

import functools
from collections.abc import Callable

import numpy as np

from inference.case import Case, CaseError, printable
from inference.engines import Engine, open_engine
from inference.weights import find_model

Segmenter = Callable[[Case], np.ndarray]
ROI = {"roi": ("roi2d", "roi3d"), "roi-int8": ("roi2d-int8", "roi3d-int8")}
"""Models that are two of the manifest: one for images, one for volumes."""


def open_segmenter(model: str = "roi", engine: str = "openvino", backend: str = "cpu",
                   exclude_z_max: bool = False) -> Segmenter:
    """What segments a case with `model`: a function from a Case to labels, unsigned integers of its spatial shape, 0
    background, object i of its boxes is i + 1.

    roi      roi2d for images, roi3d for volumes; each is loaded when the first case needs it
    roi-int8 the same of roi2d-int8 and roi3d-int8
    roi2d    volumes too, slice by slice
    roi3d    volumes alone; an image raises CaseError
    the SAM family        images, and volumes slice by slice
    the SAM 2 family      images, and volumes by what it remembers of other slices
    samed, medsegdiff     images, and volumes slice by slice, without boxes: they look for what they were trained on. What
                          they return has an attribute needs_boxes, which is False

    exclude_z_max: slice by slice, whether a box ends before its z_max, see SliceSegmenter. Raises WeightsError for an
    unknown model, EngineError for an engine that cannot run here.
    """
    if model in ROI:
        return _by_rank(*ROI[model], lambda name: open_segmenter(name, engine, backend, exclude_z_max))
    # Each way of segmenting is imported where it is taken: start-up is most of a short run.
    files = find_model(model, others=ROI)
    if "memory_attention" in files.graphs:
        from inference.segment.propagate import PropagateSegmenter, tracker_of

        return PropagateSegmenter(tracker_of(files, engine, backend, hole_px=8), exclude_z_max)
    if files.graphs == {"encoder", "decoder"}:
        from inference.segment.sam import SamSegmenter

        planar = SamSegmenter(*(open_engine(engine, files.part(graph), backend) for graph in ("encoder", "decoder")))
    else:
        planar = _of_one_graph(open_engine(engine, files, backend))
        if not getattr(planar, "needs_boxes", True):
            return planar
    if files.family == "roi3d":
        return _of_volumes(model, planar)
    from inference.segment.slices import SliceSegmenter

    sliced = SliceSegmenter(planar, exclude_z_max)
    return lambda case: planar(case) if case.ndim == 2 else sliced(case)


def _by_rank(planar: str, solid: str, open_one: Callable[[str], Segmenter]) -> Segmenter:
    """What `roi` is of a model for images and one for volumes. open_one: opens a model by its name."""
    for name in (planar, solid):
        find_model(name)  # a manifest without it is an error now, not at the first case that needs it
    opened = functools.cache(open_one)
    return lambda case: opened(planar if case.ndim == 2 else solid)(case)


def _of_one_graph(engine: Engine) -> Segmenter:
    """The segmenter whose facts the model file has."""
    if "classes" in engine.facts:
        from inference.segment.semantic import SemanticSegmenter
        return SemanticSegmenter(engine)
    if "timesteps" in engine.facts:
        from inference.segment.diffusion import DiffusionSegmenter, from_environment
        return DiffusionSegmenter(engine, **from_environment())
    from inference.segment.roi import RoiSegmenter
    return RoiSegmenter(engine)


def _of_volumes(model: str, segmenter: Segmenter) -> Segmenter:
    def segment(case: Case) -> np.ndarray:
        if case.ndim == 2:
            raise CaseError(f"{printable(case.name)}: model {model} must have a volume; got an image with boxes (N, 4)")
        return segmenter(case)

    return segment
