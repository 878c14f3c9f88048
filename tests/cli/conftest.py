"""A study that tests of the command line share."""

from pathlib import Path

import pytest

from tests.studies import tuner_with_pending


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A study with one pending run in the working directory."""
    monkeypatch.chdir(tmp_path)
    tuner_with_pending(tmp_path / "runs.db")
    return tmp_path / "runs.db"
