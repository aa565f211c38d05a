"""Ways of segmenting a case: each takes a Case and returns its label image."""

from collections.abc import Callable

import numpy as np

from inference.case import Case, CaseError
from inference.engines import open_engine
from inference.weights import find_model

Segmenter = Callable[[Case], np.ndarray]


def open_segmenter(model: str = "roi", engine: str = "openvino", backend: str = "cpu",
                   exclude_z_max: bool = False) -> Segmenter:
    """What segments a case with `model`: a function from a Case to labels, unsigned integers of its spatial shape, 0
    background, object i of its boxes is i + 1.

    roi      roi2d for images, roi3d for volumes; each is loaded when the first case needs it
    roi2d    volumes too, slice by slice
    roi3d    volumes alone; an image raises CaseError
    a model of the SAM family   images, and volumes slice by slice
    a model of the SAM 2 family images, and volumes by what it remembers of other slices

    exclude_z_max: slice by slice, whether a box ends before its z_max, see SliceSegmenter. Raises WeightsError for an
    unknown model, EngineError for an engine that cannot run here.
    """
    from inference.segment.propagate import GRAPHS, PropagateSegmenter, tracker_of
    from inference.segment.roi import RoiSegmenter
    from inference.segment.slices import SliceSegmenter

    loaded: dict[str, Segmenter] = {}

    def load(name: str) -> RoiSegmenter:
        if name not in loaded:
            loaded[name] = RoiSegmenter(open_engine(engine, find_model(name), backend))
        return loaded[name]

    if model == "roi":
        for name in ("roi2d", "roi3d"):
            find_model(name)  # a manifest without it is an error now, not at the first case that needs it
        return lambda case: load(f"roi{case.ndim}d")(case)
    files = find_model(model)
    if files.graphs == GRAPHS:
        return PropagateSegmenter(tracker_of(files, engine, backend, hole_px=8), exclude_z_max)
    if files.graphs == {"encoder", "decoder"}:
        from inference.segment.sam import SamSegmenter

        planar = SamSegmenter(*(open_engine(engine, files.part(graph), backend) for graph in ("encoder", "decoder")))
    elif files.family == "roi2d":
        planar = load(model)
    else:
        planar = None
    if planar:
        sliced = SliceSegmenter(planar, exclude_z_max)
        return lambda case: planar(case) if case.ndim == 2 else sliced(case)
    volumetric = load(model)

    def segment(case: Case) -> np.ndarray:
        if case.ndim == 2:
            raise CaseError(f"{case.name}.npz: model {model} must have a volume; got an image with boxes (N, 4)")
        return volumetric(case)

    return segment
