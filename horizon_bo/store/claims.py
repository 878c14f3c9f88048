"""Claims: which worker makes which run, and what if it falls silent?

A worker holds a run by a claim that it renews now and then, by the database's clock. One that
lapses is offered again as the run's next attempt; after too many the run is withdrawn and costs
nothing. Whichever attempt ends first counts, also one whose claim has lapsed.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from horizon_bo.errors import StorageError, StudyBusyError
from horizon_bo.store.database import clock, moment
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.store.owners import gone, shown_owner
from horizon_bo.store.schema import CLAIMS
from horizon_bo.study.branches import by_run, run_of
from horizon_bo.study.corrections import withdrawn
from horizon_bo.study.trials import Study, Suggestion, Trial

#: How long a claim lasts without being renewed, and how often it is renewed, in seconds.
LEASE_S, BEAT_S = 120.0, 20.0
#: How long a beat that is under way is waited for at the end, in seconds.
_LAST_BEAT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A run that one worker makes.

    Args:
        run: The run.
        attempt: Number of this attempt, from 1.
        lost: Attempts before that came to nothing.
        owner: The worker.
    """

    run: Suggestion
    attempt: int
    lost: int
    owner: str


def started(connection: Connection, store: StudyStore, owners: Mapping[int, str]) -> None:
    """Note which runs have just been suggested to which worker, within a writing transaction."""
    now = moment(connection)
    each = insert(CLAIMS).values(began=now, expires=now + LEASE_S)
    row = {"study": store.id, "state": "running", "attempt": 1, "lost": 0}
    if owners:
        rows = [{**row, "run": run_id, "owner": owner} for run_id, owner in owners.items()]
        connection.execute(each, rows)


def claim_waiting(
    store: StudyStore,
    known: StoredStudy,
    owner: str,
    *,
    retries: int,
    without: Sequence[float] = (),
) -> tuple[StoredStudy, Claim | None]:
    """Take the first run that waits for a worker, or that one has left; `None` if there is none.

    Args:
        store: Where the study is kept.
        known: The study as it was read before.
        owner: Who takes it; whoever holds a run already is given it again.
        retries: Attempts that may come to nothing before a run is withdrawn.
        without: Sizes of scales to leave alone, counts of parameters.
    """

    def left(connection: Connection) -> list[Row]:
        held = and_(CLAIMS.c.study == store.id, CLAIMS.c.state != "ended")
        rows = select(CLAIMS, moment(connection).label("now")).where(held).order_by(CLAIMS.c.run)
        return [row for row in connection.execute(rows) if row.owner == owner or _free(row)]

    def work(connection: Connection, now: StoredStudy) -> tuple[StoredStudy, Claim | None]:
        rows = left(connection)
        for row in [row for row in rows if row.owner == owner]:
            return now, _claim(now.study, row, row.attempt, row.lost, owner)
        runs = {trials[0].id: trials for trials in by_run(now.study.trials)}
        for row in rows:
            if runs[row.run][-1].params in without:
                continue
            lost = row.lost + (row.state == "running")
            if lost > retries:
                now = _withdrawn(connection, store, now, runs[row.run], row, lost)
                continue
            given = {"state": "running", "attempt": row.attempt + 1, "lost": lost, "owner": owner}
            given |= {"began": row.now, "expires": row.now + LEASE_S}
            connection.execute(update(CLAIMS).where(_row(store, row.run)).values(given))
            return now, _claim(now.study, row, row.attempt + 1, lost, owner)
        return now, None

    store.database.refuse_absent()
    known, there = store.database.read(lambda c: (store.caught_up(c, known), left(c)))
    if not there:
        return known, None
    return store.write(known, work)


def _free(row: Row) -> bool:
    return row.state == "waiting" or lapsed(row, row.now)


def _claim(study: Study, row: Row, attempt: int, lost: int, owner: str) -> Claim:
    return Claim(run=run_of(study, row.run), attempt=attempt, lost=lost, owner=owner)


def _withdrawn(
    connection: Connection,
    store: StudyStore,
    now: StoredStudy,
    trials: Sequence[Trial],
    row: Row,
    lost: int,
) -> StoredStudy:
    """The study with a run given up that no worker could finish: it costs nothing."""
    study, reason = now.study, f"{lost} workers fell silent while they made it"
    for trial in trials:
        if trial.status == "pending":
            study = study.with_outcome(withdrawn(trial, reason))
    facts = {"run": row.run, "attempt": row.attempt, "worker": row.owner, "reason": reason}
    return store.append(connection, now, "withdrawn", study, facts)


