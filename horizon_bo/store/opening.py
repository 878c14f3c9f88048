"""Opening: where does a new study go, and which one is meant by an address?"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection, Row, insert, inspect, select

from horizon_bo.errors import StudyExistsError, StudyFormatError, StudyNotFoundError
from horizon_bo.store.address import address_of
from horizon_bo.store.database import FIRST_PATIENCE_S, Database, database_at
from horizon_bo.store.events import ONLY_NAME, StoredStudy, StudyStore, event_row, format_of
from horizon_bo.store.schema import EVENTS, FORMAT, META, METADATA, STUDIES
from horizon_bo.store.upgrade import upgraded
from horizon_bo.study.extension import differences, shown_differences
from horizon_bo.study.records import as_json, study_record
from horizon_bo.study.trials import Study

#: What the name of a file that holds a study ends in, where it stands for a table.
STUDY_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def create_study(
    address: str | PathLike[str], study: Study, name: str | None = None, *, exist_ok: bool = False
) -> tuple[StudyStore, StoredStudy]:
    """Write a new study; one that is already there is left alone and said so.

    Args:
        address: A path or a URL; a file that is not there is made.
        study: The study, without trials.
        name: What to call it among the studies of the database; `None` takes the address's.
        exist_ok: Go on with the one that is there, where it asks the same.

    Raises:
        StudyExistsError: There is one, or one that asks something else.
    """
    try:
        return _created(address, study, name)
    except StudyExistsError:
        if not exist_ok:
            raise
    store, stored = open_study(address, name if address_of(address, name).study else ONLY_NAME)
    if found := differences(stored.study, study):
        raise StudyExistsError(
            f"{store.shown} holds a study that asks something else "
            f"({shown_differences(found, 'there')}), expected the same; extend it, go on with "
            "HorizonTuner.open, or name another"
        )
    return store, stored


def _created(
    address: str | PathLike[str], study: Study, name: str | None
) -> tuple[StudyStore, StoredStudy]:
    """Write a new study where there is none of its name."""
    place = address_of(address, name)
    database = database_at(place)
    store = StudyStore(database, uuid4().hex, place.study or ONLY_NAME)
    payload, call = as_json({"study": study_record(study)}), uuid4().hex

    def work(connection: Connection) -> None:
        if not inspect(connection).has_table(META.name):
            METADATA.create_all(connection, checkfirst=False)
            connection.execute(insert(META), {"name": "format", "value": FORMAT})
        elif _format(connection, place.shown) != FORMAT:
            raise _exists(place.shown, store.study_name)
        names = connection.scalars(select(STUDIES.c.name)).all()
        if store.study_name in names:
            raise _exists(place.shown, store.study_name)
        connection.execute(insert(STUDIES), {"id": store.id, "name": store.study_name})
        connection.execute(insert(EVENTS), event_row(store.id, 0, "created", payload, call))

    if place.path is not None:
        _make_owners(place.path)
    database.write(work, FIRST_PATIENCE_S)
    return store, StoredStudy(study, 0, call)


def names_study(text: object) -> bool:
    """Whether a text is the address of a study rather than of a table."""
    if not isinstance(text, str | PathLike):
        return False
    where = fspath(text)
    scheme, url, _ = where.partition("://")
    if url:
        return scheme.partition("+")[0] in ("sqlite", "postgres", "postgresql")
    return Path(where.partition("#")[0]).suffix in STUDY_SUFFIXES


def _make_owners(path: Path) -> None:
    """Make a file that is its owner's alone; why there can be none, the database says."""
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def study_store(address: str | PathLike[str], name: str | None = None) -> StudyStore:
    """The store of a study that exists; a file of an older version is upgraded, a copy kept.

    Args:
        address: A path or a URL, perhaps with the study's name behind `#`.
        name: The study's name; `None` means the address's, or the only one there.
    """
    return _store_in(database_at(address_of(address, name)))


def open_study(
    address: str | PathLike[str], name: str | None = None
) -> tuple[StudyStore, StoredStudy]:
    """The store of a study that exists, and what it holds, by one connection."""
    database = database_at(address_of(address, name))
    with database.kept_open() as kept:
        store = _store_in(kept)
        return replace(store, database=database), store.read()


def _store_in(database: Database) -> StudyStore:
    """The store of the study that a database's address means."""
    place = database.address
    database.refuse_absent()

    def studies(connection: Connection) -> tuple[str, Sequence[Row]]:
        _refuse_damaged(connection, place.shown)
        version = _format(connection, place.shown)
        there = version == FORMAT
        return version, connection.execute(select(STUDIES)).all() if there else ()

    version, rows = database.read(studies, FIRST_PATIENCE_S)
    if version != FORMAT:
        upgraded(database, version)
        version, rows = database.read(studies)
    found = [row for row in rows if place.study in (None, row.name)]
    if len(found) != 1:
        names = ", ".join(sorted(row.name for row in rows)) or "none"
        wanted = "no name" if place.study is None else f"the name {place.study!r}"
        raise StudyNotFoundError(
            f"{wanted} came for {place.shown}, expected one of its studies ({names}); "
            "put the name behind #"
        )
    return StudyStore(database, found[0].id, found[0].name)


def _refuse_damaged(connection: Connection, shown: str) -> None:
    """A page that was lost may have held the last events, which nobody would miss."""
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        said = " ".join(str(found).split())
        raise StudyFormatError(
            f"{shown} is damaged ({said}), expected a whole SQLite file; restore a copy"
        )


def _format(connection: Connection, shown: str) -> str:
    """The version of a database's tables, or word that it holds no study."""
    if not inspect(connection).has_table(META.name):
        raise StudyFormatError(
            f"{shown} holds no study, expected one written by `horizon-bo init`; "
            "delete it and start a new one"
        )
    return format_of(connection)


def _exists(shown: str, name: str) -> StudyExistsError:
    return StudyExistsError(
        f"{shown} already holds a study named {name!r}, expected a new path or name; open it with "
        "HorizonTuner.open or name another"
    )
