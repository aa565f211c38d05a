"""A picture of a case: its support slices, then slices through the volume with the truth and the prediction outlined."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from evaluation.drawing import COLOURS, DPI, FAINT, INK, MOST_SLICES, PAPER, TILE_PX, TRUTH, overlay, show
from evaluation.fewshot.data import FewShotCase
from evaluation.fewshot.picture import stretched
from inference.case import printable

_ACROSS = 4
_HEAD_PX, _FOOT_PX = 54, 34


def draw(case: FewShotCase, masks: np.ndarray, supports: list[int], caption: str) -> Figure:
    """masks bool (queries, H, W): the prediction; supports: which of the case's to show first. Queries are evenly chosen, so
    that there are at most twelve tiles, all cut to where a mask is."""
    chosen = np.linspace(0, len(case.queries) - 1, min(len(case.queries), MOST_SLICES - len(supports))).round().astype(int)
    truth = [query.mask for query in case.queries]
    window = _surroundings(np.any([*truth, *masks, *(case.supports[index].mask for index in supports)], axis=0))
    rows = -(-(len(supports) + len(chosen)) // _ACROSS)
    height, width = rows * TILE_PX + _HEAD_PX + _FOOT_PX, _ACROSS * TILE_PX
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    tiles = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
    figure.subplots_adjust(0.005, _FOOT_PX / height, 0.995, 1 - _HEAD_PX / height, 0.02, 0.02)
    for axes in tiles:
        axes.set_axis_off()
    for axes, index in zip(tiles, supports):
        _tile(axes, case.supports[index].image, None, case.supports[index].mask, window, "support")
    for axes, index in zip(tiles[len(supports):], chosen):
        query = case.queries[index]
        _tile(axes, query.image, masks[index], query.mask, window, f"z {query.z}")
    figure.text(0.01, 1 - 18 / height, printable(f"scan {case.scan}, label {case.label_id}"), color=INK, fontsize=9.5,
                va="center", weight="bold")
    figure.text(0.01, 1 - 39 / height, caption, color=FAINT, fontsize=9.5, va="center")
    entries = [Line2D([], [], color=COLOURS[0], linewidth=2, label="prediction"),
               Line2D([], [], color=TRUTH, linewidth=2, label="truth, and the support's mask")]
    figure.legend(handles=entries, loc="lower left", ncols=2, frameon=False, labelcolor=FAINT, fontsize=9)
    return figure


def _tile(axes, image, prediction, truth, window, text) -> None:
    corner = (window[0].start, window[1].start)
    show(axes, (stretched(image) * 255).round().astype(np.uint8)[window], corner)
    segs, gts = (None if mask is None else mask[window].astype(np.uint8) for mask in (prediction, truth))
    overlay(axes, segs, gts, corner)
    axes.set_aspect("equal")
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", color=INK, fontsize=9,
              path_effects=[withStroke(linewidth=2.5, foreground="black")])


def _surroundings(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns around the mask, a quarter of its longer side wider each way; all where there is none."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    ends = [np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
    side = max(int(last - first + 1) for first, last in ends)
    margin = max(side // 4, 6)
    window = []
    for (first, last), length in zip(ends, mask.shape):
        start = int(first + last + 1 - side) // 2 - margin
        window.append(slice(max(start, 0), min(start + side + 2 * margin, length)))
    return tuple(window)
