"""Status: which runs does a study have, who makes them, and who waits for one?"""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, and_, select

from horizon_bo.store.claims import LEASE_S, lapsed
from horizon_bo.store.database import clock, moment
from horizon_bo.store.events import StudyStore
from horizon_bo.store.owners import gone, shown_owner
from horizon_bo.store.schema import ASKS, CLAIMS
from horizon_bo.study.branches import by_run, suggestion
from horizon_bo.study.trials import Study, Trial

#: States of runs that have not ended.
UNDER_WAY = ("running", "waiting", "lapsed", "handed out", "trained")


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where a run stands.

    Args:
        id: Its id.
        state: "running", "waiting" for a worker, "lapsed" (its worker is silent), "handed out"
            (suggested to somebody who will report it), "queued" (asked for and to be handed out
            next), "trained" (its loop is yet to report it), "withdrawn", "forgotten", or how it
            ended.
        worker: Who makes or made it, machine and process; `None` where no worker did.
        attempt: Number of the last attempt by a worker; `None` where no worker did.
        since_s: How long a running attempt has lasted, seconds.
        heard_s: How long ago the worker of a running or lapsed attempt last said that it is
            there, seconds.
        learning_rate: As given to the optimizer.
        params: Count of parameters.
        tokens: Training tokens, a count.
        flops: Compute it is charged, FLOP.
        loss: Final loss, of the longest reading.
        done: Share of its tokens that a running attempt has trained, where its folder says so.
    """

    id: int
    state: str
    worker: str | None
    attempt: int | None
    since_s: float | None
    heard_s: float | None
    learning_rate: float
    params: float
    tokens: float
    flops: float
    loss: float | None
    done: float | None


def run_statuses(store: StudyStore, study: Study) -> list[RunStatus]:
    """Where every run of a study stands, in the order of their ids."""

    def work(connection: Connection) -> tuple[dict[int, Row], float]:
        rows = connection.execute(select(CLAIMS).where(CLAIMS.c.study == store.id)).all()
        return {row.run: row for row in rows}, clock(connection)

    claims, now_s = store.database.read(work)
    return [
        _status(study, trials, claims.get(trials[0].id), now_s) for trials in by_run(study.trials)
    ]


def askers(store: StudyStore) -> tuple[str, ...]:
    """Who waits for a suggestion, machine and process, in the order of asking."""

    def work(connection: Connection) -> list[str]:
        waits = and_(ASKS.c.answer.is_(None), ASKS.c.expires >= moment(connection))
        own = and_(ASKS.c.study == store.id, waits)
        return list(connection.scalars(select(ASKS.c.asker).where(own).order_by(ASKS.c.asked)))

    return tuple(shown_owner(one) for one in store.database.read(work) if not gone(one))


def _status(study: Study, trials: tuple[Trial, ...], claim: Row | None, now_s: float) -> RunStatus:
    run, last = suggestion(trials, study), trials[-1]
    state = _state(trials, claim, now_s)
    held = claim is not None and state in ("running", "lapsed")
    began_s = claim.began if claim is not None and state == "running" else None
    return RunStatus(
        id=run.id,
        state=state,
        worker=None if claim is None or claim.owner is None else shown_owner(claim.owner),
        attempt=None if claim is None else claim.attempt,
        since_s=None if began_s is None else now_s - began_s,
        heard_s=now_s - (claim.expires - LEASE_S) if claim is not None and held else None,
        learning_rate=run.learning_rate,
        params=run.params,
        tokens=run.tokens,
        flops=sum(trial.flops for trial in trials if trial.charged),
        loss=last.loss,
        done=None,
    )


def _state(trials: tuple[Trial, ...], claim: Row | None, now_s: float) -> str:
    pending = any(trial.status == "pending" for trial in trials)
    last = trials[-1]
    if not pending:
        given_up = claim is not None and last.status == "failed" and not last.charged
        return "withdrawn" if given_up else last.state
    if last.state == "queued":
        return "queued"
    if claim is None or claim.state == "ended":
        return "handed out"
    return "lapsed" if lapsed(claim, now_s) else claim.state
