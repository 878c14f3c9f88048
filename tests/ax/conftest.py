"""Settings of the Ax tests: quiet, one thread, one database for the whole process."""

import logging

import pytest
from ax.api.configs import StorageConfig
from ax.utils.common.logger import set_ax_logger_levels

from horizon_bo.ax import sql_storage


@pytest.fixture(autouse=True)
def _quiet() -> None:
    set_ax_logger_levels(logging.CRITICAL)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> StorageConfig:
    """Ax keeps one database a process; experiments in it are told apart by name."""
    return sql_storage(f"sqlite:///{tmp_path_factory.mktemp('ax')}/studies.db")
