"""The public names: sorted, importable, and cheap until used."""

import subprocess
import sys
import time

import horizon_bo

HEAVY = ("torch", "gpytorch", "botorch", "ax", "pandas", "sqlalchemy", "matplotlib", "scipy")


def test_all_is_sorted_and_importable():
    assert horizon_bo.__all__ == sorted(horizon_bo.__all__)
    for name in horizon_bo.__all__:
        assert getattr(horizon_bo, name).__name__ == name


def test_all_names_everything_that_can_be_imported_from_the_package():
    assert sorted(horizon_bo._HOMES) == horizon_bo.__all__


def test_importing_the_package_loads_nothing_heavy_and_takes_no_time():
    code = f"import sys, horizon_bo; print([m for m in {HEAVY!r} if m in sys.modules])"
    elapsed = []
    for _ in range(3):
        began = time.perf_counter()
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        elapsed.append(time.perf_counter() - began)
        assert said.stdout.strip() == "[]"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - began
    assert min(elapsed) - bare < 0.2
