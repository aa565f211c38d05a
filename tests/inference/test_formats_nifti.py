"""NIfTI in and out: whichever way the axes lie, masks come out on the input's own grid and at the same place in the world."""

import gzip
import itertools
import json
import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.affines import apply_affine

from inference import formats
from inference.__main__ import main
from inference.case import CaseError

SHAPE_IJK = (12, 10, 7)
BLOCK = (slice(2, 5), slice(3, 9), slice(1, 3))      # bright voxels, nothing about them is symmetric
BOX = [2, 3, 1, 4, 8, 2]                             # the same, as a user reads it off a viewer: bounds inclusive
SIZES_MM = (0.5, 0.75, 2.0)
POINTS_TO = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
PLACES = ("sform_code", "qform_code", "pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
          "srow_x", "srow_y", "srow_z", "xyzt_units")


def affine_of(codes: str, tilt_degrees: float = 0) -> np.ndarray:
    """Columns: where i, j and k point in the world of right, front and head; then all turned about a skew axis."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([POINTS_TO[code] for code in codes]).T * SIZES_MM
    affine[:3, 3] = -11.3, 27.9, 105.1
    axis, angle = np.array([1, 2, 2]) / 3, np.radians(tilt_degrees)
    cross = np.cross(np.eye(3), axis)                # Rodrigues' formula
    affine[:3] = (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) @ affine[:3]
    return affine


def phantom() -> np.ndarray:
    """int16: MR-like values, the block the only ones above 900."""
    values = np.random.default_rng(0).integers(1, 700, SHAPE_IJK).astype(np.int16)
    values[BLOCK] = 1000
    return values


def save(folder, name, values, affine, boxes=None, image_class=nib.Nifti1Image, **header):
    folder.mkdir(parents=True, exist_ok=True)
    image = image_class(values, affine)
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, folder / name)
    if boxes is not None:
        (folder / f"{name.removesuffix('.gz').removesuffix('.nii')}.boxes.json").write_text(json.dumps({"boxes": boxes}))
    return folder / name


def bright(case):
    """A segmenter that looks at the image: what is bright inside a box has its label."""
    segs = np.zeros(case.image.shape[: case.ndim], np.uint8)
    for label, box in enumerate(case.boxes, 1):
        low, high = box[: case.ndim][::-1], box[case.ndim :][::-1] + 1
        inside = tuple(map(slice, low, high))
        segs[inside][case.image[inside] == 255] = label
    return segs


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on tmp_path/in with the segmenter `bright`; returns its exit status."""
    def command(*options, segmenter=bright):
        monkeypatch.setattr("inference.segment.open_segmenter", lambda *_: segmenter, raising=False)
        return main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *options])
    return command


ORIENTATIONS = [("RAS", 0), ("LPS", 0), ("LAS", 0), ("PIR", 0), ("SAR", 0), ("IPL", 0), ("RAS", 17), ("PIR", 31), ("ASL", 40)]


@pytest.mark.parametrize("codes, tilt_degrees", ORIENTATIONS)
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_masks_come_out_where_the_object_is_in_the_world(tmp_path, run, codes, tilt_degrees, image_class):
    path = save(tmp_path / "in", "a.nii.gz", phantom(), affine_of(codes, tilt_degrees), [BOX], image_class,
                sform_code=1, descrip=b"a name")
    assert run() == 0 and os.listdir(tmp_path / "out") == ["a.nii.gz"]
    given, made = nib.load(path), nib.load(tmp_path / "out" / "a.nii.gz")
    assert type(made) is image_class and made.get_data_dtype() == np.uint8 and made.shape == given.shape
    assert made.affine.tobytes() == given.affine.tobytes()
    for field in PLACES:
        assert made.header[field].tobytes() == given.header[field].tobytes(), field
    assert made.header["descrip"] == b"" and made.header.get_intent()[0] == "label"
    # All voxels of the mask, by the affine of the masks, against all voxels of the block, by that of the image.
    block = np.zeros(SHAPE_IJK, bool)
    block[BLOCK] = True
    labels = np.asarray(made.dataobj)
    assert np.unique(labels).tolist() == [0, 1]
    np.testing.assert_array_equal(apply_affine(made.affine, np.argwhere(labels)),
                                  apply_affine(given.affine, np.argwhere(block)))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_another_reader_finds_the_masks_at_the_same_place(tmp_path, run, codes):
    path = save(tmp_path / "in", "a.nii", phantom(), affine_of(codes, 25), [BOX], qform_code=1, sform_code=1)
    assert run() == 0
    given, made = SimpleITK.ReadImage(path), SimpleITK.ReadImage(tmp_path / "out" / "a.nii.gz")
    assert (given.GetSize(), given.GetOrigin(), given.GetSpacing(), given.GetDirection()) == (
        made.GetSize(), made.GetOrigin(), made.GetSpacing(), made.GetDirection())
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(made) == 1, SimpleITK.GetArrayFromImage(given) == 1000)


