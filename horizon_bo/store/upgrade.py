"""Upgrade: how does a study that an older version wrote become one of this version's?

By the migrations beside this file, one for each step between two formats, in one transaction:
either all of it happened or nothing. A copy of an SQLite file is made first and stays beside it.
"""

import shutil
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, select

from horizon_bo.errors import MissingExtraError, StudyFormatError
from horizon_bo.store.database import Database
from horizon_bo.store.schema import FORMAT, META

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgraded(database: Database, version: str) -> None:
    """Bring a database's tables from a version to this one.

    Raises:
        StudyFormatError: It was written by a newer version, or by none.
        MissingExtraError: The library that migrates is not installed.
    """
    where = database.address
    if not version.isdecimal() or int(version) > int(FORMAT):
        raise StudyFormatError(
            f"{where.shown} has format {version}, expected {FORMAT}; "
            "open it with the version of horizon_bo that wrote it"
        )

    if find_spec("alembic") is None:
        raise MissingExtraError(f"{where.shown}, of format {version},", "alembic", "upgrade")

    def work(connection: Connection) -> None:
        if connection.scalar(select(META.c.value).where(META.c.name == "format")) != version:
            return  # another process has done it meanwhile
        if where.path is not None:
            _keep_copy(where.path, version)
        _migrate(connection, version)

    database.write(work)


def _migrate(connection: Connection, version: str) -> None:
    from alembic import command  # takes a while to load, and is needed once in a study's life
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    command.stamp(config, version)
    command.upgrade(config, FORMAT)


def _keep_copy(path: Path, version: str) -> None:
    """Copy an SQLite file, with what its write-ahead log holds, under a name that is free."""
    names = (f"{path}.format-{version}" + (f".{k}" if k else "") for k in count())
    copy = next(name for name in map(Path, names) if not name.exists())
    draft = copy.with_name(f"{copy.name}.draft")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(draft)) as target:
        source.backup(target)
    shutil.copymode(path, draft)
    draft.replace(copy)
