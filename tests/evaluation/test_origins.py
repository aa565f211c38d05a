"""Modality and dataset of a case, by its name and by a table."""

import csv

import pytest

from evaluation.origins import Origin, origin_of, read_table


@pytest.mark.parametrize("name, modality, dataset", [
    ("2DBox_CT_covid_ct_infnet_multi_Train-Imgs-58", "CT", "covid_ct_infnet_multi"),
    ("3DBox_MR_ibsi_sts_MR_T1_STS-004-MR-T1", "MR", "ibsi_sts_MR_T1"),
    ("2D_X-Ray_knee_17", "X-Ray", "knee"),
    ("2DBox_Mammography_demo", "Mammography", "-"),
    ("2DBox_CT", "CT", "-"),
    ("2DBox_", "-", "-"),
    ("holiday_photo_1", "-", "-"),
    ("case7", "-", "-"),
])
def test_names(name, modality, dataset):
    assert origin_of(name, {}) == Origin(modality, dataset)


def test_a_table_tells_cases_with_underscores(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("split,modality,dataset,case,dim\nval,MR,acdc,patient_07_frame_1,2D\nval,US,busi,2DBox_odd_name,2D\n")
    table = read_table(path)
    assert origin_of("2DBox_MR_acdc_patient_07_frame_1", {}) == Origin("MR", "acdc_patient_07_frame")
    assert origin_of("2DBox_MR_acdc_patient_07_frame_1", table) == Origin("MR", "acdc")
    assert origin_of("2DBox_odd_name", table) == Origin("US", "busi")
    assert origin_of("2DBox_CT_other_1", table) == Origin("CT", "other")


def test_a_table_without_the_columns(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("modality,case\nMR,1\n")
    with pytest.raises(ValueError, match="cases.csv: .*missing: dataset"):
        read_table(path)


def test_every_case_of_the_data_pack_by_its_name_alone(shared_data):
    with open(shared_data / "cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 5000
    for row in rows:
        name = f"{row['dim']}Box_{row['modality']}_{row['dataset']}_{row['case']}"
        assert origin_of(name, {}) == Origin(row["modality"], row["dataset"])
