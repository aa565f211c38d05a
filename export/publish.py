"""The project's own models: from a training checkpoint to `weights/`."""

import tempfile
from pathlib import Path

from export.errors import ExportError
from export.exporter import Exported, export, install
from export.inputs import Input
from export.manifest import update_manifest
from models.catalogue import builder_of

_ROLES = {".onnx": "onnxruntime", ".data": "onnxruntime_data", ".xml": "openvino", ".bin": "openvino_bin"}


def publish(name: str, checkpoint: str | Path, folder: str | Path, *, opset: int = 17, f16: bool = False,
            tolerance: float = 1e-4) -> Exported:
    """Export the model `name` with the weights of `checkpoint` into `folder`, and enter it in the manifest there.

    checkpoint: a safetensors file, or a folder with one of that name, or best.safetensors, or only one. Writes
    folder/name/name.safetensors, .onnx, .xml and .bin (of a model in several graphs name.GRAPH.onnx, ...), each whole
    or not at all, the manifest last, and nothing at all where the engines disagree. Of several graphs, `model` is the
    last. Raises ExportError; ValueError where the weights do not fit.
    """
    try:
        builder = builder_of(name)
    except ValueError as error:
        raise ExportError(f"model {name}", str(error), "for a module of your own: --module pkg.mod:factory") from error
    model = builder.build(name)
    builder.load_weights(model, find_checkpoint(name, Path(checkpoint)))
    model.eval()
    target = Path(folder) / name
    target.mkdir(parents=True, exist_ok=True)
    files, done = {"jittor": f"{name}.safetensors"}, []
    with tempfile.TemporaryDirectory(dir=target, prefix=".export.") as aside:
        builder.save_weights(model, Path(aside) / files["jittor"])
        for graph in model.graphs():
            inputs = [Input(key, array.shape, str(array.dtype), graph.dynamic[key]) for key, array in graph.cases[0].items()]
            stem, prefix = (f"{name}.{graph.name}", f"{graph.name}.") if graph.name else (name, "")
            done.append(export(graph.module, inputs, Path(aside) / f"{stem}.onnx", opset=opset, facts=graph.facts, ir=True,
                               f16=f16, tolerance=tolerance, cases=graph.cases))
            files |= {prefix + _ROLES[file.suffix]: file.name for file in done[-1].files}
        written = [install(Path(aside) / file, target / file) for file in files.values()]
    agreements = [agreement for one in done for agreement in one.agreements]
    update_manifest(Path(folder), name, model.facts()["family"],
                    {role: f"{name}/{file}" for role, file in sorted(files.items())}, agreements)
    return Exported(done[-1].model, [text for one in done for text in one.assumptions], agreements, written)


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
