"""The manifest of weights: `weights/manifest.json`, which the runtime reads."""

import hashlib
import json
from pathlib import Path

from export.verify import Agreement
from inference.files import write_whole

FILE = "manifest.json"


def update_manifest(folder: Path, name: str, family: str, files: dict[str, str], agreements: list[Agreement]) -> dict:
    """Write what an export knows of the model `name` into `folder`/manifest.json, and return its entry.

    files: role ("openvino", "openvino_bin", "onnxruntime", "jittor") to path inside the folder; their sizes and SHA-256
    are taken from the files that lie there. An entry that is there keeps what the export does not own (scores, source,
    licence, ...); so do the other models. The file is replaced whole or not at all. Raises ValueError where the
    manifest that is there cannot be read.
    """
    path = Path(folder) / FILE
    manifest = _read(path)
    entry = next((entry for entry in manifest["models"] if entry.get("name") == name), None)
    if entry is None:
        entry = {"name": name}
        manifest["models"].append(entry)
    paths = list(files.values())
    entry.update(
        family=family,
        files=files,
        bytes={file: (Path(folder) / file).stat().st_size for file in paths},
        sha256={file: _sha256(Path(folder) / file) for file in paths},
        verification=[agreement.record() for agreement in agreements],
    )
    _write(path, manifest)
    return entry


def _read(path):
    if not path.exists():
        return {"models": []}
    try:
        manifest = json.loads(path.read_text())
        if not all(isinstance(entry, dict) for entry in manifest["models"]):
            raise TypeError("an entry of models that is no object")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be JSON with a list of models; got {type(error).__name__}: {error}") from error
    return manifest


def _write(path, manifest):
    write_whole(path, (json.dumps(manifest, indent=2) + "\n").encode())


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
