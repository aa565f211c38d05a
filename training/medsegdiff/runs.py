"""A run of `python -m training` by a recipe that a program made."""

import json
import pathlib
import subprocess
import sys
import tomllib

from safetensors import safe_open


def run(table: dict, data: pathlib.Path, out: pathlib.Path, options: tuple[str, ...] = (),
        weights: pathlib.Path | None = None) -> int:
    """Trains by the recipe `table`, kept as OUT/recipe.toml, and returns the exit status; goes on where such a run was
    interrupted, and does nothing where it is done. options: more arguments of `python -m training`; weights: what it starts
    from. Raises ValueError where OUT has a run by another recipe, KeyboardInterrupt once the run has saved itself."""
    out.mkdir(parents=True, exist_ok=True)
    path, state = out / "recipe.toml", out / "state.safetensors"
    text = to_toml(table)
    if path.exists() and tomllib.loads(path.read_text()) != tomllib.loads(text):
        raise ValueError(f"{path}: a run by another recipe is there; choose another folder")
    path.write_text(text)
    if steps_done(state) >= table["steps"]:
        return 0
    start = ["--resume"] if state.exists() else ["--weights", weights] if weights else []
    command = [sys.executable, "-m", "training", path, "--data", data, "--out", out, *options, *start]
    process, interrupted = subprocess.Popen(list(map(str, command))), False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:  # the run gets it too, saves, and ends
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return status


def steps_done(state: pathlib.Path) -> int:
    """The step of a state.safetensors; 0 where there is none."""
    if not state.exists():
        return 0
    with safe_open(state, framework="numpy") as file:
        return int(file.metadata()["step"])


def to_toml(table: dict) -> str:
    """A flat table of strings, numbers, booleans and lists of them, which TOML writes as JSON does."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
