"""Where in the user's code a trace is."""

import importlib.util
import linecache
import os
import sys
from pathlib import Path

_EXPORTER = str(Path(__file__).resolve().parent) + os.sep
_JITTOR = str(Path(importlib.util.find_spec("jittor").origin).resolve().parent) + os.sep
# Jittor's model zoo is a user's code as far as an error message is concerned.
_ZOO = _JITTOR + "models" + os.sep


def _is_users(file: str) -> bool:
    if file.startswith(_EXPORTER) or file.startswith("<frozen"):
        return False
    return file.startswith(_ZOO) or not file.startswith(_JITTOR)


def user_line() -> str:
    """The source line of the user's model that is running, as "nets/vit.py:57: x[:, 0] = 0.", else ""."""
    return ": ".join(filter(None, user_place()))


def user_place() -> tuple[str, str]:
    """("nets/vit.py:57", "x[:, 0] = 0.") of the line that is running, ("", "") where none of the user's is.

    Paths are relative to the working directory where they lie below it.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_run_the_users_model":
        file = frame.f_code.co_filename
        if _is_users(file):
            source = linecache.getline(file, frame.f_lineno).strip()
            relative = os.path.relpath(file)
            shown = file if relative.startswith("..") else relative
            return f"{shown}:{frame.f_lineno}", source
        frame = frame.f_back
    return "", ""


def module_path(key: str) -> str:
    """A state-dict path as Python writes it: "encoder.blocks.2.attn" is "encoder.blocks[2].attn"."""
    path = ""
    for part in key.split("."):
        path += f"[{part}]" if part.isdigit() else f".{part}"
    return path.lstrip(".")
