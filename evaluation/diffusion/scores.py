"""Dice and IoU of fused samples, image by image, and tables of their means."""

import csv
import io
from dataclasses import asdict, dataclass, fields

import numpy as np

from inference import resize

SLACK = 1e-6
METRICS = ("dice", "iou", "dice_network", "iou_network", "seconds")


@dataclass(frozen=True)
class Row:
    """What one image gets with one number of steps and samples.

    dice, iou: at the image's own resolution, height x width. dice_network, iou_network: at the network's, network_px a side,
    which is coarser and kinder: compare published figures of that resolution with these. seconds: of drawing the samples.
    """

    dataset: str
    image: str
    steps: int
    samples: int
    height: int
    width: int
    network_px: int
    dice: float
    iou: float
    dice_network: float
    iou_network: float
    seconds: float


def dice_iou(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """(2 I + s) / (P + G + s) and (I + s) / (P + G - I + s) of two boolean masks of one shape, s = 1e-6: 1 where both are
    empty."""
    both, total = np.count_nonzero(truth & prediction), np.count_nonzero(truth) + np.count_nonzero(prediction)
    return (2 * both + SLACK) / (total + SLACK), (both + SLACK) / (total - both + SLACK)


def score(truth: np.ndarray, fused: np.ndarray, threshold: float) -> dict[str, float]:
    """The metrics of a fused probability (S, S) against a boolean truth (H, W). The truth of a pixel of the network is what
    more than half of it is; of the image, the probability between the network's pixels is linear."""
    found = dict(zip(("dice", "iou"), dice_iou(truth, resize.area(fused, truth.shape) > threshold)))
    small = resize.area(truth, fused.shape) > 0.5
    return found | dict(zip(("dice_network", "iou_network"), dice_iou(small, fused > threshold)))


def means(rows: list[Row]) -> list[dict]:
    """For each number of steps and samples the means over each dataset's images and, where there are several datasets, over
    all images (dataset "all")."""
    groups: dict[tuple, list[Row]] = {}
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    for row in rows:
        for dataset in (row.dataset, *(["all"] if len(datasets) > 1 else [])):
            groups.setdefault((row.steps, row.samples, [*datasets, "all"].index(dataset), dataset), []).append(row)
    return [{"steps": steps, "samples": samples, "dataset": dataset, "images": len(group)}
            | {metric: float(np.mean([getattr(row, metric) for row in group])) for metric in METRICS}
            for (steps, samples, _, dataset), group in sorted(groups.items())]


def to_csv(rows: list[Row]) -> str:
    """A line for each row, six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6f}" if isinstance(value, float) else value for key, value in asdict(row).items()})
    return text.getvalue()


def to_markdown(found: list[dict], network_px: int) -> str:
    """The means as a table for people."""
    at = f"at {network_px} px"
    lines = [f"| steps | samples | dataset | images | Dice | IoU | Dice {at} | IoU {at} | s an image |",
             "| --: | --: | --- | --: | --: | --: | --: | --: | --: |"]
    for group in found:
        cells = [str(group[key]) for key in ("steps", "samples", "dataset", "images")]
        cells += [f"{group[metric]:.4f}" for metric in METRICS[:4]] + [f"{group['seconds']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
