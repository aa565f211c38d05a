"""Modules that are loaded when they are first used."""

import subprocess
import sys

import pytest

from inference.lazy import LoadedWhenUsed


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that imports two modules of its own, each of which says so when it runs; the second is to come lazily."""
    folder = tmp_path / "parcel"
    folder.mkdir()
    (folder / "__init__.py").write_text("ran = []\nfrom . import eager, later\n")
    for name in ("eager", "later"):
        (folder / f"{name}.py").write_text(f"from parcel import ran\nran.append({name!r})\nweight_kg = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", [LoadedWhenUsed({"parcel.later", "parcel.missing"}), *sys.meta_path])
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "parcel"]:
        del sys.modules[name]


def test_a_lazy_module_runs_when_it_is_first_used(package):
    import parcel

    assert parcel.ran == ["eager"]
    assert parcel.later.weight_kg == 7
    assert parcel.ran == ["eager", "later"]
    assert parcel.later.weight_kg == 7
    assert parcel.ran == ["eager", "later"]


def test_a_lazy_module_that_does_not_exist_is_missing_at_once(package):
    with pytest.raises(ModuleNotFoundError, match="parcel.missing"):
        import parcel.missing  # noqa: F401


def test_a_light_numpy_is_a_whole_one(repo):
    """Its random numbers, Fourier transforms, polynomials and masked arrays are there for who uses them."""
    code = """if True:
        import sys
        from inference.lazy import lighten_numpy
        lighten_numpy()
        import numpy as np
        assert "numpy.random.mtrand" not in sys.modules and "numpy.ma.core" not in sys.modules
        assert np.random.default_rng(3).integers(5, 6) == 5
        assert np.fft.fft([1, 1]).tolist() == [2, 0]
        assert np.polynomial.Polynomial([1, 2])(3) == 7
        assert np.ma.array([1, 2], mask=[True, False]).sum() == 2
        assert "numpy.random.mtrand" in sys.modules and "numpy.ma.core" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], cwd=repo, check=True)
