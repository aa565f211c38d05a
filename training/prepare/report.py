"""What was made of each case, and what was dropped and why: a row a case in a CSV, and totals to read."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from evaluation import rows as table
from inference.files import write_whole
from training.prepare.objects import Dropped

DONE, LEFT_OUT, FAILED = "done", "left out", "failed"


@dataclass
class Row:
    """A case. status: done, left out (nothing to learn from) or failed. The counts are voxels, objects and slices."""

    case: str
    status: str = FAILED
    split: str = ""
    file: str = ""
    slices: int = 0
    slices_kept: int = 0
    labels_kept: str = ""
    voxels_kept: int = 0
    voxels_removed: int = 0
    small_objects: int = 0
    small_object_voxels: int = 0
    small_parts: int = 0
    small_part_voxels: int = 0
    spacing_xyz_mm: str = ""
    stored_orientation: str = ""
    why: str = ""

    def count(self, dropped: Dropped) -> None:
        """Takes the totals and the reasons of a case's labels."""
        self.voxels_removed = dropped.removed_voxels.total()
        self.small_objects, self.small_object_voxels = dropped.small_objects.total(), dropped.small_object_voxels.total()
        self.small_parts, self.small_part_voxels = dropped.small_parts.total(), dropped.small_part_voxels.total()
        self.add_why(*(f"label {name} is not wanted ({voxels:,} voxels)"
                       for name, voxels in sorted(dropped.removed_voxels.items())))
        self.add_why(*(f"label {name}: {count} small objects ({dropped.small_object_voxels[name]:,} voxels)"
                       for name, count in sorted(dropped.small_objects.items())))
        self.add_why(*(f"label {name}: {count} small slice parts ({dropped.small_part_voxels[name]:,} voxels)"
                       for name, count in sorted(dropped.small_parts.items())))

    def add_why(self, *reasons: str) -> None:
        self.why = "; ".join(filter(None, (self.why, *reasons)))


def read_rows(path: Path) -> dict[str, Row]:
    """Rows by case of an earlier run's report; none where there is no such file. Raises ValueError."""
    if not path.exists():
        return {}
    return {row.case: row for row in table.read_csv(Row, path)}


def write_rows(path: Path, rows: list[Row]) -> None:
    """Whole or not at all."""
    write_whole(path, table.to_csv(Row, rows).encode())


def summary(rows: list[Row], kept_from_before: int) -> str:
    """A few lines for people."""
    status = Counter(row.status for row in rows)
    done = [row for row in rows if row.status == DONE]
    splits = Counter(row.split for row in done)
    lines = [f"{len(rows)} cases: {status[DONE]} done ({', '.join(f'{splits[split]} {split}' for split in sorted(splits))}), "
             f"{status[LEFT_OUT]} left out, {status[FAILED]} failed; {kept_from_before} are of an earlier run"]
    if done:
        total = {name: sum(getattr(row, name) for row in done) for name in (
            "slices", "slices_kept", "voxels_kept", "voxels_removed", "small_objects", "small_object_voxels",
            "small_parts", "small_part_voxels")}
        lines += [
            f"slices without labels dropped: {total['slices'] - total['slices_kept']:,} of {total['slices']:,}",
            f"labels not wanted: {total['voxels_removed']:,} voxels",
            f"small objects dropped: {total['small_objects']:,} ({total['small_object_voxels']:,} voxels)",
            f"small slice parts dropped: {total['small_parts']:,} ({total['small_part_voxels']:,} voxels)",
            f"labelled voxels kept: {total['voxels_kept']:,}",
        ]
    return "\n".join(lines)
