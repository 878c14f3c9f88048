"""Asks: who waits for a suggestion, and which of them works it out?

Whoever wants a run puts down an ask, and one of those who wait is elected by a lease. Every
election has a number, the fence: who was taken for dead and comes back publishes nothing. The
others are called when there is news, or look now and then.
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    or_,
    select,
    update,
)

from horizon_bo.core import policy
from horizon_bo.store.claims import leave
from horizon_bo.store.database import moment, upsert
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.store.owners import gone, new_owner
from horizon_bo.store.schema import ASKS, SUGGESTERS

#: How long the lease and an ask last without being renewed, and how often they are, in seconds.
_LEASE_S, BEAT_S = 30.0, 5.0
#: How long an answer is kept for who asked and was held up, in seconds.
_KEPT_S = 86_400.0
#: How often those who wait look for their answers though nobody called, in seconds.
_LOOK_S = 1.0
#: Runs worked out at once at most, unless one asker wants more.
_MOST_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What somebody who waits wants.

    Args:
        wanted: Number of runs.
        without: Sizes of scales to leave out, counts of parameters.
        limits: What runs may take beside the budget.
        advised: Take no run where the advice is to stop.
        claims: The asker is a worker: its runs are offered again if it falls silent.
        asker: Who waits, by a name that is made up for each ask.
    """

    wanted: int = 1
    without: tuple[float, ...] = ()
    limits: policy.Limits | None = None
    advised: bool = False
    claims: bool = False
    asker: str = field(default_factory=new_owner)

    @property
    def terms(self) -> str:
        """What those who are served together must agree on."""
        limits = self.limits and [sorted(self.limits.tokens.items()), self.limits.flops]
        return json.dumps([list(self.without), self.advised, self.claims, limits])


@dataclass(frozen=True)
class Refusal:
    """Why there is no run: the advice is to stop, or nothing fits into the budget."""

    advised: bool
    reason: str


@dataclass(frozen=True)
class Answer:
    """What an asker is given: ids of runs, or why there is none."""

    runs: tuple[int, ...] = ()
    refusal: Refusal | None = None


def entered(
    store: StudyStore, known: StoredStudy, ask: Ask, connection: Connection
) -> tuple[StoredStudy, int | None]:
    """Put the ask down or renew it, and take the lease if it is free: the fence then."""
    now = moment(connection)
    put = upsert(connection, ASKS).values(
        study=store.id,
        asker=ask.asker,
        wanted=ask.wanted,
        terms=ask.terms,
        asked=now,
        expires=now + _LEASE_S,
    )
    expires = case((ASKS.c.answer.is_(None), put.excluded.expires), else_=ASKS.c.expires)
    key = [ASKS.c.study, ASKS.c.asker]
    put = put.on_conflict_do_update(index_elements=key, set_={"expires": expires})
    if connection.scalar(put.returning(ASKS.c.answer)) is not None:
        return known, None  # it came meanwhile
    fence = _elected(store, ask.asker, connection)
    # others may have been served since
    return known if fence is None else store.caught_up(connection, known), fence


def _elected(store: StudyStore, asker: str, connection: Connection) -> int | None:
    """The fence of a new election, `None` where somebody is working."""
    one, now = SUGGESTERS.c.study == store.id, moment(connection)
    lease = connection.execute(select(SUGGESTERS, now.label("now")).where(one)).one_or_none()
    if lease is None:
        first = upsert(connection, SUGGESTERS).values(study=store.id, fence=0, expires=0.0)
        connection.execute(first.on_conflict_do_nothing())
        return _elected(store, asker, connection)
    if lease.holder != asker and not _free(lease):
        return None
    given = {"holder": asker, "fence": lease.fence + 1, "expires": lease.now + _LEASE_S}
    taken = update(SUGGESTERS).where(one, SUGGESTERS.c.fence == lease.fence).values(given)
    return lease.fence + 1 if connection.execute(taken).rowcount == 1 else None


def _free(lease: Row) -> bool:
    held = lease.now <= lease.expires <= lease.now + 2 * _LEASE_S  # a clock may have been set back
    return lease.holder is None or not held or gone(lease.holder)


def waiting(store: StudyStore, ask: Ask, connection: Connection) -> list[Row]:
    """Asks that can be served along with this one, which comes first, then by time."""
    open_ = and_(ASKS.c.study == store.id, ASKS.c.terms == ask.terms, ASKS.c.answer.is_(None))
    rows = connection.execute(
        select(ASKS)
        .where(open_, ASKS.c.expires >= moment(connection))
        .order_by(ASKS.c.asked, ASKS.c.asker)
    ).all()
    there = [row for row in rows if not gone(row.asker)]
    return sorted(there, key=lambda row: row.asker != ask.asker)


