"""python -m inference.precompile: OpenVINO compiles `roi` and `roi-int8` for this kind of processor and keeps the result in the
weights folder. Later runs start sooner. Image builds and tools/setup.sh run it.

Exit status: 0 done, 1 the folder cannot be written, 2 the model cannot run here.
"""

import shutil
import sys

import numpy as np

from inference.case import Case
from inference.engines import EngineError
from inference.engines.compiled import FOLDER, compiled_folder
from inference.segment import ROI, open_segmenter
from inference.weights import WeightsError, weights_folder

SIDES_PX = (30, 100, 300, 500)
"""Of boxes, so that `roi2d` takes every shape of crop that it knows."""


def cases() -> list[Case]:
    """Images of few and of many boxes, and a volume, that make `roi` compile all of its networks' shapes."""
    boxes = [[10, 10, 9 + width, 9 + height] for width in SIDES_PX for height in SIDES_PX]
    image = np.zeros((520, 520, 3), np.uint8)
    return [Case("few", image, np.array(boxes, np.int32)), Case("many", image, np.array(boxes * 2, np.int32)),
            Case("volume", np.zeros((40, 64, 64), np.uint8), np.array([[10, 10, 2, 50, 50, 37]], np.int32))]


def main() -> int:
    """Run the command line; returns the exit status."""
    folder = compiled_folder(weights_folder())
    try:
        shutil.rmtree(folder.parent, ignore_errors=True)  # of other weights, or of a machine that the folder was copied from
        folder.mkdir(parents=True)
        for model in ROI:
            segment = open_segmenter(model)
            for case in cases():
                segment(case)
    except (WeightsError, EngineError) as error:
        print(f"inference.precompile: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"inference.precompile: {folder} must be a folder that can be written; got {error.strerror}: models are compiled "
              "at each start", file=sys.stderr)
        return 1
    print(f"{len(list(folder.glob('*.blob')))} networks compiled to {FOLDER}/{folder.name} in the weights folder")
    return 0


if __name__ == "__main__":
    sys.exit(main())
