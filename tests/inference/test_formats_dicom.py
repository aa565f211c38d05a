"""DICOM series in, NIfTI out: the order of the slices, where they lie, their values, and series that are none."""

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from nibabel.affines import apply_affine
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from inference import formats
from inference.__main__ import main
from inference.case import CaseError

AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
SKEW = [0.8, 0.6, 0, -0.48, 0.64, 0.6]               # two directions at right angles, of length 1
BLOCK = (slice(1, 3), slice(3, 9), slice(2, 5))      # slices, rows, columns
BOX = [2, 3, 1, 4, 8, 2]


def phantom() -> np.ndarray:
    """int16 (6 slices, 10 rows, 12 columns), the block the only values above 900."""
    values = np.random.default_rng(0).integers(1, 700, (6, 10, 12)).astype(np.int16)
    values[BLOCK] = 1000
    return values


def one(pixels, position_mm, orientation, **changes) -> FileDataset:
    """A slice of a made-up patient; `changes` are attributes, None takes one away."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID, made.StudyInstanceUID, made.PatientName, made.Modality = "1.2.3", "1.2", "Nobody^At^All", "MR"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(pixels.dtype.kind == "i")
    made.PixelSpacing, made.SliceThickness = [0.75, 0.5], 2
    made.ImagePositionPatient, made.ImageOrientationPatient = list(position_mm), orientation
    made.PixelData = pixels.tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def positions_mm(orientation, count=6, step_mm=2.0):
    normal = np.cross(orientation[:3], orientation[3:])
    return [[float(f"{mm:.6f}") for mm in np.array([-11.3, 27.9, 105.1]) + k * step_mm * normal] for k in range(count)]


def series(orientation=AXIAL, values=None, **changes) -> list[FileDataset]:
    values = phantom() if values is None else values
    return [one(pixels, place, orientation, **changes) for pixels, place in zip(values, positions_mm(orientation, len(values)))]


def save(folder, slices, boxes=None, shuffled=True, suffix=".dcm"):
    """Files of the slices, whose names say nothing of their order."""
    folder.mkdir(parents=True)
    names = np.random.default_rng(3).permutation(len(slices)) if shuffled else range(len(slices))
    for number, made in zip(names, slices):
        made.InstanceNumber = int(number) + 1
        made.save_as(folder / f"IM{number}{suffix}", enforce_file_format=True)
    if boxes is not None:
        folder.with_name(f"{folder.name}.boxes.json").write_text(json.dumps({"boxes": boxes}))
    return folder


def run(folder, *options):
    return main(["-i", str(folder / "in"), "-o", str(folder / "out"), *options])


@pytest.mark.parametrize("suffix", [".dcm", ""])
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, SKEW])
def test_masks_lie_where_another_reader_puts_the_series(tmp_path, box_filler, orientation, suffix):
    folder = save(tmp_path / "in" / "ct of b", series(orientation), [BOX], suffix=suffix)
    assert run(tmp_path) == 0 and os.listdir(tmp_path / "out") == ["ct of b.nii.gz"]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    given, made = reader.Execute(), SimpleITK.ReadImage(tmp_path / "out" / "ct of b.nii.gz")
    for of_given, of_made in ((given.GetOrigin(), made.GetOrigin()), (given.GetSpacing(), made.GetSpacing()),
                              (given.GetDirection(), made.GetDirection())):
        np.testing.assert_allclose(of_made, of_given, atol=1e-4)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(made) == 1, SimpleITK.GetArrayFromImage(given) == 1000)


def test_a_pixel_lies_where_the_standard_says(tmp_path, box_filler):
    """PS3.3, equation C.7.6.2.1-1: position + column * column spacing * rows' direction + row * row spacing * columns'."""
    save(tmp_path / "in" / "a", series(SKEW), [[4, 7, 2, 4, 7, 2]])
    assert run(tmp_path) == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    left_back_head_mm = positions_mm(SKEW)[2] + 4 * 0.5 * np.array(SKEW[:3]) + 7 * 0.75 * np.array(SKEW[3:])
    np.testing.assert_array_equal(np.argwhere(np.asarray(made.dataobj)), [[4, 7, 2]])
    np.testing.assert_allclose(apply_affine(made.affine, [4, 7, 2]), left_back_head_mm * [-1, -1, 1], atol=1e-4)
    assert made.header.get_xyzt_units()[0] == "mm" and b"Nobody" not in made.header.binaryblock


def test_the_network_sees_slices_from_feet_to_head_rows_from_front_to_back(tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (6, 10, 12)).astype(np.int16)
    case, _ = formats.read(save(tmp_path / "a", series(AXIAL, values)), needs_boxes=False)
    np.testing.assert_array_equal(case.image, values)
    assert case.spacing_xyz_mm == (0.5, 0.75, 2.0)
    feet_up = [one(pixels, (0, 0, -2.0 * k), [1, 0, 0, 0, -1, 0]) for k, pixels in enumerate(values)]
    case, _ = formats.read(save(tmp_path / "b", feet_up), needs_boxes=False)
    np.testing.assert_array_equal(case.image, values[::-1, ::-1])
    # Coronal: slices go backwards, rows down, columns to the left.
    case, _ = formats.read(save(tmp_path / "c", series(CORONAL, values)), needs_boxes=False)
    np.testing.assert_array_equal(case.image, values.transpose(1, 0, 2)[::-1])
    assert case.spacing_xyz_mm == (0.5, 2.0, 0.75)


def test_a_tilted_gantry_shears_the_affine(tmp_path, box_filler):
    sheared = [one(pixels, (0, 0.5 * k, 2.0 * k), AXIAL) for k, pixels in enumerate(phantom())]
    save(tmp_path / "in" / "a", sheared, [BOX])
    assert run(tmp_path) == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_allclose(made.affine, [[-0.5, 0, 0, 0], [0, -0.75, -0.5, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (1, 0)


def image_of(folder, window=None):
    return formats.read(folder, False, window)[0].image


def test_values_are_rescaled_slice_by_slice_and_ct_is_windowed(tmp_path):
    values = np.full((3, 1, 4), 100, np.int16)
    slices = series(AXIAL, values, Modality="CT", RescaleIntercept=-1024)
    for slope, made in zip((0, 10.64, 12.64), slices):
        made.RescaleSlope = slope
    folder = save(tmp_path / "a", slices)                    # -1024, 40 and 240 Hounsfield units
    assert image_of(folder)[:, 0, 0].tolist() == [0, 127, 255]
    assert image_of(folder, (-392, 1264))[:, 0, 0].tolist() == [0, int(1064 / 1264 * 255), 255]
    # A head CT without air is CT all the same.
    slices = series(AXIAL, np.arange(-200, 280, 40, np.int16).reshape(3, 1, 4), Modality="CT")
    assert image_of(save(tmp_path / "b", slices)).ravel().tolist() == [0, 0, 25, 51, 76, 102, 127, 153, 178, 204, 229, 255]


def test_monochrome1_is_inverted(tmp_path):
    values = np.arange(72, dtype=np.uint8).reshape(6, 3, 4)
    folder = save(tmp_path / "a", series(AXIAL, values, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(image_of(folder), 71 - values)


def test_compressed_slices_are_decoded_where_they_can_be(tmp_path):
    values = np.random.default_rng(1).integers(0, 256, (6, 10, 12)).astype(np.uint8)
    slices = series(AXIAL, values)
    for made in slices:
        made.compress(RLELossless)
    np.testing.assert_array_equal(image_of(save(tmp_path / "a", slices)), values)
    implicit = series(AXIAL, values)
    for made in implicit:
        made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    np.testing.assert_array_equal(image_of(save(tmp_path / "b", implicit)), values)


def test_one_slice_is_an_image(tmp_path, box_filler):
    save(tmp_path / "in" / "a", series(CORONAL, phantom()[1:2]), [[2, 3, 4, 8]])
    case, _ = formats.read(tmp_path / "in" / "a")
    assert case.image.shape == (10, 12) and case.boxes.tolist() == [[2, 3, 4, 8]]
    assert run(tmp_path) == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(made.dataobj)[..., 0].T, phantom()[1] == 1000)
    np.testing.assert_allclose(made.affine[:3], [[-0.5, 0, 0, 11.3], [0, 0, -2, -27.9], [0, -0.75, 0, 105.1]], rtol=1e-6)


@pytest.mark.parametrize("spacing", [{}, {"ImagerPixelSpacing": [0.14, 0.15]}])
def test_an_x_ray_lies_nowhere(tmp_path, box_filler, spacing):
    nowhere = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    save(tmp_path / "in" / "a", [one(phantom()[1], (0, 0, 0), AXIAL, **nowhere, **spacing)], [[2, 3, 4, 8]])
    assert run(tmp_path) == 0
    made = nib.load(tmp_path / "out" / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(made.dataobj)[..., 0].T, phantom()[1] == 1000)
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (0, 0)
    np.testing.assert_allclose(made.header.get_zooms(), (0.15, 0.14, 1) if spacing else (1, 1, 1))


def test_a_colour_picture(tmp_path, box_filler):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    colour = one(pixels, (0, 0, 0), AXIAL, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB")
    save(tmp_path / "in" / "a", [colour], [[2, 3, 4, 8]])
    np.testing.assert_array_equal(image_of(tmp_path / "in" / "a"), pixels)
    assert run(tmp_path) == 0
    labels = np.asarray(nib.load(tmp_path / "out" / "a.nii.gz").dataobj)
    assert labels.shape == (12, 10, 1) and labels[2:5, 3:9].all() and labels.sum() == 18


def test_the_input_folder_itself_is_a_series(tmp_path, box_filler):
    save(tmp_path / "in", series(), [BOX])
    assert run(tmp_path) == 0 and os.listdir(tmp_path / "out") == ["in.nii.gz"]


def changed(index, **changes):
    """The series, with one slice changed."""
    slices = series()
    slices[index] = one(phantom()[index], positions_mm(AXIAL)[index], AXIAL, **changes)
    return slices


def without(*indices):
    return [made for index, made in enumerate(series()) if index not in indices]


def moved(index, mm):
    x, y, z = positions_mm(AXIAL)[index]
    return changed(index, ImagePositionPatient=[x, y, z + mm])


# what is wrong: (slices, what the line says after "error: a: "); file k is slice k
BAD = {
    "a slice is missing": (without(2), "slices must be equally far apart; got IM1.dcm and IM2.dcm 4 mm apart, others 2 mm"),
    "a slice has slipped": (moved(2, 0.9), "slices must be equally far apart; got IM1.dcm and IM2.dcm 2.9 mm apart, others "
                            "2 mm"),
    "a slice is shifted sideways": (changed(3, ImagePositionPatient=[9, 27.9, 111.1]), "slices must lie in a straight row; got "
                                    "IM3.dcm 20.3 mm aside"),
    "two at one place": (moved(2, 2.0), "must have one slice at each place; got IM2.dcm and IM3.dcm at the same"),
    "two series": (changed(4, SeriesInstanceUID="1.2.4"),
                   "must hold one series, of one SeriesInstanceUID; got 2: 1.2.3 (5 files), 1.2.4 (1 files)"),
    "another direction": (changed(4, ImageOrientationPatient=CORONAL), "IM4.dcm: must have ImageOrientationPatient as IM0.dcm "
                          "has, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]; got [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]"),
    "other pixels": (changed(4, PixelSpacing=[1, 1]), "IM4.dcm: must have PixelSpacing as IM0.dcm has, [0.75, 0.5]; got [1.0, "
                     "1.0]"),
    "another size": (changed(4, Rows=9), "IM4.dcm: must have Rows as IM0.dcm has; got 9"),
    "two widths": (series(values=phantom()[:1], Columns=[12, 12]), "IM0.dcm: must have Columns, 1 numbers; got [12, 12]"),
    "no size": (changed(4, Columns=None), "IM4.dcm: must have Columns as IM0.dcm has; got None"),
    "no place": (changed(4, ImagePositionPatient=None), "IM4.dcm: must have ImagePositionPatient, 3 numbers; got None"),
    "no direction": (series(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "ImageOrientationPatient must be two directions at "
                     "right angles, of length 1; got [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]"),
    "pixels of no size": (series(PixelSpacing=[0, 1]), "PixelSpacing must be two sizes above 0; got [0.0, 1.0]"),
    "many frames": (changed(4, NumberOfFrames=30), "IM4.dcm: must hold one slice; got 30 frames"),
    "colour slices": (series(PhotometricInterpretation="RGB"), "IM0.dcm: PhotometricInterpretation must be MONOCHROME1 or "
                      "MONOCHROME2, or RGB in a single file; got RGB"),
    "no image": (series(PhotometricInterpretation=None), "IM0.dcm: PhotometricInterpretation must be MONOCHROME1 or "
                 "MONOCHROME2, or RGB in a single file; got None"),
    "fewer pixels than claimed": (series(Rows=11), "IM0.dcm: must hold whole pixels; got ValueError: "),
    "more than 2 GiB": (series(Rows=65000, Columns=65000), "voxels must take at most 2,147,483,648 bytes as float32; got 6 x "
                        "65000 x 65000, 101,400,000,000 bytes"),
    "an infinite slope": (series(RescaleSlope=1e300, RescaleIntercept=0), "must hold finite values once they are rescaled; got "
                          "some"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", BAD)
def test_one_line_and_the_others_are_done(tmp_path, capfd, box_filler, what):
    slices, rule = BAD[what]
    save(tmp_path / "in" / "a", slices, [BOX], shuffled=False)
    save(tmp_path / "in" / "z", series(), [BOX])
    assert run(tmp_path) == 1
    printed = capfd.readouterr()
    assert printed.err.startswith(f"error: a: {rule}") and printed.err.count("\n") == 1
    assert os.listdir(tmp_path / "out") == ["z.nii.gz"]


def test_what_cannot_be_decoded_here(tmp_path, monkeypatch):
    slices = series()
    for made in slices:
        made.PixelData = pydicom.encaps.encapsulate([bytes(100)])
        made["PixelData"].VR = "OB"
        made.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    monkeypatch.setattr(pydicom.pixels.decoders.base.Decoder, "is_available", False)   # as where no such decoder is installed
    rule = r"^a: IM\d.dcm: pixels must be coded in a way that can be read here; got JPEG Lossless.*: pip install python-gdcm"
    with pytest.raises(CaseError, match=rule):
        formats.read(save(tmp_path / "a", slices), False)


def test_files_that_are_broken(tmp_path):
    def refused(name, content):
        folder = save(tmp_path / name, series(), shuffled=False)
        (folder / "IM3.dcm").write_bytes(content)
        with pytest.raises(CaseError, match=rf"^{name}: IM3.dcm: (.*)$") as caught:
            formats.read(folder, False)
        shutil.rmtree(folder)
        return str(caught.value).partition("IM3.dcm: ")[2]

    whole = save(tmp_path / "whole", series(), shuffled=False) / "IM3.dcm"
    content = whole.read_bytes()
    assert refused("a", b"").startswith("must be a DICOM file; got InvalidDicomError: ")
    assert refused("b", b"no DICOM" * 99).startswith("must be a DICOM file; got InvalidDicomError: ")
    assert refused("c", content[:-5]).startswith("must hold whole pixels; got ValueError: ")
    made = series()[3]
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(whole, enforce_file_format=True)
    assert refused("d", whole.read_bytes()) == "must not be deflated"


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_a_case_error_or_harmless(tmp_path, capfd):
    rng, refused = np.random.default_rng(1), 0
    folder = save(tmp_path / "a", series(), shuffled=False)
    content = (folder / "IM3.dcm").read_bytes()
    for trial in range(100):
        data = bytearray(content)
        place, length = rng.integers(128, len(data) - (240 if trial % 5 else 0)), rng.integers(1, 9)
        if trial % 4:
            data[place : place + length] = rng.bytes(length)
        else:
            del data[place:]
        (folder / "IM3.dcm").write_bytes(data)
        try:
            case, _ = formats.read(folder, needs_boxes=False)
        except CaseError as error:
            refused += 1
            assert str(error).startswith("a: ") and "\n" not in str(error)
        else:
            assert case.image.shape == (6, 10, 12)
    assert refused > 30 and capfd.readouterr() == ("", "")