def renew(store: StudyStore, claim: Claim) -> bool:
    """Say that the owner is still there; whether the claim still holds."""

    def work(connection: Connection) -> bool:
        held = and_(
            _row(store, claim.run.id),
            CLAIMS.c.attempt == claim.attempt,
            CLAIMS.c.owner == claim.owner,
            CLAIMS.c.state == "running",
        )
        renewed = update(CLAIMS).where(held).values(expires=moment(connection) + LEASE_S)
        return connection.execute(renewed).rowcount == 1

    return store.database.note(work, patience_s=0.0)  # the next beat tries again


def give_back(store: StudyStore, claim: Claim, *, lost: bool) -> None:
    """Offer a run again, at once; `lost` where this attempt came to nothing by itself."""

    def work(connection: Connection) -> None:
        held = and_(_row(store, claim.run.id), CLAIMS.c.attempt == claim.attempt)
        given: dict[str, Any] = {"state": "waiting", "owner": None, "expires": None}
        running = and_(held, CLAIMS.c.state == "running")
        connection.execute(
            update(CLAIMS).where(running).values({**given, "lost": claim.lost + lost})
        )

    store.database.write(work)


def leave(connection: Connection, store: StudyStore, owner: str) -> None:
    """Offer again, within a writing transaction, what an owner was given and has not begun."""
    held = and_(CLAIMS.c.study == store.id, CLAIMS.c.owner == owner, CLAIMS.c.state == "running")
    given = {"state": "waiting", "owner": None, "expires": None}
    connection.execute(update(CLAIMS).where(held).values(given))


def tell(
    store: StudyStore,
    known: StoredStudy,
    claim: Claim,
    outcome: str,
    change: Callable[[Study], Study],
) -> tuple[StoredStudy, bool]:
    """Record how a run ended; whether it counts: the first outcome does, later ones are noted.

    Args:
        store: Where the study is kept.
        known: The study as it was read before.
        claim: What was made, and as which attempt.
        outcome: How it ended, for the history.
        change: The study with the outcome, from one where the run is pending.
    """
    facts = {"run": claim.run.id, "attempt": claim.attempt, "worker": claim.owner}
    facts |= {"outcome": outcome}
    call = uuid4().hex

    def work(connection: Connection, now: StoredStudy) -> tuple[StoredStudy, bool]:
        if store.written(connection, known, now, call) is not None:
            return now, True
        row = connection.execute(select(CLAIMS).where(_row(store, claim.run.id))).one_or_none()
        if row is None:
            raise StorageError(
                f"run {claim.run.id} was claimed by no worker, expected one of {store.shown}; "
                "report it with observe"
            )
        if row.state != "ended":
            ended = {"attempt": claim.attempt, "owner": claim.owner}
            if (row.attempt, row.owner) != (claim.attempt, claim.owner):
                connection.execute(update(CLAIMS).where(_row(store, claim.run.id)).values(ended))
            study = change(now.study)
            return store.append(connection, now, "observed", study, facts, call), True
        return store.append(connection, now, "repeated", now.study, facts, call), False

    return store.write(known, work)


def take_over(store: StudyStore) -> None:
    """Leave all that pends to a run loop, which starts again what nobody makes.

    Raises:
        StudyBusyError: Workers make some of it.
    """

    def work(connection: Connection) -> None:
        now_s, own = clock(connection), CLAIMS.c.study == store.id
        rows = connection.execute(select(CLAIMS).where(own, CLAIMS.c.state == "running")).all()
        if there := [row for row in rows if not lapsed(row, now_s)]:
            who = ", ".join(sorted({shown_owner(row.owner) for row in there}))
            raise StudyBusyError(
                f"{len(there)} runs are made by workers ({who}), expected none beside a run loop; "
                "wait for them or end them, or start another worker"
            )
        connection.execute(delete(CLAIMS).where(own, CLAIMS.c.state != "ended"))

    store.database.write(work)


def lapsed(row: Row, now_s: float) -> bool:
    """Whether a run that is claimed has lost its worker.

    A claim that lasts longer than any does was made before the clock was set back.
    """
    if row.state != "running":
        return False
    return not now_s <= row.expires <= now_s + 2 * LEASE_S or gone(row.owner)


def _row(store: StudyStore, run_id: int) -> ColumnElement[bool]:
    return and_(CLAIMS.c.study == store.id, CLAIMS.c.run == run_id)


@contextmanager
def beating(beat: Callable[[], bool], every_s: float) -> Iterator[threading.Event]:
    """Call `beat` now and then meanwhile; the event is set once it says that all is lost.

    A database that is away for a while loses nothing: the beat after finds out.
    """
    ended, lost = threading.Event(), threading.Event()

    def beats() -> None:
        while not ended.wait(every_s):
            try:
                if not beat():
                    lost.set()
                    return
            except StorageError:
                continue

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join(_LAST_BEAT_S)  # one that comes late renews nothing
