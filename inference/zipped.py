"""`zipfile`: Python's own, or one just like it that packs and unpacks with ISA-L where the package isal is installed. A volume
is then read in half the time, and its masks are packed in a tenth."""

import importlib.util
from types import ModuleType


def _computing_with(zlib: ModuleType) -> ModuleType:
    """A zipfile of our own whose zlib is another one; Python's own stays as it is, for it is everybody's."""
    spec = importlib.util.find_spec("zipfile")
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    copy.zlib, copy.crc32 = zlib, zlib.crc32
    return copy


try:
    from isal import isal_zlib
except ImportError:  # nothing but time is lost
    import zipfile
else:
    zipfile = _computing_with(isal_zlib)
