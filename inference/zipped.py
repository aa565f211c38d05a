"""`zipfile`, Python's own module, or one just like it that packs and unpacks with ISA-L where the package isal is installed:
a volume is then read in half the time, and its masks are packed in a tenth."""

import importlib.util
import zipfile as _zipfile
from types import ModuleType

try:
    from isal import isal_zlib
except ImportError:  # nothing but time is lost
    isal_zlib = None


def _computing_with(zlib: ModuleType) -> ModuleType:
    """A zipfile of our own whose zlib is another one; Python's own stays as it is, for it is everybody's."""
    spec = importlib.util.find_spec("zipfile")
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy.zlib, copy.crc32 = zlib, zlib.crc32
    return copy


zipfile = _computing_with(isal_zlib) if isal_zlib else _zipfile
