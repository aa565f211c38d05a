"""The manifest of weights, `weights/manifest.json`: which models there are and where their files lie."""

import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class WeightsError(ValueError):
    """Weights that cannot be used. The text names the manifest or file, the rule and the value."""


class ModelFiles(NamedTuple):
    """A model of the manifest.

    name    how `--model` calls it
    family  which network it is, and so how it is fed: roi2d, roi3d, ...
    folder  the weights folder
    files   role (openvino, openvino_bin, onnxruntime, jittor) to path inside the folder; the roles of a model in several
            graphs begin with the part and a dot: encoder.openvino
    bytes   path inside the folder to the file's size in bytes, where the manifest says so
    graph   which part of the model this is, after `part`; else empty
    """

    name: str
    family: str
    folder: Path
    files: dict[str, str]
    bytes: dict[str, int]
    graph: str = ""

    @property
    def graphs(self) -> set[str]:
        """The parts of a model in several graphs; empty for one in a single graph."""
        return {role.partition(".")[0] for role in self.files if "." in role}

    def part(self, graph: str) -> "ModelFiles":
        """The files of one graph of the model: its own, under their plain roles, and those that all graphs share."""
        files = {role.removeprefix(f"{graph}."): path for role, path in self.files.items()
                 if "." not in role or role.startswith(f"{graph}.")}
        return self._replace(files=files, graph=graph)

    def path(self, role: str) -> Path:
        """Where the file of `role` lies. Raises WeightsError where it is not listed, not there or not whole."""
        if role not in self.files:
            raise WeightsError(f"model {self.name} must have a file for {role}; got {_listed(self.files)}")
        path = self.folder / self.files[role]
        if not path.is_file():
            raise WeightsError(f"model {self.name} must have its {role} file at {path}; there is none: put it there, "
                               "or set WEIGHTS to the folder that has it")
        size, expected = path.stat().st_size, self.bytes.get(self.files[role])
        if expected is not None and size != expected:
            raise WeightsError(f"{path} must have the {expected} bytes of the manifest; got {size}: fetch it again")
        return path


def weights_folder() -> Path:
    """The folder in the environment's WEIGHTS, else the repository's `weights/`."""
    return Path(os.environ.get("WEIGHTS") or Path(__file__).resolve().parent.parent / "weights")


def find_model(name: str, others: Iterable[str] = ()) -> ModelFiles:
    """The model called `name`. Raises WeightsError where the manifest cannot be read or does not know it; others: names
    beyond the manifest's that the caller would have known what to do with, for the error's list."""
    manifest = weights_folder() / "manifest.json"
    try:
        models = {
            entry["name"]: ModelFiles(entry["name"], entry["family"], manifest.parent, dict(entry["files"]),
                                      dict(entry.get("bytes", {})))
            for entry in json.loads(manifest.read_bytes())["models"]
        }
        strays = [path for path in models[name].files.values() if _leaves(path)] if name in models else []
    except OSError as error:
        raise WeightsError(f"{manifest} must list the models; got {error.strerror}: set WEIGHTS to the folder that has "
                           "it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{manifest} must be JSON, models each with a name, a family and files; got "
                           f"{type(error).__name__}: {error}") from error
    if name not in models:
        raise WeightsError(f"model must be one of {_listed({*models, *others})}; got {name}")
    if strays:
        raise WeightsError(f"{manifest}: files of model {name} must lie inside its folder; got {strays[0]}")
    return models[name]


def _leaves(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _listed(names) -> str:
    return ", ".join(sorted(names)) or "none"