def wanted(store: StudyStore, ask: Ask) -> int:
    """How many runs are to be worked out now for all who wait."""
    each = [row.wanted for row in store.database.read(lambda c: waiting(store, ask, c))]
    return max(each[0], min(sum(each), _MOST_AT_ONCE)) if each else 1


def renewed(store: StudyStore, ask: Ask, fence: int) -> bool:
    """Renew lease and ask; whether the election still holds."""

    def work(connection: Connection) -> bool:
        expires = moment(connection) + _LEASE_S
        connection.execute(update(ASKS).where(_own(store, ask)).values(expires=expires))
        lease = and_(SUGGESTERS.c.study == store.id, SUGGESTERS.c.fence == fence)
        held = update(SUGGESTERS).where(lease).values(expires=expires)
        return connection.execute(held).rowcount == 1

    return store.database.note(work, patience_s=0.0)  # the next beat tries again


def elected_still(store: StudyStore, fence: int, connection: Connection) -> bool:
    """Whether nobody else has been elected since."""
    lease = select(SUGGESTERS.c.fence).where(SUGGESTERS.c.study == store.id)
    return connection.scalar(lease) == fence


def answered(store: StudyStore, answers: Mapping[str, Answer], connection: Connection) -> None:
    """Put answers down for askers who wait, within a writing transaction."""
    one = and_(ASKS.c.study == store.id, ASKS.c.asker == bindparam("who"))
    given = {"answer": bindparam("what"), "expires": moment(connection) + _KEPT_S}
    rows = [{"who": who, "what": json.dumps(asdict(what))} for who, what in answers.items()]
    if rows:
        connection.execute(update(ASKS).where(one).values(given), rows)


def served(store: StudyStore, ask: Ask, connection: Connection) -> None:
    """Drop the ask of one who has its answer, and those of which nobody has heard for long."""
    past = or_(ASKS.c.asker == ask.asker, ASKS.c.expires < moment(connection))
    connection.execute(delete(ASKS).where(ASKS.c.study == store.id, past))


def released(store: StudyStore, fence: int, connection: Connection) -> None:
    """Give the lease up."""
    lease = and_(SUGGESTERS.c.study == store.id, SUGGESTERS.c.fence == fence)
    connection.execute(update(SUGGESTERS).where(lease).values(holder=None, expires=0.0))


def left(store: StudyStore, ask: Ask, connection: Connection) -> None:
    """Give up the ask of one who no longer waits, its lease, and what it may have been given."""
    lease = and_(SUGGESTERS.c.study == store.id, SUGGESTERS.c.holder == ask.asker)
    connection.execute(update(SUGGESTERS).where(lease).values(holder=None, expires=0.0))
    connection.execute(delete(ASKS).where(_own(store, ask)))
    leave(connection, store, ask.asker)
    store.database.call(connection)


def waited(store: StudyStore, known: StoredStudy, ask: Ask) -> tuple[StoredStudy, Answer | None]:
    """The study and the answer, `None` once the lease is free or the ask has to be renewed."""

    def look(connection: Connection) -> tuple[StoredStudy, Answer | None, bool]:
        answer, free = _looked(store, ask, connection)
        return known if answer is None else store.caught_up(connection, known), answer, free

    database, until = store.database, time.monotonic() + _LEASE_S / 3
    while True:
        since = database.called()
        now, answer, free = database.read(look)
        if answer is not None or free or time.monotonic() > until:
            return now, answer
        database.listen(_LOOK_S * random.uniform(0.5, 1.5), since)  # apart from each other


def _looked(store: StudyStore, ask: Ask, connection: Connection) -> tuple[Answer | None, bool]:
    """The answer, and whether somebody has to be elected or the ask put down again."""
    own = and_(ASKS.c.study == SUGGESTERS.c.study, ASKS.c.asker == ask.asker)
    row = connection.execute(
        select(SUGGESTERS, ASKS.c.asker, ASKS.c.answer, moment(connection).label("now"))
        .outerjoin_from(SUGGESTERS, ASKS, own)
        .where(SUGGESTERS.c.study == store.id)
    ).one()
    if row.answer is None:
        return None, row.asker is None or _free(row)
    record = json.loads(row.answer)
    refusal = record["refusal"]
    return Answer(tuple(record["runs"]), None if refusal is None else Refusal(**refusal)), False


def _own(store: StudyStore, ask: Ask) -> ColumnElement[bool]:
    return and_(ASKS.c.study == store.id, ASKS.c.asker == ask.asker)
