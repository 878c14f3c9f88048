"""Notebooks: each runs from top to bottom and ends by asserting its claim."""

import runpy
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


#: What one of them claims is statistics over many studies.
MARKS = {"04_calibration": pytest.mark.calibration}


@pytest.mark.notebook
@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=MARKS.get(p.stem, ())) for p in NOTEBOOKS]
)
def test_a_notebook_proves_its_claim(path: Path):
    assert "\nassert " in path.read_text()
    runpy.run_path(str(path))
