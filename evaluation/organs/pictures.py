"""A picture of one volume's organs: slices with the masks, a colour for each organ, and the truth in white."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from evaluation import drawing
from evaluation.organs.volumes import Volume
from inference import geometry
from inference.case import Case


def draw(name: str, volume: Volume, segs: np.ndarray, truth: np.ndarray, organs: tuple[str, ...], caption: str) -> Figure:
    """Up to twelve slices, evenly spaced over those with an organ and cut to their surroundings; of a picture itself, plain
    and with its masks. segs, truth: classes 0..len(organs), of the volume's spatial shape."""
    image = volume.image
    if image.dtype.kind == "f":
        image = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    case = Case(name, image, np.zeros((0, 2 * truth.ndim), np.int32))
    if truth.ndim == 2:
        window = (slice(None),) * 2
        tiles = [(None, image, None, None), (None, image, segs, truth)]
    else:
        window, chosen = _window((segs > 0) | (truth > 0)), _chosen((segs > 0) | (truth > 0))
        tiles = [(z, image[z][window], segs[z][window], truth[z][window]) for z in chosen]
        caption += f"  ·  slices {chosen[0]}-{chosen[-1]} of {len(image)}"
    rows, columns = tiles[0][1].shape[:2]
    across = min(4, len(tiles))
    scale = (drawing.TILE_PX if truth.ndim == 3 else drawing.LONG_SIDE_PX[0]) / max(rows, columns)
    grid = (-(-len(tiles) // across), across)
    figure, axes = drawing.sheet(case, caption, grid, (rows * scale, columns * scale), segs, truth)
    corner = (window[0].start or 0, window[1].start or 0)
    for tile, (z, plane, predicted, true) in zip(axes, tiles):
        drawing.show(tile, plane, corner)
        drawing.overlay(tile, predicted, true, corner)
        if z is not None:
            tile.text(0.03, 0.97, f"z {z}", transform=tile.transAxes, va="top", color=drawing.INK, fontsize=9,
                      path_effects=[withStroke(linewidth=2.5, foreground="black")])
    for tile in axes[len(tiles) :]:
        tile.remove()
    _legend(figure, organs)
    return figure


def _chosen(labelled):
    """Slices to show."""
    found = np.flatnonzero(labelled.any(axis=(1, 2)))
    first, last = (found[0], found[-1]) if len(found) else (0, len(labelled) - 1)
    return np.unique(np.linspace(first, last, drawing.MOST_SLICES).round().astype(int)).tolist()


def _window(labelled):
    """Rows and columns with an organ in some slice, and an eighth of that around them."""
    box = geometry.mask_box(labelled.any(axis=0))
    if box is None:
        return slice(0, labelled.shape[1]), slice(0, labelled.shape[2])
    margin = max(8, int((box[2:] - box[:2]).max()) // 8)
    return tuple(slice(max(0, int(low) - margin), min(side, int(high) + 1 + margin))
                 for low, high, side in zip(box[:2][::-1], box[2:][::-1], labelled.shape[1:]))


def _legend(figure, organs):
    """In place of that for boxes, of which there are none."""
    for legend in list(figure.legends):
        legend.remove()
    entries = [Line2D([], [], color=drawing.colour(index), linewidth=2, label=organ) for index, organ in enumerate(organs)]
    entries.append(Line2D([], [], color=drawing.TRUTH, linewidth=2, label="truth"))
    figure.legend(handles=entries, loc="lower left", ncols=len(entries), frameon=False, labelcolor=drawing.FAINT, fontsize=9,
                  borderaxespad=0.4, handlelength=1.5, columnspacing=1.2)
