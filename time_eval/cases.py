"""python -m time_eval.cases DIR: six made cases to time, from one small box to a volume with five objects; or three huge ones.

They hold noise and bright ellipses: run time does not depend on what a picture shows, and anybody can make them again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

# name: (shape of imgs, objects, half sizes in array order)
CASES = {
    "2DBox_US_a": ((512, 512, 3), 1, (60, 80)),
    "2DBox_Dermoscopy_b": ((1024, 1024, 3), 5, (90, 110)),
    "2DBox_XRay_c": ((2500, 3000, 3), 2, (500, 400)),
    "2DBox_Microscopy_d": ((800, 800, 3), 150, (14, 17)),
    "3DBox_CT_e": ((100, 512, 512), 5, (20, 45, 55)),
    "3DBox_MR_f": ((30, 256, 256), 3, (7, 30, 40)),
}

# What a container of 8 GB has to do without swapping.
LIMITS = {
    "2DBox_Microscopy_huge": ((12000, 12000, 3), 3, (1500, 1200)),
    "2DBox_Microscopy_many": ((4000, 4000, 3), 2000, (14, 17)),
    "3DBox_CT_huge": ((600, 512, 512), 20, (60, 45, 55)),
}


def make_case(shape: tuple[int, ...], objects: int, half: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """{"imgs": uint8 of `shape`, "boxes": int32 (objects, 2 * rank), x first, inclusive[, "spacing": (x, y, z) mm]}.

    half: half the extent of an object along y, x or z, y, x, in px or voxel.
    """
    rng = np.random.default_rng(seed)
    rank = len(half)
    spatial = shape[:rank]
    imgs = rng.integers(20, 60, spatial, np.uint8)
    boxes = []
    for _ in range(objects):
        centre = [rng.integers(h + 2, size - h - 2) for h, size in zip(half, spatial)]
        where = tuple(slice(c - h, c + h + 1) for c, h in zip(centre, half))
        grid = np.meshgrid(*[np.linspace(-1, 1, 2 * h + 1) for h in half], indexing="ij")
        part = imgs[where]
        part[(sum(axis**2 for axis in grid) <= 1) & (part < 110)] += 90
        boxes.append([s.start for s in where[::-1]] + [s.stop - 1 for s in where[::-1]])
    if len(shape) > rank:
        imgs = np.repeat(imgs[..., None], shape[-1], axis=-1)
    case = {"imgs": imgs, "boxes": np.array(boxes, np.int32)}
    return case if rank == 2 else {**case, "spacing": np.array([0.8, 0.8, 2.5], np.float32)}


def write_case(name: str, folder: Path) -> Path:
    """Writes one of CASES or LIMITS to `folder` and returns its path; the same bytes every time."""
    path, known = folder / f"{name}.npz", CASES | LIMITS
    np.savez_compressed(path, **make_case(*known[name], seed=list(known).index(name)))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m time_eval.cases", description=__doc__.split(": ", 1)[1])
    parser.add_argument("folder", type=Path, help="made where missing")
    parser.add_argument("--limits", action="store_true", help="the three huge ones instead")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, (shape, objects, _) in (LIMITS if arguments.limits else CASES).items():
        print(write_case(name, arguments.folder), shape, f"{objects} boxes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
