"""Pictures of one case: the image, its boxes, the predicted masks and, where known, the truth.

Every object has a colour of its own (twelve, then again from the first); the truth is white, to read on all of them.
"""
import contourpy
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from scipy import ndimage

from inference.case import Case, printable

# Twelve hues; the first ones, which most pictures stop at, are seldom those of tissue, stained or not.
COLOURS = ("#00e0ff", "#ffe04d", "#ff5ce1", "#6ff23f", "#5b8cff", "#ff5a4f",
           "#c9a2ff", "#ff9f2e", "#00d68f", "#ff8fb1", "#b8d900", "#8fd3ff")
TRUTH = "#ffffff"
PAPER, INK, FAINT = "#15171c", "#f2f2f2", "#b8bcc6"
DPI = 100
MOST_SLICES = 12
MOST_NUMBERED = 24  # above this many boxes their numbers would hide the picture

LONG_SIDE_PX = (560, 900)  # a picture's long side is scaled into this range
TILE_PX = 300
GAP_PX, HEAD_PX, FOOT_PX, NARROWEST_PX = 10, 54, 34, 660


def draw(case: Case, segs: np.ndarray | None, gts: np.ndarray | None, caption: str) -> Figure:
    """Figure of a case: an image beside itself with its masks, or a montage of a volume's slices inside the boxes.

    `segs` and `gts` are label images of the image's shape, or None where there are none; `caption` is a line of text.
    """
    return (draw_volume if case.ndim == 3 else draw_image)(case, segs, gts, caption)


def save(figure: Figure, path) -> None:
    """Write the figure as PNG."""
    FigureCanvasAgg(figure).print_png(path)


def draw_image(case: Case, segs, gts, caption: str) -> Figure:
    """Left (above, where the image is wide): the image with its boxes. Right: the masks and the truth, cut to the
    boxes' surroundings where they are a small part of the image."""
    height, width = case.image.shape[:2]
    scale = np.clip(max(height, width), *LONG_SIDE_PX) / max(height, width)
    grid = (2, 1) if width > 1.5 * height else (1, 2)
    window = surroundings(case)
    if window[0].stop - window[0].start < height:
        caption += f"  ·  {'below' if grid[0] == 2 else 'right'}: cut to the boxes"
    figure, (left, right) = sheet(case, caption, grid, (height * scale, width * scale), segs, gts)
    show(left, case.image)
    outline_boxes(left, case.boxes, range(len(case.boxes)), numbered=len(case.boxes) <= MOST_NUMBERED)
    corner = (window[0].start, window[1].start)
    show(right, case.image[window], corner)
    overlay(right, *(None if labels is None else labels[window] for labels in (segs, gts)), corner)
    return figure


