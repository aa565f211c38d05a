"""Where in the user's code a trace is."""

import importlib.util
import linecache
import os
import sys
import traceback
from pathlib import Path

_EXPORTER = str(Path(__file__).resolve().parent) + os.sep
_JITTOR = str(Path(importlib.util.find_spec("jittor").origin).resolve().parent) + os.sep
# Jittor's model zoo is a user's code as far as an error message is concerned.
_ZOO = _JITTOR + "models" + os.sep
_PYTHON = str(Path(os.__file__).resolve().parent) + os.sep


def _is_users(file: str) -> bool:
    if file.startswith(_EXPORTER) or file.startswith("<"):
        return False
    if file.startswith(_PYTHON) and "site-packages" not in file:
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
        if _is_users(frame.f_code.co_filename):
            return _place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return "", ""


def jittor_function() -> str:
    """What the user's line has called in Jittor, as "jittor.misc.unique", or "" where it called no Python of Jittor's."""
    frame, called = sys._getframe(1), ""
    while frame is not None and not _is_users(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_JITTOR):
            called = f"{frame.f_globals.get('__name__', 'jittor')}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "" if called.endswith((".__call__", ".execute")) else called


def line_of(error: BaseException) -> str:
    """The user's source line that an error went through last, as `user_line` writes it, else ""."""
    places = [_place(frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(error.__traceback__)
              if _is_users(frame.f_code.co_filename)]
    return ": ".join(filter(None, places[-1])) if places else ""


def _place(file, number):
    relative = os.path.relpath(file)
    return f"{file if relative.startswith('..') else relative}:{number}", linecache.getline(file, number).strip()


def module_path(key: str) -> str:
    """A state-dict path as Python writes it: "encoder.blocks.2.attn" is "encoder.blocks[2].attn"."""
    path = ""
    for part in key.split("."):
        path += f"[{part}]" if part.isdigit() else f".{part}"
    return path.lstrip(".")
