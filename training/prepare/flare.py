"""The layout of FLARE22: images/<case>_0000.nii.gz and labels/<case>.nii.gz.

Labels: 1 liver, 2 right kidney, 3 spleen, 4 pancreas, 5 aorta, 6 inferior vena cava, 7 and 8 adrenal glands, 9 gallbladder,
10 oesophagus, 11 stomach, 12 duodenum, 13 left kidney. MedSAM's recipe drops the duodenum and trains on the first 40 cases.
"""

from pathlib import Path

from training.prepare.cases import TRAINING, VALIDATION, Source

REMOVED = (12,)
TRAINING_CASES = 40
_CHANNEL = "_0000"
_SUFFIXES = (".nii.gz", ".nii")


def find_cases(images: Path, labels: Path, dataset: str, training_cases: int) -> tuple[list[Source], dict[str, str]]:
    """(cases in the order of their names, what is wrong with cases that lack a file). The first training_cases are for
    training, the others for validation; a case without one of its files has its place in the order all the same.

    Raises ValueError where there is no case at all, or two files for one.
    """
    image_of, labels_of = _by_case(images, _CHANNEL), _by_case(labels, "")
    sources, problems = [], {}
    for index, name in enumerate(sorted(image_of | labels_of)):
        case = name.removeprefix(f"{dataset}_") or name
        if name not in image_of:
            problems[case] = f"must have an image {name}{_CHANNEL}.nii.gz in {images.name}; got none"
        elif name not in labels_of:
            problems[case] = f"must have labels {name}.nii.gz in {labels.name}; got none"
        else:
            split = TRAINING if index < training_cases else VALIDATION
            sources.append(Source(case, image_of[name], labels_of[name], split))
    if not sources and not problems:
        raise ValueError(f"--images must hold files *.nii.gz or *.nii; got none in {images}")
    return sources, problems


def _by_case(folder: Path, ending: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
        if suffix and not path.name.startswith("."):
            case = path.name.removesuffix(suffix).removesuffix(ending)
            if case in found:
                raise ValueError(f"{folder} must have one file of {case}; got {found[case].name} and {path.name}")
            found[case] = path
    return found
