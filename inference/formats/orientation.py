"""How a stored volume lies: its axes are turned and mirrored to one orientation, and its labels back. Nothing is resampled."""

import numpy as np
from nibabel import orientations

# Axes of an image are z, y, x; this is where x, y and z point: to the patient's left, back and head. It is how axial
# slices are shown: the first row is the patient's front, the first column the right side. ITK's identity direction.
VOLUME = ("L", "P", "S")
# Of a single slice, which is shown with the head above.
SLICE = ("L", "P", "I")


def placed_affine(opened) -> np.ndarray | None:
    """The affine of a NIfTI file that nibabel has opened; None without either of its codes, where nibabel would guess."""
    coded = int(opened.header["qform_code"]) or int(opened.header["sform_code"])
    return opened.affine if coded else None


class Turn:
    """From an array with axes i, j, k to one with axes z, y, x that point where `orientation` says, and back.

    affine  (4, 4), voxel i, j, k to mm in nibabel's world of right, front and head; an axis goes to the direction that it is
            nearest to. None where nobody knows: then i, j, k are x, y, z.
    shape   (ni, nj, nk)

    Raises ValueError where the affine does not say where three axes point.
    """

    def __init__(self, affine: np.ndarray | None, shape: tuple[int, int, int], orientation: tuple[str, str, str] = VOLUME):
        wanted = stored = orientations.axcodes2ornt(orientation)
        if affine is not None:
            stored = orientations.io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
        if np.isnan(stored).any():
            raise ValueError("must say how its axes lie; got an affine of rank below 3")
        self._there = orientations.ornt_transform(stored, wanted)
        self._back = orientations.ornt_transform(wanted, stored)
        self._shape = shape
        self.axes = tuple(int(axis) for axis in self._there[:, 0])  # which of x, y, z each of i, j, k becomes

    def zyx(self, stored: np.ndarray) -> np.ndarray:
        """(ni, nj, nk) to (D, H, W), contiguous."""
        return np.ascontiguousarray(orientations.apply_orientation(stored, self._there).transpose(2, 1, 0))

    def ijk(self, volume_zyx: np.ndarray) -> np.ndarray:
        """(D, H, W) back to (ni, nj, nk)."""
        return orientations.apply_orientation(volume_zyx.transpose(2, 1, 0), self._back)

    def xyz(self, per_axis: tuple) -> tuple:
        """What belongs to i, j and k, such as spacings, in the order x, y, z."""
        return tuple(per_axis[axis] for axis in np.argsort(self.axes))

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 6), inclusive, of i, j, k: the same voxels as x_min, y_min, z_min, x_max, y_max, z_max."""
        turned = np.empty_like(boxes)
        for axis, (target, length, sign) in enumerate(zip(self.axes, self._shape, self._there[:, 1])):
            ends = boxes[:, [axis, axis + 3]]
            turned[:, [target, target + 3]] = ends if sign > 0 else length - 1 - ends[:, ::-1]
        return turned
