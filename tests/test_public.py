"""The public names: sorted, importable, and cheap until used."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import horizon_bo

HEAVY = ("torch", "gpytorch", "botorch", "ax", "pandas", "sqlalchemy", "matplotlib", "scipy")


def test_all_is_sorted_and_importable():
    assert horizon_bo.__all__ == sorted(horizon_bo.__all__)
    for name in horizon_bo.__all__:
        assert getattr(horizon_bo, name).__name__ == name


def test_the_version_is_said_in_one_place():
    assert version("horizon-bo") == horizon_bo.__version__


def test_all_names_everything_that_can_be_imported_from_the_package():
    assert sorted(horizon_bo._HOMES) == horizon_bo.__all__


IMPORTING = f"""
import sys, time
began = time.perf_counter()
import horizon_bo
print(time.perf_counter() - began, [m for m in {HEAVY!r} if m in sys.modules])
"""


@pytest.mark.alone
def test_importing_the_package_loads_nothing_heavy_and_takes_no_time():
    elapsed = []
    for _ in range(5):
        said = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True)
        seconds, _, loaded = said.stdout.strip().partition(" ")
        elapsed.append(float(seconds))
        assert loaded == "[]"
    assert min(elapsed) < 0.05


#: What tuning does without; pandas, and what it loads, only tables need.
UNNEEDED = ("torch", "scipy", "botorch", "gpytorch", "ax", "matplotlib", "plotly")
SUGGESTING = f"""
import sys
from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace
target = Horizon(params=1e9, tokens=2e10)
space = SearchSpace(learning_rate=(1e-4, 1e-2), scales=[Scale(params=6e7)], tokens=[1e9])
tuner = HorizonTuner(target=target, space=space, budget=0.05 * target.flops)
run = tuner.suggest()
tuner.recommend()
print(run.params, [m for m in {(*UNNEEDED, "pandas")!r} if m in sys.modules])
"""


def test_a_suggestion_in_a_fresh_process_loads_no_heavy_library():
    said = subprocess.run(
        [sys.executable, "-c", SUGGESTING], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "60000000.0 []"


def loaded_by(*lines: str) -> set[str]:
    """Heavy libraries that a fresh process has loaded once it has run these command lines."""
    code = f"""
import sys
from horizon_bo.cli.__main__ import main
for line in {lines!r}:
    sys.argv = ["horizon-bo", *line.split()]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, line
print(*(m for m in {(*UNNEEDED, "pandas")!r} if m in sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_commands_that_only_tune_load_no_heavy_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{rate},6e7,1e9,{3 + 20 * abs(rate - 2e-3)}" for rate in (1e-3, 2e-3, 4e-3)]
    (tmp_path / "sweep.csv").write_text("\n".join(["learning_rate,params,tokens,loss", *rows]))
    started = loaded_by(
        "init runs.db --target-params 1e9 --target-tokens 2e10 --scales 6e7,1.2e8 "
        "--tokens 1e9,4e9 --learning-rate 1e-4,2e-2 --budget 0.05 --import sweep.csv",
        "trials runs.db",
        "export runs.db out.csv",
    )
    assert started == {"pandas"}
    tuned = ("recommend runs.db", "suggest runs.db", "observe runs.db 3 --loss 3.1")
    assert loaded_by(*tuned, "status runs.db") == set()
