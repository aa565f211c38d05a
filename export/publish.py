"""The project's own models: from a training checkpoint to `weights/`."""

import importlib
import tempfile
from pathlib import Path

from export.errors import ExportError
from export.exporter import Exported, export, install
from export.inputs import Input
from export.manifest import update_manifest

_BUILDERS = ("models.roi.build",)
"""Modules with CONFIGS (by model name), build(name), load_weights(model, path) and save_weights(model, path). Their
models have facts() -> dict of strings, example_cases() -> list of dicts of arrays to verify with, and dynamic_axes()
-> for each input the names of its dynamic axes; facts()["family"] names the network."""


def publish(name: str, checkpoint: str | Path, folder: str | Path, *, opset: int = 17, f16: bool = False,
            tolerance: float = 1e-4) -> Exported:
    """Export the model `name` with the weights of `checkpoint` into `folder`, and enter it in the manifest there.

    checkpoint: a safetensors file, or a folder with one of that name, or best.safetensors, or only one. Writes
    folder/name/name.safetensors, .onnx, .xml and .bin, each whole or not at all, the manifest last, and nothing at all
    where the engines disagree. Raises ExportError; ValueError where the weights do not fit.
    """
    builder = _builder_of(name)
    model = builder.build(name)
    source = find_checkpoint(name, Path(checkpoint))
    builder.load_weights(model, source)
    model.eval()
    facts = model.facts()
    target = Path(folder) / name
    target.mkdir(parents=True, exist_ok=True)
    cases, dynamic = model.example_cases(), model.dynamic_axes()
    with tempfile.TemporaryDirectory(dir=target, prefix=".export.") as aside:
        weights = Path(aside) / f"{name}.safetensors"
        builder.save_weights(model, weights)
        done = export(
            model, [Input(key, array.shape, str(array.dtype), dynamic[key]) for key, array in cases[0].items()],
            Path(aside) / f"{name}.onnx", opset=opset, facts=facts, ir=True, f16=f16, tolerance=tolerance,
            cases=cases)
        written = [install(file, target / file.name) for file in (weights, *done.files)]
    roles = {".safetensors": "jittor", ".onnx": "onnxruntime", ".xml": "openvino", ".bin": "openvino_bin"}
    files = {roles[file.suffix]: f"{name}/{file.name}" for file in written}
    update_manifest(Path(folder), name, facts["family"], dict(sorted(files.items())), done.agreements)
    return Exported(done.model, done.assumptions, done.agreements, written)


def _builder_of(name):
    known = []
    for path in _BUILDERS:
        builder = importlib.import_module(path)
        if name in builder.CONFIGS:
            return builder
        known += builder.CONFIGS
    raise ExportError(f"model {name}", f"it must be one of {', '.join(known)}",
                      "for a module of your own: --module pkg.mod:factory")


def find_checkpoint(name: str, path: Path) -> Path:
    """The safetensors file that `path` means; see `publish`. Raises ExportError."""
    if not path.is_dir():
        if path.is_file():
            return path
        raise ExportError(f"model {name}", "its weights must be a safetensors file or a folder with one; there is none "
                          f"at {path}")
    found = sorted(path.glob("*.safetensors"))
    for wanted in (path / f"{name}.safetensors", path / "best.safetensors"):
        if wanted in found:
            return wanted
    if len(found) != 1:
        raise ExportError(f"model {name}", f"{path} must hold {name}.safetensors, best.safetensors or just one "
                          f"safetensors file; it holds {', '.join(file.name for file in found) or 'none'}")
    return found[0]
