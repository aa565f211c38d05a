"""Engines against numpy, on a model small enough to work out by hand."""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from inference.engines import EngineError, open_engine, thread_count
from inference.engines import jittor as jittor_engine
from inference.engines.compiled import compiled_folder, processor_kind
from inference.weights import ModelFiles, find_model

FACTS = {"family": "roi2d", "looks": "192,192@", "look_for_many": "192,192@", "boxes_for_all_looks": "16",
         "margin": "0.2", "threshold": "0.5", "least_reach": "0.85", "loose_px": "10"}


@pytest.fixture
def tiny(tiny_model, monkeypatch):
    monkeypatch.setenv("WEIGHTS", str(tiny_model))
    return find_model("tiny")


def expected(crop, box_px):
    return crop * np.array([1, 2, 3, 4], np.float32) + box_px.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
class TestEngine:
    def test_computes_what_numpy_computes_at_any_batch_size(self, engine, tiny):
        net = open_engine(engine, tiny)
        rng = np.random.default_rng(0)
        for batch in (1, 7, 2, 64):
            crop = rng.normal(size=(batch, 4)).astype(np.float32)
            box_px = rng.normal(size=(batch, 2)).astype(np.float32)
            result = net(crop=crop, box_px=box_px)
            assert result.dtype == np.float32 and result.shape == (batch, 4)
            np.testing.assert_allclose(result, expected(crop, box_px), rtol=0, atol=1e-6)
            np.testing.assert_array_equal(net(box_px=box_px, crop=crop), result)

    def test_a_view_is_fed_by_its_values(self, engine, tiny):
        crop = np.arange(8, dtype=np.float32).reshape(4, 2).T
        box_px = np.ones((2, 4), np.float32)[:, ::2]
        np.testing.assert_allclose(open_engine(engine, tiny)(crop=crop, box_px=box_px), expected(crop, box_px))

    def test_results_are_the_caller_s_own(self, engine, tiny):
        """The next run does not write into the arrays of the last one."""
        net = open_engine(engine, tiny)
        box_px = np.zeros((1, 2), np.float32)
        first = net(crop=np.ones((1, 4), np.float32), box_px=box_px)
        net(crop=np.full((1, 4), 9, np.float32), box_px=box_px)
        assert first.tolist() == [[1, 2, 3, 4]]

    def test_facts_travel_in_the_model_file(self, engine, tiny):
        assert open_engine(engine, tiny).facts == FACTS

    def test_a_broken_model_is_named(self, engine, tiny, tmp_path):
        for path in tiny.files.values():
            (tmp_path / path).write_bytes(b"<net")
        broken = ModelFiles(tiny.name, tiny.family, tmp_path, tiny.files, {})
        with pytest.raises(EngineError, match=rf"^{tmp_path}/tiny\.\w+ must be a model that .* reads; got ") as caught:
            open_engine(engine, broken)
        assert "\n" not in str(caught.value)


def test_f32_is_kept_where_the_cpu_would_rather_take_bfloat16(tiny):
    """1 + 2^-10 has no bfloat16."""
    crop = np.full((1, 4), 1 + 2**-10, np.float32)
    assert open_engine("openvino", tiny)(crop=crop, box_px=np.zeros((1, 2), np.float32))[0, 0] == crop[0, 0]


