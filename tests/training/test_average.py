"""The mean of several runs' weights."""

import subprocess
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "training.average", *map(str, arguments)], text=True, capture_output=True)


def test_the_mean_of_three(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0), ("c", 6.0)):
        save_file({"x": np.full((2, 3), value, np.float32), "y": np.array([value], np.float32)},
                  tmp_path / name, metadata={"family": "roi2d", "margin": "0.2"})
    done = run(tmp_path / "a", tmp_path / "b", tmp_path / "c", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with safe_open(tmp_path / "out", framework="numpy") as file:
        assert file.metadata() == {"family": "roi2d", "margin": "0.2"}
        assert (file.get_tensor("x") == np.full((2, 3), 3, np.float32)).all() and file.get_tensor("y").tolist() == [3.0]


def test_weights_of_another_model_are_refused(tmp_path):
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "a", metadata={"family": "roi2d"})
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "b", metadata={"family": "roi2d"})
    (tmp_path / "c").write_bytes(b"no weights")
    for other, text in (("b", "must be of the model of"), ("c", "must be a safetensors file"), ("d", "d: must be")):
        done = run(tmp_path / "a", tmp_path / other, "-o", tmp_path / "out")
        assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
