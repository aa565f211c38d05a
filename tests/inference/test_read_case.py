"""What `read_case` makes of good files, in all the forms that the contract tolerates."""

import zipfile

import numpy as np
import pytest

from inference.case import Case, CaseError, read_case

BOXES = np.array([[3, 4, 10, 12], [0, 0, 29, 19]])
BOXES_3D = np.array([[2, 3, 1, 9, 8, 4]])


def test_grey_image(write_case, image):
    case = read_case(write_case("2DBox_CT_a b..1.npz", imgs=image, boxes=BOXES))
    assert case.name == "2DBox_CT_a b..1"
    assert case.image.dtype == np.uint8 and np.array_equal(case.image, image)
    assert case.boxes.dtype == np.int32 and np.array_equal(case.boxes, BOXES)
    assert case.ndim == 2 and case.spacing_xyz_mm is None


def test_one_channel_becomes_grey(write_case, image):
    assert np.array_equal(read_case(write_case(imgs=image[..., None], boxes=BOXES)).image, image)


def test_rgb_stays_and_alpha_is_dropped(write_case, image):
    rgba = np.stack([image, image // 2, image // 3, np.full_like(image, 7)], axis=-1)
    assert np.array_equal(read_case(write_case(imgs=rgba[..., :3], boxes=BOXES)).image, rgba[..., :3])
    assert np.array_equal(read_case(write_case(imgs=rgba, boxes=BOXES)).image, rgba[..., :3])


def test_volume_with_spacing(write_case):
    volume = np.arange(6 * 10 * 11, dtype=np.uint8).reshape(6, 10, 11)
    spacing = np.array([0.8, 0.7, 5.0])
    case = read_case(write_case("3DBox_MR_a.npz", imgs=volume, boxes=BOXES_3D, spacing=spacing))
    assert np.array_equal(case.image, volume) and np.array_equal(case.boxes, BOXES_3D)
    assert case.ndim == 3 and case.spacing_xyz_mm == (0.8, 0.7, 5.0)
    assert read_case(write_case("3DBox_MR_a.npz", imgs=volume, boxes=BOXES_3D)).spacing_xyz_mm is None


def test_rgb_volume_becomes_luma(write_case):
    # BT.601: 0.299 R + 0.587 G + 0.114 B, so pure red 255 is 76.245, green 149.685, blue 29.07; grey keeps its value.
    volume = np.zeros((5, 9, 10, 3), np.uint8)
    volume[0, 0, 0], volume[1, 0, 0], volume[2, 0, 0], volume[3, 0, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255), [77] * 3
    volume[4, 0, 0] = 255
    case = read_case(write_case("3DBox_MR_a.npz", imgs=volume, boxes=BOXES_3D))
    assert case.image.shape == (5, 9, 10) and case.image.dtype == np.uint8
    assert case.image[:, 0, 0].tolist() == [76, 150, 29, 77, 255]


def test_without_prefix_the_boxes_tell_the_dimension(write_case):
    stack = np.zeros((12, 12, 3), np.uint8)  # an RGB image, or a volume of three columns
    assert read_case(write_case("a.npz", imgs=stack, boxes=np.array([[1, 1, 4, 4]]))).ndim == 2
    assert read_case(write_case("a.npz", imgs=stack, boxes=np.array([[0, 1, 1, 2, 4, 4]]))).ndim == 3


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4"])
def test_every_number_type_becomes_uint8(write_case, dtype):
    values = np.array([[0, 1, 127], [128, 254, 255]])
    case = read_case(write_case(imgs=values.astype(dtype), boxes=np.array([[0, 0, 2, 1]])))
    assert case.image.dtype == np.uint8 and case.image.tolist() == values.tolist()


def test_fortran_order_keeps_its_axes(write_case, image):
    case = read_case(write_case(imgs=np.asfortranarray(image), boxes=BOXES))
    assert np.array_equal(case.image, image) and case.image.flags.c_contiguous


def test_float_image_is_rounded(write_case):
    case = read_case(write_case(imgs=np.array([[0.4, 0.6], [199.6, 254.9]]), boxes=np.array([[0, 0, 1, 1]])))
    assert case.image.tolist() == [[0, 1], [200, 255]]


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", "u8", "f4", "f8"])
def test_every_number_type_of_boxes(write_case, image, dtype):
    case = read_case(write_case(imgs=image, boxes=BOXES.astype(dtype)))
    assert case.boxes.dtype == np.int32 and np.array_equal(case.boxes, BOXES)


def test_float_boxes_are_rounded_outwards(write_case, image):
    case = read_case(write_case(imgs=image, boxes=np.array([[3.9, 4.0, 10.1, 12.0], [-2.5, 0.2, 4.0, 5.5]])))
    assert case.boxes.tolist() == [[3, 4, 11, 12], [-3, 0, 4, 6]]


def test_boxes_stay_as_given(write_case, image):
    boxes = np.array([[-5, -7, 40, 50], [29, 19, 29, 19], [0, 0, 0, 0], [29, 0, 100, 5]])
    assert np.array_equal(read_case(write_case(imgs=image, boxes=boxes)).boxes, boxes)


def test_uncompressed_npz_and_extra_arrays(tmp_path, image):
    np.savez(tmp_path / "2Da.npz", imgs=image, boxes=BOXES, gts=image, names=np.array(["liver"]))
    assert np.array_equal(read_case(tmp_path / "2Da.npz").image, image)


def test_same_numbers_as_numpy_reads(write_case):
    rng = np.random.default_rng(0)
    path = write_case("3DBox_CT_a.npz", imgs=rng.integers(0, 256, (7, 50, 60), np.uint8),
                      boxes=np.array([[1, 2, 3, 30, 40, 5]]), spacing=np.array([1, 1, 2.5], np.float32))
    case, loaded = read_case(path), np.load(path)
    assert np.array_equal(case.image, loaded["imgs"]) and np.array_equal(case.boxes, loaded["boxes"])
    assert case.spacing_xyz_mm == tuple(loaded["spacing"])


def test_case_is_frozen(image):
    with pytest.raises(AttributeError):
        Case("a", image, BOXES.astype(np.int32)).name = "b"


def test_reading_takes_no_more_memory_than_the_array(write_case, monkeypatch):
    """A claim beyond the limit is refused from the header: the member's data is never read."""
    path = write_case(imgs=np.zeros((8, 8), np.uint8), boxes=BOXES)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("boxes.npy", _npy(b"{'descr': '<i4', 'fortran_order': False, 'shape': (1, 4), }", bytes(16)))
        archive.writestr("imgs.npy", _npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (70000, 70000), }"))
    whole = np.lib.format.read_array

    def only_boxes(stream, **options):
        assert stream.name == "boxes.npy"
        return whole(stream, **options)

    monkeypatch.setattr(np.lib.format, "read_array", only_boxes)
    with pytest.raises(CaseError, match=r"imgs must take at most 2,147,483,648 bytes; got \(70000, 70000\) of uint8"):
        read_case(path)


def _npy(header: bytes, data: bytes = b"") -> bytes:
    """An npy file by the letter of its format (numpy.lib.format, version 1.0)."""
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data
