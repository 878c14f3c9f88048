"""Test-wide settings: reproducible examples, no wall-clock flakiness, public sweeps where given."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook
from matplotlib.figure import Figure

# Shapes are checked at run time in the mathematics; the edges answer bad values themselves.
install_import_hook(
    ["horizon_bo.core", "horizon_bo.published"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=300)


@pytest.fixture
def data_folder() -> Path:
    """The folder of public sweeps; tests that need it are skipped where it is not given."""
    folder = os.environ.get("HORIZON_BO_DATA")
    if not folder:
        pytest.skip("HORIZON_BO_DATA is unset, expected a folder with cases.json and its sweeps")
    return Path(folder).resolve()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Every figure that a test saves, by the name of its file: to look at what it shows."""
    saved: dict[str, Figure] = {}
    save = Figure.savefig

    def kept(figure: Figure, path: str | Path, *given: object, **named: object) -> None:
        save(figure, path, *given, **named)
        saved[Path(path).name] = figure

    monkeypatch.setattr(Figure, "savefig", kept)
    return saved
