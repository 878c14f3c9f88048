"""Notebooks: each runs from top to bottom and ends by asserting its claim."""

import runpy
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_proves_its_claim(path: Path):
    assert "\nassert " in path.read_text()
    runpy.run_path(str(path))
