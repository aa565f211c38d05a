"""From the labels of a file to the classes of a model."""

from collections.abc import Sequence

import numpy as np

ABSENT = -1


def labels_of_case(present: Sequence[int], labels: Sequence[int],
                   gapless: Sequence[Sequence[int]] = ()) -> tuple[int, ...] | None:
    """The label that each class has in a case, ABSENT for a class that the case lacks; None where nobody can tell.

    present: labels that occur in it, ascending, without background. labels: those of the classes, in their order. gapless:
    for data whose labels were renumbered 1..N without gaps, case by case: the labels before, ascending, one list for each N
    of which it is known. A heart of two labels, one around the other, has lost its right ventricle: [2, 3].
    """
    if not gapless:
        return tuple(labels)
    before = next((list(known) for known in gapless if len(known) == len(present)), None)
    if before is None:
        return None
    return tuple(int(present[before.index(label)]) if label in before else ABSENT for label in labels)


def to_classes(gts: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """uint8, shape of gts: i + 1 where gts has labels[i], 0 elsewhere."""
    classes = np.zeros(gts.shape, np.uint8)
    for number, label in enumerate(labels, 1):
        classes[gts == label] = number
    return classes


def check_labels(labels: Sequence[int], gapless: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Raises ValueError unless there is a label, 1 or more, for each class, and gapless is as `labels_of_case` has it."""
    if len(labels) != len(classes) or len(set(labels)) != len(labels) or min(labels) < 1:
        raise ValueError(f"labels must be {len(classes)} different numbers from 1, those of {', '.join(classes)}; "
                         f"got {list(labels)}")
    lengths = [len(known) for known in gapless]
    if len(set(lengths)) != len(lengths) or any(list(known) != sorted(set(known)) or not known for known in gapless):
        raise ValueError("gapless must be lists of ascending labels, one for each number of labels in a case; "
                         f"got {[list(known) for known in gapless]}")
