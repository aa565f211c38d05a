"""Finding a model's files through the manifest."""

import json
from pathlib import Path

import pytest

from inference.segment import open_segmenter
from inference.weights import WeightsError, find_model, weights_folder

ENTRY = {"name": "roi2d", "family": "roi2d", "files": {"openvino": "roi2d/roi2d.xml", "jittor": "roi2d/a.safetensors"},
         "bytes": {"roi2d/roi2d.xml": 5}, "licence": "Apache-2.0"}


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A function that writes a manifest with these entries into the folder of WEIGHTS."""
    monkeypatch.setenv("WEIGHTS", str(tmp_path))

    def write(*entries):
        (tmp_path / "manifest.json").write_text(json.dumps({"models": entries}))

    return write


def test_files_of_a_model(manifest, tmp_path):
    manifest(ENTRY, {**ENTRY, "name": "roi3d", "family": "roi3d"})
    (tmp_path / "roi2d").mkdir()
    (tmp_path / "roi2d" / "roi2d.xml").write_text("<net>")
    found = find_model("roi2d")
    assert (found.name, found.family) == ("roi2d", "roi2d")
    assert found.path("openvino") == tmp_path / "roi2d" / "roi2d.xml"
    assert find_model("roi3d").family == "roi3d"


def test_without_the_variable_the_folder_is_the_repository_s(monkeypatch, repo):
    monkeypatch.delenv("WEIGHTS", raising=False)
    assert weights_folder() == repo / "weights"
    monkeypatch.setenv("WEIGHTS", "")
    assert weights_folder() == repo / "weights"


def test_unknown_model_lists_the_known(manifest):
    manifest(ENTRY, {**ENTRY, "name": "sam"})
    with pytest.raises(WeightsError, match="^model must be one of roi2d, sam; got medsam$"):
        find_model("medsam")
    with pytest.raises(WeightsError, match="^model must be one of roi, roi-int8, roi2d, sam; got medsam$"):
        open_segmenter("medsam")


def test_role_that_the_model_has_not(manifest):
    manifest(ENTRY)
    with pytest.raises(WeightsError, match="^model roi2d must have a file for onnxruntime; got jittor, openvino$"):
        find_model("roi2d").path("onnxruntime")


def test_file_that_is_not_there(manifest, tmp_path):
    manifest(ENTRY)
    with pytest.raises(WeightsError, match=f"must have its openvino file at {tmp_path}/roi2d/roi2d.xml; there is none"):
        find_model("roi2d").path("openvino")


def test_file_that_is_cut_off(manifest, tmp_path):
    manifest(ENTRY)
    (tmp_path / "roi2d").mkdir()
    (tmp_path / "roi2d" / "roi2d.xml").write_text("<ne")
    with pytest.raises(WeightsError, match="roi2d.xml must have the 5 bytes of the manifest; got 3"):
        find_model("roi2d").path("openvino")


@pytest.mark.parametrize("path", ["../roi2d.xml", "/etc/passwd", "roi2d/../../x"])
def test_paths_stay_in_the_folder(manifest, path):
    manifest({**ENTRY, "files": {"openvino": path}})
    with pytest.raises(WeightsError, match=f"files of model roi2d must lie inside its folder; got {path}"):
        find_model("roi2d")


def test_no_manifest(manifest, tmp_path):
    with pytest.raises(WeightsError, match=f"^{tmp_path}/manifest.json must list the models; got No such file"):
        find_model("roi2d")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"models": [{"name": "roi2d"}]}', '{"models": 3}',
                                  '{"models": [{"name": "roi2d", "family": "roi2d", "files": ["a"]}]}',
                                  '{"models": [{"name": "roi2d", "family": "roi2d", "files": {"openvino": 3}}]}'])
def test_manifest_that_is_none(manifest, tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match="manifest.json must be JSON, models each with a name, a family and files"):
        find_model("roi2d")


def test_shipped_files_are_those_of_the_manifest(repo):
    """Every file of the shipped manifest is there, whole."""
    if not (repo / "weights" / "manifest.json").exists():
        pytest.skip("weights/manifest.json does not exist yet: no weights are shipped")
    for entry in json.loads((repo / "weights" / "manifest.json").read_text())["models"]:
        for role, path in entry["files"].items():
            assert find_model(entry["name"]).path(role) == Path(repo / "weights" / path)
