"""python -m evaluation.diffusion --model NAME --data DIR --samples 1 5 25 --steps 5 10 25 100 --out DIR: see --help."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from tqdm import tqdm

from evaluation.diffusion import cases, network, pictures, scores
from evaluation.diffusion.drawn import drawn, missing
from inference.case import CaseError
from inference.diffusion.ensemble import FUSIONS, fuse, uncertainty
from inference.engines import ENGINES, EngineError
from inference.files import write_whole
from inference.segment.diffusion import DiffusionSegmenter
from inference.weights import WeightsError
from training.medsegdiff.layouts import LAYOUTS

DONE, SOME_FAILED, BAD_ARGUMENTS = 0, 1, 2
MONTAGE_ROWS = 8

DESCRIPTION = """\
Draw ensembles of masks for labelled images and score them: Dice and IoU of each image and their means, at the image's own
resolution and at the network's, and the seconds that drawing took, for every number of steps and samples. OUT gets
results.csv (a line for each image), results.json and results.md (means), overview.png, for every combination a folder with
NAME_fused.png (the fused probability, 0 to 255) and NAME_uncertainty.png (the samples' variance, 0 to 0.25), and the samples
themselves. Given again, it draws what is missing alone.
Exit status: 0 all scored, 1 some image failed or interrupted, 2 bad arguments."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m evaluation.diffusion", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", metavar="NAME", help="a diffusion model of weights/manifest.json")
    model.add_argument("--weights", type=Path, metavar="FILE", help="weights of a training run; always in Jittor")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the labelled images, see --layout")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder to write to")
    parser.add_argument("--layout", choices=LAYOUTS, default="npz",
                        help="npz (default): <Modality>/<dataset>/*.npz, or imgs/*.npz and gts/*.npz; others: see "
                             "training/medsegdiff/layouts.py, DIR is the Test folder")
    parser.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="of npz those alone (default: all)")
    parser.add_argument("--labels", type=int, nargs="+", default=[], metavar="N", help="the object's labels (default: any)")
    parser.add_argument("--steps", type=int, nargs="+", metavar="N", help="steps a mask is drawn in (default: the model's)")
    parser.add_argument("--samples", type=int, nargs="+", metavar="N", help="masks that are fused (default: the model's)")
    parser.add_argument("--fusion", choices=FUSIONS, help="how (default: the model's)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--engine", choices=ENGINES, default="openvino", help="what runs the network (default: openvino)")
    return parser


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is drawn and how; kept as OUT/settings.json, for samples of other settings must not mix."""

    model: str
    weights_sha256: str
    engine: str
    seed: int
    data: str
    layout: str
    labels: list[int]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        engine, digest = network.open_run(args.weights) if args.weights else network.open_model(args.model, args.engine)
        if "timesteps" not in engine.facts:
            raise ValueError(f"--model must be a diffusion model; got {args.model}")
        if args.samples and min(args.samples) < 1:
            raise ValueError(f"--samples must be 1 or more; got {min(args.samples)}")
        segmenters = {steps: DiffusionSegmenter(engine, steps, fusion=args.fusion, seed=args.seed)
                      for steps in sorted(set(args.steps or [int(engine.facts["steps"])]))}
        sources = cases.find(args.data, args.layout, tuple(args.datasets))
        settings = Settings(engine.facts["family"], digest, "jittor" if args.weights else args.engine, args.seed,
                            str(args.data.resolve()), args.layout, args.labels)
        _claim(args.out, settings)
    except (ValueError, OSError, EngineError, WeightsError, SafetensorError) as error:
        print(f"evaluation.diffusion: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    counts = sorted(set(args.samples or [int(engine.facts["samples"])]))
    try:
        return Evaluation(segmenters, counts, args.labels, args.out).run(sources, settings)
    except EngineError as error:
        print(f"evaluation.diffusion: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except KeyboardInterrupt:
        print("interrupted: what is drawn is kept; the same command goes on", file=sys.stderr)
        return SOME_FAILED


def _claim(out, settings):
    """Makes the folder, or raises ValueError where it is another evaluation's."""
    path = out / "settings.json"
    text = json.dumps(dataclasses.asdict(settings), indent=1) + "\n"
    if path.exists() and path.read_text() != text:
        raise ValueError(f"{path}: an evaluation with other settings is there; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())


class Evaluation:
    """segmenters: by their steps. counts: numbers of samples, ascending. labels: those of the object, none: any."""

    def __init__(self, segmenters: dict[int, DiffusionSegmenter], counts: list[int], labels: list[int], out: Path):
        self.segmenters, self.counts, self.labels, self.out = segmenters, counts, labels, out
        one = next(iter(segmenters.values()))
        self.fusion, self.threshold, self.size = one.ensemble.fusion, one.threshold, one.size

    def run(self, sources, settings: Settings) -> int:
        """Draws, scores and writes; returns the exit status."""
        if any(missing(self._samples_path(steps, source), self.counts[-1]) for source in sources for steps in self.segmenters):
            # Kernels are compiled at the first call: that is not drawing.
            one = next(iter(self.segmenters.values()))
            one.draw(np.zeros((self.size, self.size), np.uint8), [0])
        rows, done = [], []
        for source in tqdm(sources, unit="image", disable=not sys.stderr.isatty()):
            try:
                rows += self.image(source)
                done.append(source)
            except (CaseError, ValueError, OSError) as error:
                tqdm.write(f"{source.name}: {error}: not scored", file=sys.stderr)
        if rows:
            self.report(rows, settings)
            self.draw_overview(rows, {source.name: source for source in done}, settings)
        print(f"{len(done)} of {len(sources)} images scored; see {self.out}")
        return DONE if len(done) == len(sources) else SOME_FAILED

    def image(self, source) -> list[scores.Row]:
        """The rows of an image; its pictures are drawn. Raises ValueError, CaseError, OSError."""
        image, truth = self._read(source)
        rows = []
        for steps, segmenter in self.segmenters.items():
            path = self._samples_path(steps, source)
            path.parent.mkdir(parents=True, exist_ok=True)
            found = drawn(segmenter, image, self.counts, path)
            for count in self.counts:
                fused, seconds = fuse(found.samples[:count], self.fusion), float(found.seconds[:count].sum())
                metrics = scores.score(truth, fused, self.threshold)
                rows.append(scores.Row(source.dataset, source.name, steps, count, *truth.shape, self.size, **metrics,
                                       seconds=seconds))
                self._write_pictures(source, steps, count, found.samples, fused, truth.shape)
        return rows

    def _read(self, source):
        item = source.read()
        if item.gts.ndim != 2:
            raise ValueError(f"gts must be of an image, (H, W); got {item.gts.shape}")
        return item.image, np.isin(item.gts, self.labels) if self.labels else item.gts > 0

    def _samples_path(self, steps, source):
        return self.out / "samples" / f"steps{steps}" / f"{source.name}.npz"

    def _write_pictures(self, source, steps, count, samples, fused, shape):
        folder = self.out / f"steps{steps}_samples{count}_{self.fusion}"
        folder.mkdir(exist_ok=True)
        if not (path := folder / f"{source.name}_fused.png").exists():
            pictures.write_png(path, fused, shape)
        if count > 1 and not (path := folder / f"{source.name}_uncertainty.png").exists():
            pictures.write_png(path, uncertainty(samples[:count]), shape, pictures.MOST_VARIANCE)

    def report(self, rows: list[scores.Row], settings: Settings):
        """results.csv, results.json, results.md; the means are printed too."""
        found = scores.means(rows)
        text = scores.to_markdown(found, self.size)
        resolution = f"dice and iou: each image's own; dice_network and iou_network: {self.size} x {self.size} px"
        summary = dataclasses.asdict(settings) | {"fusion": self.fusion, "threshold": self.threshold, "resolution": resolution,
                                                  "results": found}
        for name, content in (("csv", scores.to_csv(rows)), ("json", json.dumps(summary, indent=1) + "\n"), ("md", text)):
            write_whole(self.out / f"results.{name}", content.encode())
        print(text, end="")

    def draw_overview(self, rows: list[scores.Row], sources: dict, settings: Settings):
        """overview.png: images at even ranks of Dice, with the most steps and samples."""
        steps, count = max(self.segmenters), self.counts[-1]
        ranked = sorted((row for row in rows if (row.steps, row.samples) == (steps, count)), key=lambda row: row.dice)
        chosen = np.unique(np.linspace(0, len(ranked) - 1, min(MONTAGE_ROWS, len(ranked))).round().astype(int))
        shown = []
        for row in (ranked[index] for index in chosen):
            image, truth = self._read(sources[row.image])
            samples = drawn(self.segmenters[steps], image, self.counts, self._samples_path(steps, sources[row.image])).samples
            samples = samples[:count]
            shown.append(pictures.Shown(image, truth, samples, fuse(samples, self.fusion), uncertainty(samples),
                                        f"{row.image}: Dice {row.dice:.3f} at {row.width} x {row.height} px"))
        title = f"{settings.model}: {count} samples of {steps} steps, fused by {self.fusion}, worst to best"
        pictures.montage(shown, title, self.out / "overview.png")


if __name__ == "__main__":
    sys.exit(main())
