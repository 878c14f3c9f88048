"""Storage: how does a study survive a killed process?

A study on disk is an append-only table of events, each written in one transaction before the call
that caused it returns. Reading the events in order gives the study back. Two processes may share
one: the sequence number is unique, so whoever writes second learns that it has not seen everything.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from horizon_bo.errors import (
    HorizonBOError,
    StorageError,
    StudyExistsError,
    StudyFormatError,
    StudyNotFoundError,
)
from horizon_bo.study.records import as_json, study_from, study_record, trial_from, trial_record
from horizon_bo.study.trials import Study, Trial

#: Version of the tables and of the JSON in them; another one is refused, never guessed at.
FORMAT = "1"

#: How long a writer waits for another to finish, in seconds.
_PATIENCE_S = 30

_METADATA = MetaData()
_META = Table(
    "meta",
    _METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
_EVENTS = Table(
    "events",
    _METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),  # created, suggested, observed, imported
    Column("payload", Text, nullable=False),
    Column("time", String(40), nullable=False),
)


class StaleStudyError(StorageError):
    """Another process has written to the study since it was read."""


@dataclass(frozen=True)
class StoredStudy:
    """A study as read at one moment: `sequence` is the number of its last event."""

    study: Study
    sequence: int


@dataclass(frozen=True)
class StudyStore:
    """Where a study is kept: a path, or an SQLAlchemy URL."""

    address: str
    engine: Engine

    @property
    def name(self) -> str:
        """What people call the study: its file or database, never a password."""
        return Path(self.engine.url.database or self.address).name

    def create(self, study: Study) -> StoredStudy:
        """Write a new study; one that is already there is left alone and said so."""
        first = as_json(study_record(study))
        with _clear_errors(self.address), self.engine.begin() as connection:
            if inspect(connection).has_table(_META.name):
                raise StudyExistsError(
                    f"{self.address} already holds a study, expected a new path; "
                    "open it with HorizonTuner.open or name another"
                )
            _METADATA.create_all(connection, checkfirst=False)
            connection.execute(insert(_META), {"name": "format", "value": FORMAT})
            connection.execute(insert(_EVENTS), _event(0, "created", first))
        return StoredStudy(study, 0)

    def sequence(self) -> int:
        """The number of the last event, which grows with every change."""
        self._refuse_absent()
        with _clear_errors(self.address), self.engine.begin() as connection:
            return connection.scalar(select(func.max(_EVENTS.c.sequence))) or 0

    def _refuse_absent(self) -> None:
        """SQLite would make an empty file of a name that is not there."""
        path = self.engine.url.database
        if self.engine.dialect.name == "sqlite" and not Path(path or "").is_file():
            raise StudyNotFoundError(
                f"{self.address} does not exist, expected a study file; "
                f"make one with `horizon-bo init {self.address} …`"
            )

    def read(self) -> StoredStudy:
        """The study with every event that has been acknowledged."""
        self._refuse_absent()
        with _clear_errors(self.address), self.engine.begin() as connection:
            if not inspect(connection).has_table(_META.name):
                raise StudyFormatError(
                    f"{self.address} holds no study, expected one written by `horizon-bo init`; "
                    "delete it and start a new one"
                )
            version = connection.scalar(select(_META.c.value).where(_META.c.name == "format"))
            if version != FORMAT:
                raise StudyFormatError(
                    f"{self.address} has format {version}, expected {FORMAT}; "
                    "open it with the version of horizon_bo that wrote it"
                )
            rows = connection.execute(select(_EVENTS).order_by(_EVENTS.c.sequence)).all()
        return self._replayed(rows)

    def append(self, kind: str, trials: Sequence[Trial], *, after: int) -> int:
        """Write new and changed trials durably; the sequence number of the event.

        Raises:
            StaleStudyError: Event `after` is no longer the last one.
        """
        payload = as_json({"trials": [trial_record(trial) for trial in trials]})
        with _clear_errors(self.address), self.engine.begin() as connection:
            try:
                connection.execute(insert(_EVENTS), _event(after + 1, kind, payload))
            except IntegrityError as error:
                raise StaleStudyError(
                    f"{self.address} has events after {after}, expected none; "
                    "another process is writing to it, read it again and repeat the call"
                ) from error
        return after + 1

    def _replayed(self, rows: Sequence[Any]) -> StoredStudy:
        if [row.sequence for row in rows] != list(range(len(rows))) or not rows:
            raise StudyFormatError(
                f"{self.address} has {len(rows)} events with gaps, expected 0, 1, 2, …; "
                "restore a copy of the file"
            )
        trials: list[Trial] = []
        try:
            first, *later = [json.loads(row.payload) for row in rows]
            for trial in (trial_from(record) for entry in later for record in entry["trials"]):
                if trial.id > len(trials):
                    raise ValueError(f"trial {trial.id} comes before trial {len(trials)}")
                trials[trial.id : trial.id + 1] = [trial]
        except HorizonBOError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise StudyFormatError(
                f"{self.address} holds an event that cannot be read ({error}), expected JSON "
                "written by this version; restore a copy of the file"
            ) from error
        return StoredStudy(study_from(first, trials), len(rows) - 1)


def study_store(address: str | PathLike[str]) -> StudyStore:
    """The store at a path or an SQLAlchemy URL; nothing is read or written yet."""
    text = fspath(address)
    try:
        url = make_url(text if "://" in text else f"sqlite:///{text}")
        engine = create_engine(url, poolclass=NullPool)
    except (ArgumentError, SQLAlchemyError, ImportError) as error:
        raise StorageError(
            f"{text!r} is not an address of a study ({error}), expected a path or an SQLAlchemy "
            "URL such as sqlite:///runs.db; correct it"
        ) from error
    if engine.dialect.name == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise StorageError(
                f"{text!r} names a database in memory, which keeps nothing; "
                "expected a path, pass study=None for a study that need not last"
            )
        event.listen(engine, "connect", _make_durable)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return StudyStore(text, engine)


def _make_durable(connection: Any, _: Any) -> None:
    """WAL with a sync per commit; transactions begin where we say, also around DDL."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {1000 * _PATIENCE_S}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _event(sequence: int, kind: str, payload: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"sequence": sequence, "kind": kind, "payload": payload, "time": now}


@contextmanager
def _clear_errors(address: str) -> Iterator[None]:
    """Turn what a database may say into one clear line."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        if isinstance(error, HorizonBOError):
            raise
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "not a database" in said or "malformed" in said or "no such" in said:
            raise StudyFormatError(
                f"{address} is damaged or no study ({said}), expected an SQLite file written by "
                "`horizon-bo init`; restore a copy"
            ) from error
        if "already exists" in said:
            raise StudyExistsError(
                f"{address} already holds a study, expected a new path; open it or name another"
            ) from error
        raise StorageError(
            f"{address} refused the event ({said}), expected a writable disk with space; nothing "
            "of this call was recorded, mend the disk and repeat it"
        ) from error
