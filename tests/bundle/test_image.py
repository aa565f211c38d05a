"""The submission's image: loaded from its tar, run by the challenge's own command line, compared with the bare host."""

import os
import shutil
import subprocess

import numpy as np
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# Debian's slim base (75 MB), Python (45 MB), numpy with OpenBLAS (57 MB), OpenVINO for the CPU (91 MB), the weights.
LARGEST_IMAGE_BYTES = 400e6

NEVER_INSIDE = ("jittor", "onnx", "onnxruntime", "torch", "scipy", "pandas", "cv2", "openvino_telemetry", "pip")


@pytest.fixture(scope="module")
def image(docker, bundle):
    """The tag of the image that `docker load` makes of the tar."""
    loaded = subprocess.run([docker, "image", "load", "-i", str(bundle)], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    yield "medseg-test:latest"
    subprocess.run([docker, "image", "rm", "medseg-test:latest"], capture_output=True)


@pytest.fixture
def desk(tmp_path):
    """A folder with the two folders that the challenge mounts, as open as its script makes them."""
    for name in ("inputs", "outputs"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    return tmp_path


@pytest.fixture(scope="module")
def host_segs(repo, cases, tmp_path_factory):
    """Masks of the repository's cases made by predict.sh on this host: file name -> array."""
    out = tmp_path_factory.mktemp("host")
    environment = os.environ | {"INPUTS": str(repo / "test_input"), "OUTPUTS": str(out)}
    subprocess.run(["sh", str(repo / "predict.sh")], env=environment, check=True)
    return {case.name: np.load(out / case.name)["segs"] for case in cases}


def _in_image(docker, image, *command):
    return subprocess.run([docker, "container", "run", "--rm", image, *command], capture_output=True, text=True)


def _check_segs(desk, host_segs):
    assert {path.name for path in (desk / "outputs").iterdir()} == set(host_segs)
    for name, expected in host_segs.items():
        assert os.stat(desk / "outputs" / name).st_mode & 0o044 == 0o044   # the evaluator is another user
        with np.load(desk / "outputs" / name) as made:
            assert made.files == ["segs"]
            assert made["segs"].dtype == expected.dtype
            np.testing.assert_array_equal(made["segs"], expected, err_msg=name)


def test_the_challenges_command(docker, image, cases, desk, host_segs):
    for case in cases:
        shutil.copy(case, desk / "inputs")
    line = (f"{docker} container run -m 8G --name medseg-test --rm -v $PWD/inputs/:/workspace/inputs/ "
            f'-v $PWD/outputs/:/workspace/outputs/ {image} /bin/bash -c "sh predict.sh"')
    done = subprocess.run(line, shell=True, cwd=desk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _check_segs(desk, host_segs)


def test_without_network_on_a_read_only_root(docker, image, cases, desk, host_segs):
    for case in cases:
        shutil.copy(case, desk / "inputs")
    done = subprocess.run(
        [docker, "container", "run", "--rm", "--network", "none", "--read-only", "-m", "8G",
         "-v", f"{desk}/inputs:/workspace/inputs:ro", "-v", f"{desk}/outputs:/workspace/outputs", image],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _check_segs(desk, host_segs)


def test_no_cases_is_no_error(docker, image, desk):
    done = subprocess.run([docker, "container", "run", "--rm", "-v", f"{desk}/inputs:/workspace/inputs",
                           "-v", f"{desk}/outputs:/workspace/outputs", image], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((desk / "outputs").iterdir()) == []


def test_a_broken_case_fails_alone(docker, image, cases, desk):
    shutil.copy(cases[0], desk / "inputs")
    (desk / "inputs/2DBox_broken.npz").write_bytes(b"PK\x03\x04 and no more")
    done = subprocess.run([docker, "container", "run", "--rm", "-v", f"{desk}/inputs:/workspace/inputs",
                           "-v", f"{desk}/outputs:/workspace/outputs", image], capture_output=True, text=True)
    assert done.returncode == 1
    assert "2DBox_broken.npz" in done.stderr
    assert [path.name for path in (desk / "outputs").iterdir()] == [cases[0].name]


def test_user_is_not_root(docker, image):
    assert _in_image(docker, image, "id", "-u", "-n").stdout.strip() == "user"
    assert _in_image(docker, image, "touch", "/workspace/weights/x").returncode != 0


def test_image_is_small(docker, image):
    size = subprocess.run([docker, "image", "inspect", "--format", "{{.Size}}", image], capture_output=True, text=True)
    assert int(size.stdout) < LARGEST_IMAGE_BYTES


def test_only_the_runtime_is_inside(docker, image):
    program = f"import importlib.util as u; print([name for name in {NEVER_INSIDE} if u.find_spec(name)])"
    assert _in_image(docker, image, "python3", "-c", program).stdout.strip() == "[]"


def test_everything_is_compiled(docker, image):
    """A read-only container cannot keep byte code, and would compile every import of every case anew."""
    program = ("import pathlib, importlib.util as u; print([str(p) for p in pathlib.Path('/workspace').rglob('*.py') "
               "if not pathlib.Path(u.cache_from_source(p)).exists()])")
    assert _in_image(docker, image, "python3", "-c", program).stdout.strip() == "[]"


def test_networks_are_compiled_for_this_processor(docker, image):
    """The image was built here: what it keeps is for this kind, and its user may read it."""
    program = ("from inference.engines.compiled import compiled_folder; from inference.weights import weights_folder; "
               "print(*(len(p.read_bytes()) > 1000 for p in compiled_folder(weights_folder()).glob('*.blob')))")
    found = _in_image(docker, image, "python3", "-c", program).stdout.split()
    assert len(found) >= 2 and set(found) == {"True"}
