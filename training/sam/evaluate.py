"""`[mpirun -np N] python -m training.sam.evaluate --model NAME --weights FILE --data DIR --out DIR`: a model of the SAM family
on labelled images and slices, each object prompted by its tight box, in the model's own frame: DSC, mIoU and images a
second, and one picture to compare by eye. Each of N processes takes every N-th image; the merged figures are those of one.
"""

import argparse
import csv
import os
import pathlib
import sys
import time

import numpy as np
from tqdm import tqdm

from evaluation.metrics import dice, iou
from inference import geometry
from models.sam.config import CONFIGS
from training import data, mpi
from training.sam.samples import frame_of, in_frame

COLUMNS = ("case", "slice", "label", "dsc", "iou")
POLL_S = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.sam.evaluate", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--model", required=True, choices=CONFIGS, metavar="NAME", help="a model of models.sam.config")
    parser.add_argument("--weights", type=pathlib.Path, required=True, help="its safetensors")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with <Modality>/<dataset>/*.npz")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="for objects.csv and comparison.png")
    args = parser.parse_args()
    rank, world_size = mpi.share()
    try:
        datasets = data.read_datasets(args.data, rank=2)
        predict = open_model(args.model, args.weights)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    images = [(item, z) for dataset in datasets for item in dataset.train + dataset.held_out
              for z in item.planes()]
    started = time.perf_counter()
    rows = []
    for item, z in tqdm(images[rank::world_size], unit="image", disable=rank > 0 or not sys.stderr.isatty()):
        rows += score(predict, args.model, item, z)
    # What a run that was killed left behind is not this run's.
    run = os.environ.get("PMIX_NAMESPACE", str(os.getpid()))
    shards = [args.out / f".objects.{run}.{other}.csv" for other in range(world_size)]
    write_shard(shards[rank], rows, time.perf_counter() - started)
    if rank == 0:
        rows, seconds = merge(shards, args.out / "objects.csv")
        dsc, miou = (np.mean([float(row[key]) for row in rows]) for key in ("dsc", "iou"))
        print(f"{args.model}: {len(images)} images, {len(rows)} objects, DSC {dsc:.6f} mIoU {miou:.6f} "
              f"{len(images) / seconds:.2f} images/s")
        if images:
            draw(predict, args.model, *images[0], args.out / "comparison.png")
    return 0


def open_model(name: str, path: pathlib.Path):
    """A function from (picture (3, S, S), boxes (N, 4) in the prompt frame) to masks, boolean (N, S, S). Raises ValueError
    where the weights do not fit."""
    import jittor as jt

    from models import cpu
    from models.sam.build import build, load_weights
    from training.sam.task import masks_in_frame

    network = build(name)
    load_weights(network, path)

    def predict(picture, boxes):
        with jt.no_grad(), cpu.installed():
            return masks_in_frame(network, jt.array(picture[None]), jt.array(boxes))[0].numpy()[:, 0] > 0

    return predict


def _segment(predict, model, item, z):
    """picture, labels of the truth in the frame, boxes (N, 4) px of the frame, and their masks, one for each label."""
    frame = frame_of(model)
    image, gts = item.plane(z)
    gts = in_frame(gts, frame)
    labels = [label for label in np.unique(gts) if label]
    boxes = np.array([geometry.mask_box(gts == label) for label in labels], np.float32).reshape(-1, 4)
    picture = frame.picture(image)
    scale = CONFIGS[model].preprocessing.prompt_size / frame.size
    masks = predict(picture, (boxes * scale).astype(np.float32)) if labels else []
    return picture, gts, labels, boxes, masks


def score(predict, model: str, item: data.Item, z: int | None) -> list[dict]:
    """One row, with COLUMNS, for each labelled object of an image, or of slice z of a volume, that the frame shows."""
    _, gts, labels, _, masks = _segment(predict, model, item, z)
    return [{"case": item.name, "slice": "" if z is None else z, "label": label, "dsc": dice(gts == label, mask),
             "iou": iou(gts == label, mask)} for label, mask in zip(labels, masks)]


def write_shard(path: pathlib.Path, rows: list[dict], seconds: float):
    """The rows of one process, whole or not at all; the first line says how long it took."""
    aside = path.with_suffix(".tmp")
    with open(aside, "w", newline="") as file:
        file.write(f"{seconds}\n")
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(aside, path)


def merge(shards: list[pathlib.Path], out: pathlib.Path) -> tuple[list[dict], float]:
    """Waits for all shards, writes their rows to `out` in the order of the cases and removes them. Returns the rows and
    the seconds of the slowest process."""
    rows, slowest = [], 0.0
    for path in shards:
        while not path.exists():
            time.sleep(POLL_S)
        with open(path, newline="") as file:
            slowest = max(slowest, float(file.readline()))
            rows += csv.DictReader(file)
        path.unlink()
    rows.sort(key=lambda row: (row["case"], int(row["slice"] or -1), int(row["label"])))
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows, slowest


def draw(predict, model: str, item: data.Item, z: int | None, path: pathlib.Path):
    """A PNG of one image in the frame: boxes, masks and truth."""
    from evaluation import drawing
    from inference.case import Case

    picture, gts, labels, boxes, masks = _segment(predict, model, item, z)
    segs, truth = np.zeros(gts.shape, np.uint16), np.zeros(gts.shape, np.uint16)
    for number, (label, mask) in enumerate(zip(labels, masks), 1):
        segs[mask], truth[gts == label] = number, number
    spread = picture - picture.min()
    shown = np.moveaxis(spread / max(spread.max(), 1e-8) * 255, 0, -1).astype(np.uint8)
    drawing.save(drawing.draw(Case(item.name, shown, boxes.astype(np.int32)), segs, truth, f"{item.name}, {model}"), path)


if __name__ == "__main__":
    sys.exit(main())
