"""Parts of packages that are loaded when they are first used, not when they are imported: start-up is most of a short run."""

import importlib.machinery
import importlib.util
import sys


class LoadedWhenUsed:
    """A finder for sys.meta_path, to be put first there before the package is imported. It finds `modules`, given by their
    full names, as Python would, but leaves them to importlib.util.LazyLoader: who uses none of them saves their time, who uses
    one has it all the same."""

    def __init__(self, modules: set[str]):
        self._modules = modules

    def find_spec(self, name, path, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in self._modules else None
        if spec:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def lighten_numpy() -> None:
    """Imports of numpy from now on leave out, until they are used, what it imports and this program hardly ever uses: a
    fifth of its time."""
    sys.meta_path.insert(0, LoadedWhenUsed({"numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.random"}))
