"""The benchmark: turns, medians and the table, with runs that take no time."""

import csv
from pathlib import Path

import pytest

from inference.engines.compiled import processor_kind
from inference.weights import WeightsError
from time_eval import bench
from time_eval.cases import CASES
from time_eval.cgroup import Usage
from time_eval.runners import BareRunner, Run


def run(elapsed_s, cpu_s=1.0, peak_mb=100.0, exit_code=0):
    return Run(elapsed_s, exit_code, False, "", Usage(peak_mb, peak_mb, cpu_s))


def test_a_row_has_the_medians_of_good_runs():
    contender = bench.Contender("roi", "openvino", Path("weights"))
    runs = [run(3, 5, 90), run(1, 4, 80), run(9, exit_code=1), run(2, 9, 70)]
    assert bench.row("a", contender, runs) == {"case": "a", "model": "roi", "engine": "openvino", "isa": "native",
                                               "weights": "trained", "runs": 4, "failed": 1, "wall_s": 2, "cpu_s": 5,
                                               "peak_mb": 80}
    assert bench.row("a", contender, [run(1, exit_code=2)])["wall_s"] == ""


def test_runs_take_turns(monkeypatch):
    """A B A B, not A A B B; every case lies alone in its folder."""
    calls = []

    def record(self, work):
        case, = (work / "inputs").iterdir()
        calls.append((case.stem, self.settings["MODEL"], self.settings["ENGINE"]))
        return run(len(calls))

    monkeypatch.setattr(BareRunner, "run", record)
    cases = ["2DBox_US_a", "3DBox_MR_f"]
    which = [bench.Contender(model, "e", Path("w")) for model in ("A", "B")]
    found = bench.by_turns(cases, which, 3, 1)
    once = [(case, model, "e") for case in cases for model in ("A", "B")]
    assert calls == once * 3
    assert [one.elapsed_s for one in found["2DBox_US_a", which[1]]] == [2, 6, 10]


def test_settings_reach_the_process(tmp_path, monkeypatch):
    script = tmp_path / "predict.sh"
    script.write_text('echo "$MODEL $ENGINE $WEIGHTS" > "$OUTPUTS/said"')
    monkeypatch.setattr("time_eval.runners.PREDICT", script)
    (tmp_path / "outputs").mkdir()
    assert bench.Contender("m", "e", Path("w")).runner(10).run(tmp_path).exit_code == 0
    assert (tmp_path / "outputs" / "said").read_text() == "m e w\n"


def test_only_the_winner_gets_random_weights(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(bench, "publish_random", lambda model, folder: made.append(model))
    found = bench.contenders(["roi", bench.RANDOM], ["openvino", "onnxruntime"], ["native"], tmp_path)
    assert made == [bench.RANDOM]
    assert found[-1].weights == tmp_path and found[-1].weights.is_absolute()
    assert [(one.model, one.engine, one.random) for one in found] == [
        ("roi", "openvino", False), ("roi", "onnxruntime", False), (bench.RANDOM, "openvino", True),
        (bench.RANDOM, "onnxruntime", True)]
    with pytest.raises(WeightsError, match="model must be one of .*; got nobody"):
        bench.contenders(["nobody"], ["openvino"], ["native"], tmp_path)


def test_an_instruction_set_has_a_folder_of_its_own_and_reaches_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "publish_random", lambda model, folder: None)
    native, limited = bench.contenders([bench.RANDOM], ["openvino"], ["native", "AVX2"], tmp_path)
    assert "ONEDNN_MAX_CPU_ISA" not in native.settings() and limited.settings()["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    kinds = {path.name for path in (tmp_path / "compiled").iterdir()}
    assert kinds == {processor_kind(), processor_kind() + "-max_avx2"}


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(BareRunner, "run", lambda self, work: run(0.5, 0.75, 120))
    monkeypatch.setattr(bench, "machine", lambda: "AMD EPYC(tm) 9B14, 2 cores")
    assert bench.main(["--models", "roi", "--runs", "2", "--out", str(tmp_path)]) == 0
    table, = tmp_path.iterdir()
    assert table.name.endswith("_amd-epyc-9b14-2_bench.csv")
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == list(CASES)
    assert all((row["wall_s"], row["cpu_s"], row["peak_mb"], row["failed"]) == ("0.5", "0.75", "120.0", "0") for row in rows)
    assert str(table) in capsys.readouterr().out
    assert bench.main(["--models", "nobody", "--out", str(tmp_path)]) == 2

    monkeypatch.setattr(BareRunner, "run", lambda self, work: Run(0.5, 2, False, "error: it is so", None))
    assert bench.main(["--models", "roi", "--runs", "2", "--cases", "2DBox_US_a", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("2DBox_US_a roi openvino: error: it is so") == 1
