"""What `--check` says where there is no GPU."""

import numpy as np
import pytest

from inference.engines import EngineError, jittor_check


def test_jittor_on_the_cpu_computes_what_numpy_computes():
    lines = list(jittor_check.report("cpu", 1))
    assert [what for what, _, _ in lines] == ["machine", "Jittor", "convolution", "attention", "training step"]
    assert all(fine for *_, fine in lines)


@pytest.mark.parametrize("computed", ["_numpy_convolution", "_numpy_attention", "_numpy_training_step"])
def test_a_difference_is_found(computed, monkeypatch):
    """One value in thousands is wrong by a hundredth of the largest."""
    right = getattr(jittor_check, computed)()
    wrong = right.copy()
    wrong.flat[7] += 0.01 * np.abs(right).max()
    monkeypatch.setattr(jittor_check, computed, lambda: wrong)
    assert [fine for *_, fine in jittor_check.report("cpu", 1)].count(False) == 1


def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(jittor_check.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    monkeypatch.setattr("inference.engines.jittor._has_nvidia_driver", lambda: False)
    report = jittor_check.report("gpu", 1)
    with pytest.raises(EngineError, match="an NVIDIA driver"):
        list(report)
    assert ("driver", "no libcuda.so.1", False) in list(jittor_check._devices())