@pytest.mark.parametrize("codes, tilt_degrees", ORIENTATIONS)
def test_the_network_sees_every_file_the_same_way(tmp_path, codes, tilt_degrees):
    """Slices from the feet to the head, rows from front to back, columns from right to left, by nibabel's own means."""
    values = np.random.default_rng(1).integers(0, 256, SHAPE_IJK).astype(np.uint8)
    path = save(tmp_path, "a.nii.gz", values, affine_of(codes, tilt_degrees))
    case, _ = formats.read(path, needs_boxes=False)
    right_front_head = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(case.image, np.asarray(right_front_head.dataobj)[::-1, ::-1].transpose(2, 1, 0))
    np.testing.assert_allclose(case.spacing_xyz_mm, right_front_head.header.get_zooms())
    assert case.image.dtype == np.uint8 and case.boxes is None and case.ndim == 3 and case.name == "a"


def test_all_48_ways_to_lie(tmp_path, run):
    ways = ["".join(axes) for axes in itertools.product("RLAPSI", repeat=3) if len({"RLAPSI".index(a) // 2 for a in axes}) == 3]
    assert len(ways) == 48
    for index, codes in enumerate(ways):
        save(tmp_path / "in", f"{index}.nii", phantom(), affine_of(codes), [BOX])
    assert run() == 0
    for index in range(48):
        labels = np.asarray(nib.load(tmp_path / "out" / f"{index}.nii.gz").dataobj)
        assert labels[BLOCK].all() and labels.sum() == labels[BLOCK].size


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LSA", "PSR", "AIL", "RSP"])
@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (12, 10, 1, 1)])
def test_a_slice_is_an_image_with_boxes_of_four_numbers(tmp_path, run, codes, shape):
    values = phantom()[:, :, 1].reshape(shape)
    path = save(tmp_path / "in", "a.nii.gz", values, affine_of(codes), [[2, 3, 4, 8]])
    case, _ = formats.read(path)
    assert case.ndim == 2 and sorted(case.image.shape) == [10, 12]
    assert run() == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    assert made.shape == shape and made.affine.tobytes() == nib.load(path).affine.tobytes()
    np.testing.assert_array_equal(np.asarray(made.dataobj), values == 1000)


def test_slices_are_shown_with_the_head_or_the_front_above(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(4, 3, 1)
    shown = {"LPS": values[:, :, 0].T,                 # axial as it should be
             "RAS": values[::-1, ::-1, 0].T,
             "LSA": values[:, ::-1, 0].T,              # coronal, stored from the feet up
             "SLP": values[::-1, :, 0],                # coronal, the other axis first
             "AIL": values[::-1, :, 0].T}              # sagittal: the patient's front on the left
    for codes, expected in shown.items():
        case, _ = formats.read(save(tmp_path, f"{codes}.nii", values, affine_of(codes)), needs_boxes=False)
        assert case.image.tolist() == expected.tolist(), codes


def test_a_last_axis_of_one_is_kept(tmp_path, run):
    path = save(tmp_path / "in", "a.nii.gz", phantom()[..., None], affine_of("RAS"), [BOX])
    assert run() == 0 and nib.load(tmp_path / "out" / "a.nii.gz").shape == nib.load(path).shape == (*SHAPE_IJK, 1)


def test_without_codes_the_axes_are_taken_as_stored(tmp_path, run):
    path = save(tmp_path / "in", "a.nii.gz", phantom(), None, [BOX])
    case, _ = formats.read(path)
    np.testing.assert_array_equal(case.image == 255, phantom().transpose(2, 1, 0) == 1000)
    assert case.boxes.tolist() == [BOX]
    assert run() == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (0, 0)
    np.testing.assert_array_equal(np.asarray(made.dataobj), phantom() == 1000)


def test_qform_alone_places_a_volume(tmp_path, run):
    image = nib.Nifti1Image(phantom(), None)
    image.set_qform(affine_of("PIR", 20), 3)
    image.set_sform(None, 0)
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "a.nii")
    (tmp_path / "in" / "a.boxes.json").write_text(json.dumps({"boxes": [BOX]}))
    assert run() == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    assert made.affine.tobytes() == nib.load(tmp_path / "in" / "a.nii").affine.tobytes()
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (0, 3)
    np.testing.assert_array_equal(np.asarray(made.dataobj), phantom() == 1000)


def test_300_objects_do_not_wrap(tmp_path, run, box_filler):
    boxes = [[i % 12, i // 12 % 10, i // 120, i % 12, i // 12 % 10, i // 120] for i in range(300)]
    save(tmp_path / "in", "a.nii", phantom(), affine_of("RAS"), boxes)
    assert main(["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    labels = np.asarray(nib.load(tmp_path / "out" / "a.nii.gz").dataobj)
    assert labels.dtype == np.uint16
    assert [labels[box[0], box[1], box[2]] for box in boxes] == list(range(1, 301))


def test_twice_the_same_bytes(tmp_path, run):
    save(tmp_path / "in", "a.nii", phantom(), affine_of("RAS"), [BOX])
    made = tmp_path / "out" / "a.nii.gz"
    first = [made.read_bytes() for _ in range(2) if run() == 0]
    assert len(first) == 2 and first[0] == first[1]


def test_big_endian_and_upper_case(tmp_path, run):
    image = nib.Nifti1Image(phantom(), affine_of("RAS"), nib.Nifti1Header(endianness=">"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "A.NII.GZ").write_bytes(gzip.compress(image.to_bytes()))
    (tmp_path / "in" / "A.boxes.json").write_text(json.dumps({"boxes": [BOX]}))
    assert run() == 0
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "out" / "A.nii.gz").dataobj), phantom() == 1000)


def test_grey_values(tmp_path):
    """Window by hand; whole numbers 0..255 as they are; CT by its air; percentiles of what is above 0."""
    def grey(values, window=None):
        path = save(tmp_path, "a.nii", values.reshape(-1, 1, 1), affine_of("LPS"))
        return formats.read(path, False, window)[0].image[0].tolist()

    assert grey(np.array([0, 7, 255], np.int16)) == [0, 7, 255]
    assert grey(np.array([0, 7, 200], np.float32)) == [0, 7, 200]
    hounsfield = np.array([-1000, -160, 40, 140, 240, 3000], np.int16)
    assert grey(hounsfield) == [0, 0, 127, 191, 255, 255]
    assert grey(hounsfield, (-600, 1500)) == [int((np.clip(v, -1000, 150) + 1000) / 1150 * 255) for v in hounsfield]
    assert grey(np.array([0, 7, 255], np.int16), (128, 254)) == [0, 6, 255]     # clipped to 1..255, then 1 is black
    # 0.5 % and 99.5 % of 100..300 are 101 and 299.
    ramp = np.concatenate([[-5, 0], np.arange(100, 301)]).astype(np.int16)
    stretched = grey(ramp)
    assert stretched[:4] == [0, 0, 0, 0] and stretched[-2:] == [255, 255]
    assert stretched[102] == int((200 - 101) / (299 - 101) * 255)


def test_scaled_values_are_those_of_the_scanner(tmp_path):
    raw = np.array([0, 1064, 1264], np.int16).reshape(3, 1, 1)
    data = bytearray(nib.Nifti1Image(raw, affine_of("LPS")).to_bytes())
    data[112:120] = np.array([1, -1024], "<f4").tobytes()       # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(data)
    assert nib.load(tmp_path / "a.nii").get_fdata()[:, 0, 0].tolist() == [-1024, 40, 240]
    assert formats.read(tmp_path / "a.nii", False)[0].image[0].tolist() == [0, 127, 255]


def header(shape, dtype=np.uint8, **fields) -> bytes:
    made = nib.Nifti1Header()
    made.set_data_shape(shape)
    made.set_data_dtype(dtype)
    for field, value in fields.items():
        made[field] = value
    made["magic"], made["vox_offset"] = b"n+1", 352
    return made.binaryblock + bytes(4)


WHOLE = nib.Nifti1Image(np.random.default_rng(0).integers(0, 999, SHAPE_IJK).astype(np.int16), affine_of("RAS")).to_bytes()
NAN = nib.Nifti1Image(np.array([[[1, np.nan]]], np.float32), affine_of("RAS")).to_bytes()
BAD = {
    "empty": ("a.nii", b"", "must be a NIfTI file; got "),
    "no NIfTI": ("a.nii", b"no NIfTI" * 99, "must be a NIfTI file; got "),
    "no gzip": ("a.nii.gz", WHOLE, "must be a NIfTI file; got "),
    "half a header": ("a.nii", WHOLE[:170], "must be a NIfTI file; got "),
    "half the voxels": ("a.nii", WHOLE[:1000], "must be a whole file; got "),
    "half a gzip": ("a.nii.gz", gzip.compress(WHOLE)[:-700], "must be a whole file; got "),
    "32000 x 32000 x 32000": ("a.nii", header((32000,) * 3), "voxels must take at most 2,147,483,648 bytes; got (32000, 32000, "
                              "32000) of uint8, 32,768,000,000,000 bytes"),
    "1000 x 1000 x 1000 of scaled bytes": ("a.nii", header((1000,) * 3, scl_slope=2), "voxels must take at most 2,147,483,648 "
                                           "bytes; got (1000, 1000, 1000) of uint8, 4,000,000,000 bytes"),
    "over time": ("a.nii", header((2, 2, 2, 3)), "must be one volume of three axes, or a slice of two; got (2, 2, 2, 3)"),
    "no voxel": ("a.nii", header((2, 0, 2)), "must be one volume of three axes, or a slice of two; got (2, 0, 2)"),
    "colours": ("a.nii", header((2, 2, 2), np.dtype([(c, "u1") for c in "RGB"])), "must hold real numbers; got RGB"),
    "complex": ("a.nii", header((2, 2, 2), np.complex64), "must hold real numbers; got complex64"),
    "NaN": ("a.nii", NAN, "must hold finite values; got 1 that are not"),
    "no direction": ("a.nii", header((2, 2, 2), sform_code=1, srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0]) + bytes(8),
                     "must say how its axes lie; got an affine of rank below 3"),
    "3 wide": ("a.nii", nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)).to_bytes(),
               "a volume without boxes must not be 3 wide, which would be RGB; got (5, 4, 3)"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", BAD)
def test_one_line_and_the_others_are_done(tmp_path, capfd, run, what):
    name, data, rule = BAD[what]

    def whole(case):
        return np.ones(case.image.shape, np.uint8)

    whole.needs_boxes = False
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "z.nii").write_bytes(WHOLE)
    assert run(segmenter=whole) == 1
    printed = capfd.readouterr()
    assert printed.err.startswith(f"error: {name}: {rule}") and printed.err.count("\n") == 1
    assert os.listdir(tmp_path / "out") == ["z.nii.gz"]


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_a_case_error_or_harmless(tmp_path, capfd):
    rng = np.random.default_rng(1)
    refused = 0
    for trial in range(300):
        data = bytearray(gzip.compress(WHOLE, 1) if trial % 2 else WHOLE)
        place, length = rng.integers(400 if trial % 3 else len(data)), rng.integers(1, 9)
        if trial % 4:
            data[place : place + length] = rng.bytes(length)
        else:
            del data[place:]
        path = tmp_path / f"a.nii{'.gz' if trial % 2 else ''}"
        path.write_bytes(data)
        try:
            case, write = formats.read(path, needs_boxes=False)
        except CaseError as error:
            refused += 1
            assert str(error).startswith(f"{path.name}: ") and "\n" not in str(error)
        else:
            write(tmp_path / "out.nii.gz", np.zeros(case.image.shape[: case.ndim], np.uint8))
    assert 100 < refused < 300 and capfd.readouterr() == ("", "")


def test_a_full_disk_leaves_nothing(tmp_path, run, monkeypatch, capsys):
    def full(_):
        raise OSError(28, "No space left on device")

    save(tmp_path / "in", "a.nii", phantom(), affine_of("RAS"), [BOX])
    monkeypatch.setattr(os, "fsync", full)
    assert run() == 1 and os.listdir(tmp_path / "out") == []
    assert capsys.readouterr().err == f"error: a.nii.gz: cannot be written to {tmp_path / 'out'}; got No space left on device\n"
