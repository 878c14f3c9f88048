"""Databases of the store's tests: a file, and a PostgreSQL server once per run of the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import Server, postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server."""
    with postgres() as running:
        yield running


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address for a new study, of each kind of database."""
    if request.param == "SQLite":
        return str(tmp_path / "runs.db")
    return request.getfixturevalue("server").database()