class TestCompiledBefore:
    """The folder of networks that were compiled before: what it does to the files in it, and never to an answer."""

    @pytest.fixture
    def tiny(self, tiny_model, tmp_path, monkeypatch):
        monkeypatch.setenv("WEIGHTS", str(shutil.copytree(tiny_model, tmp_path / "weights")))
        return find_model("tiny")

    @pytest.fixture
    def folder(self, tiny):
        folder = compiled_folder(tiny.folder)
        folder.mkdir(parents=True)
        return folder

    @staticmethod
    def run(tiny):
        crop = np.arange(8, dtype=np.float32).reshape(2, 4)
        np.testing.assert_array_equal(open_engine("openvino", tiny)(crop=crop, box_px=np.zeros((2, 2), np.float32)),
                                      expected(crop, np.zeros((2, 2))))

    def test_a_network_is_kept_and_taken(self, tiny, folder):
        self.run(tiny)
        kept, = folder.iterdir()
        before = kept.stat().st_mtime_ns
        self.run(tiny)
        assert [kept] == list(folder.iterdir()) and kept.stat().st_mtime_ns == before

    def test_one_that_cannot_be_used_is_compiled_anew(self, tiny, folder):
        self.run(tiny)
        kept, = folder.iterdir()
        whole = kept.read_bytes()
        for broken in (b"", whole[:100], whole[:len(whole) // 2], bytes(len(whole))):
            kept.unlink(missing_ok=True)
            kept.write_bytes(broken)
            self.run(tiny)

    def test_another_kind_of_processor_has_a_folder_of_its_own(self, tiny, folder, monkeypatch):
        monkeypatch.setattr("inference.engines.compiled.processor_kind", lambda limit: "x86_64-avx2-of-tomorrow")
        self.run(tiny)
        assert not list(folder.iterdir()) and list(folder.parent.iterdir()) == [folder]

    def test_nothing_is_kept_where_nobody_asked(self, tiny):
        self.run(tiny)
        assert not (tiny.folder / "compiled").exists()

    def test_a_folder_that_cannot_be_written_is_read(self, tiny, folder, read_only):
        self.run(tiny)
        with read_only(folder):
            self.run(tiny)
            next(folder.iterdir())
        next(folder.iterdir()).unlink()
        with read_only(folder):
            self.run(tiny)
            assert not list(folder.iterdir())


def test_the_kind_of_processor_is_what_the_kernel_says():
    kind = processor_kind().split("-")
    assert kind[0] == os.uname().machine
    known = Path("/proc/cpuinfo").read_text().split()
    assert ("avx2" in kind) == ("avx2" in known) and ("avx512f" in kind) == ("avx512f" in known)


def test_a_limit_to_the_instructions_makes_another_kind(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    free = processor_kind()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2_VNNI")
    assert processor_kind() == f"{free}-max_avx2_vnni"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "../../elsewhere")
    assert processor_kind() == f"{free}-max_elsewhere"


@pytest.mark.parametrize("engine, backend, text", [
    ("torch", "cpu", "engine must be one of openvino, onnxruntime, jittor; got torch"),
    ("jittor", "tpu", "backend must be one of cpu, gpu; got tpu"),
    ("openvino", "gpu", "backend gpu must have engine jittor; got openvino")])
def test_what_there_is_not(tiny, engine, backend, text):
    with pytest.raises(EngineError) as caught:
        open_engine(engine, tiny, backend)
    assert str(caught.value) == text


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_package_that_is_missing_is_named(engine, tiny, monkeypatch):
    monkeypatch.delitem(sys.modules, f"inference.engines.{engine}", raising=False)
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(EngineError, match=f"^engine {engine} must be installed: pip install {engine}"):
        open_engine(engine, tiny)


def test_threads(monkeypatch):
    monkeypatch.delenv("THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("THREADS", "2")
    assert thread_count() == 2
    for wrong in ("0", "-1", "two", "1.5", "²"):
        monkeypatch.setenv("THREADS", wrong)
        with pytest.raises(EngineError, match=f"^THREADS must be a whole number, at least 1; got {wrong}$"):
            thread_count()


@pytest.fixture
def jittor_files(tiny, tmp_path):
    """Model files whose safetensors hold metadata and no tensors."""
    header = json.dumps({"__metadata__": FACTS}).encode()
    (tmp_path / "tiny.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return ModelFiles("tiny", "roi2d", tmp_path, {"jittor": "tiny.safetensors"}, {})


def test_what_jittor_misses_is_listed(jittor_files, monkeypatch):
    monkeypatch.setattr(jittor_engine.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(jittor_engine.shutil, "which", lambda name: None)
    monkeypatch.setattr(jittor_engine, "_has_nvidia_driver", lambda: False)
    with pytest.raises(EngineError) as caught:
        open_engine("jittor", jittor_files, "gpu")
    text = str(caught.value)
    assert text.startswith("engine jittor with backend gpu cannot run here; missing: Jittor (pip install ")
    assert "g++" in text and "nvcc" in text and "NVIDIA driver" in text
    with pytest.raises(EngineError) as caught:
        open_engine("jittor", jittor_files, "cpu")
    assert "nvcc" not in str(caught.value) and "NVIDIA" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x05\x00\x00\x00\x00\x00\x00\x00{", b"\x02" + bytes(7) + b"[]"])
def test_a_file_that_is_no_safetensors(jittor_files, data):
    (jittor_files.folder / "tiny.safetensors").write_bytes(data)
    with pytest.raises(EngineError, match="tiny.safetensors must be a safetensors file; got "):
        open_engine("jittor", jittor_files)


@pytest.mark.slow
def test_jittor_computes_what_the_plain_network_computes(tmp_path, monkeypatch):
    """The network as Jittor's own modules run it, against the engine, which takes faster operators on the CPU."""
    monkeypatch.setenv("nvcc_path", "")
    if importlib.util.find_spec("jittor") is None:
        pytest.skip("Jittor is not installed")
    import models  # noqa: F401, I001  (sets Jittor's environment first)
    import jittor as jt
    from models.roi.build import build, save_weights

    jt.set_global_seed(3)
    network = build("roi2d")
    save_weights(network, tmp_path / "roi2d.safetensors")
    inputs = network.example_cases()[1]
    with jt.no_grad():
        plain = network(**{name: jt.array(array) for name, array in inputs.items()}).numpy()
    engine = open_engine("jittor", ModelFiles("roi2d", "roi2d", tmp_path, {"jittor": "roi2d.safetensors"}, {}))
    result = engine(**inputs)
    assert result.dtype == np.float32 and result.shape == plain.shape and plain.std() > 1e-3
    np.testing.assert_allclose(result, plain, rtol=0, atol=1e-4)
    assert engine.facts == network.facts()
    with pytest.raises(EngineError, match="roi2d.safetensors: does not fit roi3d: "):
        open_engine("jittor", ModelFiles("roi3d", "roi3d", tmp_path, {"jittor": "roi2d.safetensors"}, {}))
