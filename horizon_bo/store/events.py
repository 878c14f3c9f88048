"""Events: how does a study survive a killed process, and the writing of many at once?

A study is an append-only list of events, each durable before the call that caused it returns.
Reading them in order gives the study back. Whoever writes holds the line (`database.py`), reads
what is new, applies its change to the study as it is then and appends the event: nobody is told to
try again, whatever he had read before.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select, update

from horizon_bo.errors import (
    HorizonBOError,
    StorageError,
    StudyFormatError,
)
from horizon_bo.store.database import Database
from horizon_bo.store.schema import CLAIMS, EVENTS, FORMAT, META, STUDIES
from horizon_bo.store.seals import sealed, unsealed
from horizon_bo.study.extension import same_question
from horizon_bo.study.records import (
    as_json,
    study_from,
    study_record,
    trial_from,
    trial_record,
)
from horizon_bo.study.trials import Study, Trial

T = TypeVar("T")

#: Kinds of events that this version understands.
KINDS = (
    *("created", "suggested", "observed", "imported", "withdrawn", "repeated", "checked"),
    *("corrected", "forgotten", "enqueued", "extended"),
)
#: The events of a study from one on, with the format that they are in.
_FORMAT_OF = select(META.c.value).where(META.c.name == "format")
_SINCE = (
    select(
        *(EVENTS.c.sequence, EVENTS.c.kind, EVENTS.c.payload, EVENTS.c.call),
        _FORMAT_OF.scalar_subquery().label("format"),
    )
    .where(EVENTS.c.study == bindparam("study"), EVENTS.c.sequence >= bindparam("first"))
    .order_by(EVENTS.c.sequence)
)
#: Name of a study that was given none.
ONLY_NAME = "study"


@dataclass(frozen=True)
class StoredStudy:
    """A study as read at one moment.

    Args:
        study: The study.
        sequence: Number of its last event.
        call: Which call wrote that event: a history that was restored and went on has another.
    """

    study: Study
    sequence: int
    call: str | None = None


@dataclass(frozen=True)
class StudyStore:
    """Where one study is kept.

    Args:
        database: The database, which may hold others.
        id: The study's own id: another study in its file's place has another.
        study_name: What it is called among those of the database.
    """

    database: Database
    id: str
    study_name: str

    @property
    def shown(self) -> str:
        """The address as people may see it."""
        return self.database.address.shown

    @property
    def name(self) -> str:
        """What people call the study: its file or database, and its name where that tells more."""
        file = Path(self.database.address.url.database or "").name
        return file if self.study_name == ONLY_NAME else f"{file}#{self.study_name}"

    @contextmanager
    def kept_open(self) -> Iterator["StudyStore"]:
        """The same store with one connection for several calls in a row."""
        with self.database.kept_open() as database:
            yield replace(self, database=database)

    def sequence(self) -> int:
        """The number of the last event, which grows with every change."""
        self.database.refuse_absent()
        last = self.database.read(
            lambda connection: connection.scalar(
                select(func.max(EVENTS.c.sequence)).where(EVENTS.c.study == self.id)
            )
        )
        if last is None:
            raise self._replaced()
        return last

    def read(self, known: StoredStudy | None = None) -> StoredStudy:
        """The study with every event that has been acknowledged.

        Args:
            known: As it was read before; only what is new is read then.
        """
        self.database.refuse_absent()
        return self.database.read(lambda connection: self.caught_up(connection, known))

    def latest(self, kind: str, *, after: int, count: int) -> list[Trial]:
        """The first trial of each of the last events of a kind, the last first.

        Args:
            kind: Kind of events.
            after: Number of an event; only what came after it is given.
            count: How many at most.
        """
        own = and_(EVENTS.c.study == self.id, EVENTS.c.kind == kind, EVENTS.c.sequence > after)
        rows = select(EVENTS.c.payload).where(own).order_by(EVENTS.c.sequence.desc()).limit(count)
        payloads = self.database.read(lambda connection: connection.scalars(rows).all())
        return [trial_from(json.loads(payload)["trials"][0]) for payload in payloads]

    def write(
        self,
        known: StoredStudy,
        work: Callable[[Connection, StoredStudy], tuple[StoredStudy, T]],
    ) -> tuple[StoredStudy, T]:
        """Do `work` on the study as it is now, while nobody else writes.

        Args:
            known: The study as it was read before.
            work: Appends events with `append` and gives the study after them, and a result. It is
                done again where the server went away meanwhile.
        """
        self.database.refuse_absent()
        return self.database.write(
            lambda connection: work(connection, self.caught_up(connection, known))
        )

    def record(
        self,
        known: StoredStudy,
        kind: str,
        change: Callable[[Study], Study],
        facts: Mapping[str, Any] | None = None,
    ) -> tuple[StoredStudy, tuple[Trial, ...]]:
        """Apply a change to the study, durably; the study and the trials made or altered.

        A change that brings no news leaves no event.
        """
        call = uuid4().hex

        def work(connection: Connection, now: StoredStudy) -> tuple[StoredStudy, tuple[Trial, ...]]:
            made = self.written(connection, known, now, call)
            if made is not None:
                return now, made
            study = change(now.study)
            after = self.append(connection, now, kind, study, facts, call)
            return after, altered_trials(now.study, study)

        return self.write(known, work)

    def written(
        self, connection: Connection, known: StoredStudy, now: StoredStudy, call: str
    ) -> tuple[Trial, ...] | None:
        """The trials of the event that a call wrote before the server went away, if it did.

        Who is not told that the commit was made does the same call again.
        """
        if now.sequence == known.sequence:
            return None
        payload = connection.scalar(
            select(EVENTS.c.payload).where(
                EVENTS.c.study == self.id,
                EVENTS.c.sequence > known.sequence,
                EVENTS.c.call == call,
            )
        )
        if payload is None:
            return None
        return tuple(trial_from(record) for record in json.loads(payload)["trials"])

    def append(
        self,
        connection: Connection,
        now: StoredStudy,
        kind: str,
        study: Study,
        facts: Mapping[str, Any] | None = None,
        call: str | None = None,
    ) -> StoredStudy:
        """Write the event that turns the study `now` into another, within a writing transaction.

        Args:
            connection: The transaction's.
            now: The study before.
            kind: One of `KINDS`.
            study: The study after.
            facts: How that came about; without them a change of nothing leaves no event.
            call: Id of the call; `None` makes one up.
        """
        after, row, altered = self.event(now, kind, study, facts, call)
        if row is None:
            return now
        connection.execute(insert(EVENTS), row)
        if (ended := _ended_runs(study, altered)) and kind != "imported":
            held = and_(CLAIMS.c.study == self.id, CLAIMS.c.run.in_(ended))
            connection.execute(update(CLAIMS).where(held).values(state="ended", expires=None))
        return after

    def event(
        self,
        now: StoredStudy,
        kind: str,
        study: Study,
        facts: Mapping[str, Any] | None = None,
        call: str | None = None,
    ) -> tuple[StoredStudy, dict[str, Any] | None, Sequence[Trial]]:
        """What `append` gives, and writes as a row of the events, if anything; altered trials."""
        altered = altered_trials(now.study, study)
        if not same_question(now.study, study):
            facts = {**(facts or {}), "study": study_record(study)}
        if not altered and not facts:
            return now, None, altered
        payload = as_json({"trials": [trial_record(trial) for trial in altered], **(facts or {})})
        after = StoredStudy(study, now.sequence + 1, call or uuid4().hex)
        return after, event_row(self.id, after.sequence, kind, payload, after.call), altered

    def caught_up(self, connection: Connection, known: StoredStudy | None) -> StoredStudy:
        """The study with what others have written since it was known."""
        first = 0 if known is None else known.sequence
        rows = connection.execute(_SINCE, {"study": self.id, "first": first}).all()
        _refuse_format(rows[0].format if rows else format_of(connection), self.shown)
        if known is not None:
            if not rows or (rows[0].sequence, rows[0].call) != (known.sequence, known.call):
                raise self._replaced()
            if len(rows) == 1:
                return known
        elif not rows and connection.scalar(select(STUDIES).where(STUDIES.c.id == self.id)) is None:
            raise self._replaced()
        return self._folded(rows, known)

    def _folded(self, rows: Sequence[Row], known: StoredStudy | None) -> StoredStudy:
        """The study after these events, the first of which is its beginning or the last known."""
        first = 0 if known is None else known.sequence
        if not rows or [row.sequence for row in rows] != [*range(first, first + len(rows))]:
            raise StudyFormatError(
                f"{self.shown} has {len(rows)} events with gaps, expected 0, 1, 2, …; "
                "restore a copy of the file"
            )
        try:
            if known is None:
                study, trials = study_from(self._payload(rows[0])["study"]), []
            else:
                study, trials = known.study, list(known.study.trials)
            for row in rows[1:]:
                _refuse_kind(row.kind, self.shown)
                payload = self._payload(row)
                if "study" in payload:
                    study = study_from(payload["study"])
                _take(trials, payload["trials"])
        except HorizonBOError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise StudyFormatError(
                f"{self.shown} holds an event that cannot be read ({error}), expected JSON "
                "written by this version; restore a copy of the file"
            ) from error
        last = rows[-1]
        return StoredStudy(replace(study, trials=tuple(trials)), last.sequence, last.call)

    def _payload(self, row: Row) -> dict[str, Any]:
        try:
            return unsealed(self.id, row.sequence, row.kind, row.payload)
        except StudyFormatError as error:
            raise StudyFormatError(f"{self.shown}: {error}") from error

    def _replaced(self) -> StorageError:
        return StorageError(
            f"{self.shown} no longer holds the study that was opened (id {self.id}), expected it "
            "unchanged or longer: another study or an older copy took its place, and nothing was "
            "written; open it again, and report to the study that suggested the run"
        )


def recorded(
    store: StudyStore | None, known: StoredStudy, kind: str, change: Callable[[Study], Study]
) -> tuple[StoredStudy, tuple[Trial, ...]]:
    """What `record` gives; without a store the study is kept in memory alone."""
    if store is not None:
        return store.record(known, kind, change)
    study = change(known.study)
    return StoredStudy(study, known.sequence + 1), altered_trials(known.study, study)


def altered_trials(before: Study, after: Study) -> tuple[Trial, ...]:
    """The trials that one study has and another had not, or otherwise."""
    known = before.trials
    return tuple(
        trial for trial in after.trials if trial.id >= len(known) or trial is not known[trial.id]
    )


def _ended_runs(study: Study, altered: Sequence[Trial]) -> list[int]:
    """Ids of the runs that these trials were the last of to end."""
    runs = {trial.id if trial.trunk is None else trial.trunk for trial in altered}
    pending = (trial for trial in study.trials if trial.status == "pending")
    return sorted(runs - {trial.id if trial.trunk is None else trial.trunk for trial in pending})


def _take(trials: list[Trial], records: Sequence[Mapping[str, Any]]) -> None:
    """Put trials in their places, each new one behind the last."""
    for trial in map(trial_from, records):
        if trial.id > len(trials):
            raise ValueError(f"trial {trial.id} comes before trial {len(trials)}")
        trials[trial.id : trial.id + 1] = [trial]


def format_of(connection: Connection) -> str:
    """The version of a database's tables."""
    version = connection.scalar(_FORMAT_OF)
    return "none" if version is None else version


def _refuse_format(version: str | None, shown: str) -> None:
    if version != FORMAT:
        raise StudyFormatError(
            f"{shown} has format {version}, expected {FORMAT}; "
            "open it with the version of horizon_bo that wrote it"
        )


def _refuse_kind(kind: str, shown: str) -> None:
    if kind not in KINDS:
        raise StudyFormatError(
            f"{shown} holds an event {kind!r}, expected one of {', '.join(KINDS)}; "
            "open it with the version of horizon_bo that wrote it"
        )


def event_row(
    study: str, sequence: int, kind: str, payload: str, call: str | None
) -> dict[str, Any]:
    """An event as a row of its table, sealed, with the time."""
    now = datetime.now(UTC).isoformat()
    given = {"study": study, "sequence": sequence, "kind": kind}
    return {**given, "payload": sealed(**given, payload=payload), "time": now, "call": call}
