"""Pictures of fused samples: one of each probability and of each uncertainty, and one montage to look at."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from evaluation.drawing import DPI, FAINT, INK, PAPER, TRUTH, colour, contours, save
from inference import resize
from inference.files import write_whole

TILE_PX, GAP_PX, HEAD_PX = 150, 6, 40
SHOWN_SAMPLES = 3
MOST_VARIANCE = 0.25


@dataclass(frozen=True)
class Shown:
    """A row of the montage: image uint8 (H, W) or (H, W, C), of which three channels are shown; truth boolean (H, W);
    samples, fused, uncertainty as `ensemble` makes them, (S, S); text: a line."""

    image: np.ndarray
    truth: np.ndarray
    samples: np.ndarray
    fused: np.ndarray
    uncertainty: np.ndarray
    text: str


def write_png(path: Path, plane: np.ndarray, shape: tuple[int, int], most: float = 1.0) -> None:
    """A grey PNG of `shape` (H, W): 0 to `most` of a plane (S, S) are 0 to 255. Raises OSError."""
    grey = np.rint(np.clip(resize.area(plane, shape) / most, 0, 1) * 255).astype(np.uint8)
    write_whole(path, cv2.imencode(".png", grey)[1].tobytes())


def montage(rows: list[Shown], title: str, path: Path) -> None:
    """A PNG with a row for each image: the image with truth (white) and mask, the first samples, the fused probability, the
    uncertainty."""
    heads = ["image, truth, mask", *(f"sample {number + 1}" for number in range(SHOWN_SAMPLES)), "fused", "uncertainty"]
    width = len(heads) * (TILE_PX + GAP_PX) + GAP_PX
    height = HEAD_PX + len(rows) * (TILE_PX + GAP_PX + 16)
    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    figure.text(GAP_PX / width, 1 - 14 / height, title, color=INK, fontsize=9.5, va="center", weight="bold")
    for column, head in enumerate(heads):
        left = GAP_PX + column * (TILE_PX + GAP_PX)
        figure.text(left / width, 1 - 32 / height, head, color=FAINT, fontsize=8, va="center")
        for number, row in enumerate(rows):
            bottom = height - HEAD_PX - number * (TILE_PX + GAP_PX + 16) - TILE_PX
            axes = figure.add_axes((left / width, bottom / height, TILE_PX / width, TILE_PX / height))
            axes.set_axis_off()
            _tile(axes, row, column)
            if column == 0:
                figure.text(left / width, (bottom - 8) / height, row.text, color=FAINT, fontsize=7.5, va="center")
    save(figure, path)


def _tile(axes, row, column):
    if column == 0:
        image = row.image[..., :3] if row.image.ndim == 3 else row.image
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
        mask = resize.area(row.fused, row.truth.shape) > 0.5
        for labels, ink in ((row.truth, TRUTH), (mask, colour(0))):
            for _, line in contours(labels.astype(np.uint8), (0, 0)):
                axes.plot(*line.T, color=ink, linewidth=1)
    elif column <= SHOWN_SAMPLES:
        if column <= len(row.samples):
            axes.imshow(row.samples[column - 1], cmap="gray", vmin=0, vmax=1, aspect="auto")
    elif column == SHOWN_SAMPLES + 1:
        axes.imshow(row.fused, cmap="gray", vmin=0, vmax=1, aspect="auto")
    else:
        axes.imshow(row.uncertainty, cmap="inferno", vmin=0, vmax=MOST_VARIANCE, aspect="auto")
