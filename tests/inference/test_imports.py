"""The arrow of imports: who may import whom, by the source and by what a run has loaded in the end."""

import ast
import subprocess
import sys

import pytest

ONLY_IN = {"onnxruntime": ["engines/onnxruntime.py"], "jittor": ["engines/jittor.py", "engines/jittor_check.py"],
           "models": ["engines/jittor.py", "engines/jittor_check.py"],
           "nibabel": ["formats/nifti.py", "formats/orientation.py"], "PIL": ["formats/picture.py"],
           "pydicom": ["formats/dicom.py"], "isal": ["zipped.py"]}
# Slow to import, and not needed for a case: `lazy` keeps numpy's out, and dataclasses takes inspect.
NOT_FOR_ONE_CASE = {"numpy.random.mtrand", "numpy.ma.core", "numpy.polynomial.polynomial", "dataclasses", "inspect", "hashlib",
                    "concurrent.futures", "zipfile"}
NEVER_ON_THE_CPU = {"jittor", "onnx", "torch", "scipy", "pandas", "cv2", "PIL", "nibabel", "pydicom", "matplotlib", "models",
                    "training", "export", "evaluation", "time_eval"}


def imported_roots(tree: ast.AST) -> set[str]:
    """First names of the modules that the code imports, in functions too; relative imports count as inference."""
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add("inference" if node.level else node.module.partition(".")[0])
    return roots


def test_the_runtime_imports_numpy_and_its_engines(repo):
    folder = repo / "inference"
    sources = sorted(folder.rglob("*.py"))
    assert folder / "case.py" in sources
    for source in sources:
        name = source.relative_to(folder).as_posix()
        allowed = {"inference", "numpy"} | {module for module, homes in ONLY_IN.items() if name in homes}
        strangers = imported_roots(ast.parse(source.read_text())) - sys.stdlib_module_names - allowed
        assert not strangers, f"inference/{name} imports {strangers}"


def test_jittor_is_imported_only_when_it_is_opened(repo):
    tree = ast.parse((repo / "inference" / "engines" / "jittor.py").read_text())
    top = ast.Module([node for node in tree.body if not isinstance(node, (ast.ClassDef, ast.FunctionDef))], [])
    assert {"jittor", "models"} <= imported_roots(tree) and not {"jittor", "models"} & imported_roots(top)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_cpu_run_loads_one_engine_and_nothing_else(engine, repo, tiny_model, tmp_path, write_case, image):
    """The whole command, with the tiny model in place of a network."""
    write_case("2Da.npz", tmp_path / "in", imgs=image, boxes=[[1, 2, 9, 8]])
    code = """if True:
        import runpy, sys
        import numpy as np
        from inference.engines import open_engine
        from inference.weights import find_model
        import inference.segment

        def open_segmenter(model, engine, backend, exclude_z_max):
            net = open_engine(engine, find_model("tiny"), backend)
            def segment(case):
                net(crop=np.ones((1, 4), np.float32), box_px=np.ones((1, 2), np.float32))
                return np.zeros(case.image.shape, np.uint8)
            return segment

        inference.segment.open_segmenter = open_segmenter
        try:
            runpy.run_module("inference", run_name="__main__", alter_sys=True)
        except SystemExit as status:
            assert status.code == 0, status.code
        print(*sorted({name.partition(".")[0] for name, module in sys.modules.items() if module}))
    """
    arguments = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--engine", engine]
    run = subprocess.run([sys.executable, "-c", code, *arguments], cwd=repo, text=True, capture_output=True,
                         env={"PATH": "/usr/bin:/bin", "WEIGHTS": str(tiny_model), "THREADS": "1"})
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.splitlines()[-1].split())
    assert not loaded & NEVER_ON_THE_CPU
    # Of OpenVINO the C library alone: its Python package takes longer to import than a case to segment.
    assert {name for name in loaded if name.startswith(("openvino", "onnxruntime"))} == {engine} - {"openvino"}


def test_one_image_starts_up_without_slow_imports(repo, tmp_path, write_case, image):
    write_case("2Da.npz", tmp_path / "in", imgs=image, boxes=[[1, 2, 9, 8]])
    command = [sys.executable, "-X", "importtime", "-m", "inference", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    run = subprocess.run(command, cwd=repo, text=True, capture_output=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert {"numpy", "inference.segment.roi"} <= imported
    assert not imported & NOT_FOR_ONE_CASE
