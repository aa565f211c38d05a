"""The classification networks that come with Jittor."""

import csv

import jittor.models
import numpy as np
import pytest

from export import zoo

SMALL = {"squeezenet1_1": 64, "shufflenet_v2_x0_5": 64}
FAMILIES = {
    "alexnet": 224, "densenet121": 96, "googlenet": 224, "inception_v3": 299, "mnasnet0_5": 96, "mobilenet_v2": 96,
    "res2net50": 96, "resnet18": 96, "resnext50_32x4d": 96, "vgg11_bn": 224, "wide_resnet50_2": 96,
}


def test_every_model_of_the_package_is_known():
    known = zoo.factories()
    public = {name for name, value in vars(jittor.models).items() if callable(value) and not isinstance(value, type)}
    functions = {id(function) for function in known.values()}
    assert {name for name in public if id(getattr(jittor.models, name)) not in functions} <= {"conv1x1", "conv3x3"}
    assert len(functions) == len(known) >= 44
    assert all(name == name.lower() for name in known)


def test_pictures_differ_from_each_other():
    first, second = zoo.pictures((2, 3, 20, 12), np.random.default_rng(0))
    assert np.abs(first - second).mean() > 0.5


@pytest.mark.parametrize("name", SMALL)
def test_small_models(name):
    row = zoo.try_model(name, SMALL[name])
    assert row.ok, row
    assert 0 < row.max_error <= zoo.TOLERANCE and row.response > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_one_model_of_every_family(name):
    row = zoo.try_model(name, FAMILIES[name])
    assert row.ok, row


def test_a_model_that_fails_is_a_row_with_its_problem():
    row = zoo.try_model("vgg11", 16)  # its last images would have no pixels
    assert not row.ok and row.problem
    assert "no" in zoo.line(row) and row.problem in zoo.line(row)


def test_rows_of_the_file_are_not_made_again(tmp_path, monkeypatch, capsys):
    made = []

    def instead_of_a_process(name, size):
        made.append(name)
        return zoo.Row(name, True, 2e-6, 1e-6, 2e-6, 0.5, 10, 3.5, 0.25)

    monkeypatch.setattr(zoo, "_in_a_process", instead_of_a_process)
    table = tmp_path / "zoo.csv"
    assert zoo.main(["alexnet", "--csv", str(table)]) == 0
    assert zoo.main(["alexnet", "vgg11", "--csv", str(table)]) == 0
    assert made == ["alexnet", "vgg11"]
    with open(table, newline="") as file:
        assert [record["name"] for record in csv.DictReader(file)] == ["alexnet", "vgg11"]
    assert "2 of 2 agree with Jittor to 1e-04; their largest error is 2.0e-06" in capsys.readouterr().out


def test_a_name_that_is_not_known(capsys):
    with pytest.raises(SystemExit):
        zoo.main(["resnet17"])
    assert "no model resnet17 in jittor.models" in capsys.readouterr().err