def surroundings(case: Case) -> tuple[slice, slice]:
    """The part of a 2-D image (rows, columns) around all its boxes, of the image's own proportions; the whole image
    where that part is more than three quarters of its height or width."""
    shape = np.array(case.image.shape[:2])
    low, high = case.boxes[:, [1, 0]].min(axis=0), case.boxes[:, [3, 2]].max(axis=0)
    share = ((high - low + 1) * 1.3 / shape).max()
    if share > 0.75:
        return slice(0, shape[0]), slice(0, shape[1])
    size = np.clip(np.ceil(shape * share), 32, shape).astype(int)
    start = np.clip((low + high + 1 - size) // 2, 0, shape - size)
    return tuple(slice(int(first), int(first + length)) for first, length in zip(start, size, strict=True))


def draw_volume(case: Case, segs, gts, caption: str) -> Figure:
    """Up to twelve slices, evenly spaced over the boxes' z range, cut to the boxes' surroundings."""
    depth, height, width = case.image.shape
    low_xyz, high_xyz = case.boxes[:, :3].min(axis=0), case.boxes[:, 3:].max(axis=0)
    first_z, last_z = np.clip([low_xyz[2], high_xyz[2]], 0, depth - 1)
    slices = np.unique(np.linspace(first_z, last_z, MOST_SLICES).round().astype(int))
    margin = np.maximum((high_xyz - low_xyz)[:2] // 4, 6)
    left, top = np.clip(low_xyz[:2] - margin, 0, [width - 1, height - 1])
    right, bottom = np.clip(high_xyz[:2] + margin, 0, [width - 1, height - 1])
    window = slice(top, bottom + 1), slice(left, right + 1)
    rows, columns = bottom + 1 - top, right + 1 - left

    across = min(4, len(slices))
    scale = TILE_PX / max(rows, columns)
    caption += f"  ·  slices {first_z}-{last_z} of {depth}, cut to the boxes"
    grid = (-(-len(slices) // across), across)
    figure, tiles = sheet(case, caption, grid, (rows * scale, columns * scale), segs, gts)
    for axes, z in zip(tiles, slices, strict=False):
        show(axes, case.image[z][window], corner=(top, left))
        within = np.flatnonzero((case.boxes[:, 2] <= z) & (z <= case.boxes[:, 5]))
        outline_boxes(axes, case.boxes[:, [0, 1, 3, 4]], within, numbered=False)
        overlay(axes, *(None if labels is None else labels[z][window] for labels in (segs, gts)), (top, left))
        axes.text(0.03, 0.97, f"z {z}", transform=axes.transAxes, va="top", color=INK, fontsize=9,
                  path_effects=[withStroke(linewidth=2.5, foreground="black")])
    for axes in tiles[len(slices):]:
        axes.remove()
    return figure


def sheet(case: Case, caption: str, grid: tuple[int, int], tile_px: tuple[float, float], segs, gts):
    """An empty figure of grid (rows, columns) of axes, each tile_px (height, width), with title and legend."""
    rows, columns = grid
    tile_height, tile_width = tile_px
    used = columns * tile_width + (columns + 1) * GAP_PX
    width = max(used, NARROWEST_PX)
    height = rows * (tile_height + GAP_PX) + HEAD_PX + FOOT_PX
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    letters = int((width - 2 * GAP_PX) / 7.6)
    name = printable(case.name)
    name = name if len(name) <= letters else f"{name[:letters // 2 - 1]}…{name[-letters // 2 + 1:]}"
    figure.text(GAP_PX / width, 1 - 18 / height, name, color=INK, fontsize=9.5, va="center", weight="bold")
    figure.text(GAP_PX / width, 1 - 39 / height, caption, color=FAINT, fontsize=9.5, va="center")
    legend(figure, segs is not None, gts is not None)
    tiles = []
    for row in range(rows):
        for column in range(columns):
            left = (width - used) / 2 + GAP_PX + column * (tile_width + GAP_PX)
            bottom = height - HEAD_PX - (row + 1) * tile_height - row * GAP_PX
            tiles.append(figure.add_axes((left / width, bottom / height, tile_width / width, tile_height / height)))
            tiles[-1].set_axis_off()
    return figure, tiles


def legend(figure: Figure, with_segs: bool, with_gts: bool) -> None:
    entries = [Line2D([], [], color=COLOURS[0], linestyle=(0, (4, 2)), linewidth=1.2, label="box")]
    if with_segs:
        entries.append(Line2D([], [], color=COLOURS[0], linewidth=2, label="prediction (a colour for each object)"))
    if with_gts:
        entries.append(Line2D([], [], color=TRUTH, linewidth=2, label="truth"))
    figure.legend(handles=entries, loc="lower left", ncols=len(entries), frameon=False, labelcolor=FAINT, fontsize=9,
                  borderaxespad=0.4, handlelength=2)


def show(axes, plane: np.ndarray, corner: tuple[int, int] = (0, 0)) -> None:
    """Draw a uint8 plane (H, W) or (H, W, 3) with its first pixel at index `corner` (row, column)."""
    (top, left), (rows, columns) = corner, plane.shape[:2]
    axes.imshow(plane, cmap="gray", vmin=0, vmax=255, aspect="auto",
                extent=(left - 0.5, left + columns - 0.5, top + rows - 0.5, top - 0.5))
    axes.autoscale(False)


def outline_boxes(axes, boxes_xyxy_px: np.ndarray, which, numbered: bool) -> None:
    """Dashed outlines around the outer edges of the boxes' pixels, in the objects' colours."""
    top = axes.get_ylim()[1]
    headroom = 0.05 * (axes.get_ylim()[0] - top)
    for index in which:
        x_min, y_min, x_max, y_max = boxes_xyxy_px[index] + (-0.5, -0.5, 0.5, 0.5)
        axes.plot([x_min, x_max, x_max, x_min, x_min], [y_min, y_min, y_max, y_max, y_min], color=colour(index),
                  linewidth=1.2, linestyle=(0, (4, 2)), path_effects=[withStroke(linewidth=2.2, foreground="#0009")])
        if numbered:
            axes.text(x_min, max(y_min, top), f"{index + 1}", color=colour(index), fontsize=9.5, weight="bold",
                      va="top" if y_min < top + headroom else "bottom", clip_on=True,
                      path_effects=[withStroke(linewidth=2, foreground="black")])


def overlay(axes, segs: np.ndarray | None, gts: np.ndarray | None, corner: tuple[int, int]) -> None:
    """Truth as white contours; predictions as contours and a tint in the objects' colours, above the truth."""
    highest = max((int(labels.max(initial=0)) for labels in (segs, gts) if labels is not None), default=0)
    thin = 0.7 if highest > 40 else 1
    if segs is not None:
        tint = np.zeros((*segs.shape, 4))
        for label in np.unique(segs[segs > 0]):
            tint[segs == label] = (*(int(colour(label - 1)[i:i + 2], 16) / 255 for i in (1, 3, 5)), 0.18)
        (top, left), (rows, columns) = corner, segs.shape
        axes.imshow(tint, aspect="auto", interpolation="nearest",
                    extent=(left - 0.5, left + columns - 0.5, top + rows - 0.5, top - 0.5))
    if gts is not None:
        lines = [line for _, line in contours(gts, corner)]
        axes.add_collection(LineCollection(lines, colors=TRUTH, linewidths=1.6 * thin,
                                           path_effects=[withStroke(linewidth=2.8 * thin, foreground="black")]))
    if segs is not None:
        found = contours(segs, corner)
        axes.add_collection(LineCollection([line for _, line in found], linewidths=1.5 * thin,
                                           colors=[colour(label - 1) for label, _ in found]))
    axes.autoscale(False)


def contours(labels: np.ndarray, corner: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    """(label, line) of every outline of every label; lines (N, 2) x, y in px, first pixel of `labels` at `corner`."""
    lines = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        # A rim of background closes the outlines of objects that touch the window's edge.
        mask = np.pad(labels[box] == label, 1).astype(float)
        shift = np.array([box[1].start + corner[1] - 1, box[0].start + corner[0] - 1])
        lines += [(label, line + shift) for line in contourpy.contour_generator(z=mask).lines(0.5)]
    return lines


def colour(index: int) -> str:
    """Colour of object `index` (from 0), #rrggbb."""
    return COLOURS[index % len(COLOURS)]
