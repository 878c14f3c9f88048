"""Suggesting: who works out the next runs where many wait for one?

Whoever wants a run puts down an ask. One of those who wait is elected by a lease, works out runs
for all of them from one posterior, outside of any transaction, and publishes them, each a run of
its own. Every election has a number, the fence: who was taken for dead and comes back publishes
nothing. What is observed meanwhile does not void a suggestion; it only knew less, and its event
says how much.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial

from sqlalchemy import Connection, Row, and_, case, delete, func, insert, select, text, update

from horizon_bo.core import policy
from horizon_bo.core.inference import Belief
from horizon_bo.core.threads import one_thread
from horizon_bo.errors import BudgetExhaustedError, StorageError
from horizon_bo.store.apart import apart
from horizon_bo.store.claims import beating, leave, started
from horizon_bo.store.database import clock
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.store.owners import gone, new_owner
from horizon_bo.store.queue import handed_out
from horizon_bo.store.schema import ASKS, SUGGESTERS
from horizon_bo.study import changes
from horizon_bo.study.extension import same_question
from horizon_bo.study.trials import Study, Suggestion

#: How long the lease and an ask last without being renewed, and how often they are, in seconds.
_LEASE_S, _BEAT_S = 30.0, 5.0
#: How long an answer is kept for who asked and was held up, in seconds.
_KEPT_S = 86_400.0
#: The lease of a study for which nobody has ever worked out anything.
_FIRST = "INSERT INTO suggesters (study, fence, expires) VALUES (:study, 0, 0) ON CONFLICT DO NOTHING"
#: How often those who wait look for their answers where nobody can call them, all together, a
#: second, and one at most; and how often one who is called looks all the same, in seconds.
_LOOKS_PER_S, _LOOKS_OF_ONE, _CALLED_LOOKS_S = 100.0, 10.0, 1.0
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


@dataclass(frozen=True)
class Offer:
    """Runs that were worked out, and whether no more fit into the budget."""

    runs: Sequence[Suggestion]
    exhausted: bool


#: Works out runs for a study, or says why there is none. How many are wanted it asks once it knows
#: what to believe, since more may have come to wait meanwhile.
WorkOut = Callable[[Study, Callable[[], int]], Offer | Refusal]


@dataclass(frozen=True)
class _Entered:
    """What an asker finds: the fence of its election, or that so many wait with it."""

    fence: int | None
    waiting: int = 1


@dataclass(frozen=True)
class _Round:
    """Where a suggester stands: its own answer, and the fence of its election while it lasts."""

    answer: Answer | None
    fence: int | None


def working_out(ask: Ask, believed: Callable[[Study], Belief]) -> WorkOut:
    """How to work out runs for all who ask for the same.

    Args:
        ask: What they ask for.
        believed: What a study's runs say.
    """

    def work_out(study: Study, wanted: Callable[[], int]) -> Offer | Refusal:
        offered = changes.without_scales(study, ask.without)
        with one_thread():
            belief = believed(study)
            if ask.advised and (best := policy.recommend(offered, belief, limits=ask.limits)).stop:
                return Refusal(True, best.reason)
            count = wanted()
            try:
                runs = policy.suggest(offered, belief, n=count, limits=ask.limits)
            except BudgetExhaustedError as error:
                return Refusal(False, str(error))
        made = runs if count == ask.wanted else apart(study, runs)
        return Offer(made, len(runs) < count)

    return work_out


def suggested(
    store: StudyStore | None, known: StoredStudy, ask: Ask, work_out: WorkOut
) -> tuple[StoredStudy, Answer]:
    """Ask for runs and wait for them, or work them out for all who wait; queued ones come first.

    Args:
        store: Where the study is kept; `None` keeps it in memory, where nobody else waits.
        known: The study as it was read before.
        ask: What is asked for.
        work_out: How runs are worked out.
    """
    wanted = {"without": ask.without, "limits": ask.limits, "claims": ask.claims}
    known, queued = handed_out(store, known, ask.asker, ask.wanted, **wanted)
    if len(queued) == ask.wanted:
        return known, Answer(queued)
    rest = replace(ask, wanted=ask.wanted - len(queued))
    known, answer = _asked(store, known, rest, work_out)
    return known, Answer((*queued, *answer.runs), None if queued else answer.refusal)


def _asked(
    store: StudyStore | None, known: StoredStudy, ask: Ask, work_out: WorkOut
) -> tuple[StoredStudy, Answer]:
    """The answer to an ask for runs that nobody has thought of yet."""
    if store is None:
        return _suggested_in_memory(known, ask, work_out)
    with store.database.kept_open() as database:
        store, answer = replace(store, database=database), None
        try:
            if database.calls:
                database.listen()
            while answer is None:
                known, entered = database.note(partial(_entered, store, known, ask))
                if entered.fence is None:
                    answer = _waited(store, ask, entered.waiting)
                    known = known if answer is None else store.read(known)
                else:
                    known, answer = _served(store, known, ask, entered.fence, work_out)
        except BaseException:
            with suppress(StorageError):  # otherwise it lapses
                database.write(partial(_left, store, ask), patience_s=0.0)
            raise
    return known, answer


def _suggested_in_memory(
    known: StoredStudy, ask: Ask, work_out: WorkOut
) -> tuple[StoredStudy, Answer]:
    offer, study, ids = work_out(known.study, lambda: ask.wanted), known.study, []
    if isinstance(offer, Refusal):
        return known, Answer(refusal=offer)
    for run in offer.runs:
        ids.append(len(study.trials))
        study = changes.start(study, [run])
    return StoredStudy(study, known.sequence + 1), Answer(tuple(ids))


def _entered(
    store: StudyStore, known: StoredStudy, ask: Ask, connection: Connection
) -> tuple[StoredStudy, _Entered]:
    """Put the ask down or renew it, and take the lease if it is free."""
    now_s, mine = clock(connection), and_(ASKS.c.study == store.id, ASKS.c.asker == ask.asker)
    expires = case((ASKS.c.answer.is_(None), now_s + _LEASE_S), else_=ASKS.c.expires)
    if connection.execute(update(ASKS).where(mine).values(expires=expires)).rowcount == 0:
        given = {"study": store.id, "asker": ask.asker, "wanted": ask.wanted, "terms": ask.terms}
        connection.execute(insert(ASKS), {**given, "asked": now_s, "expires": now_s + _LEASE_S})
    fence = _elected(store, ask.asker, connection, now_s)
    if fence is not None:  # others may have been given runs since
        return store.caught_up(connection, known), _Entered(fence)
    open_ = and_(ASKS.c.study == store.id, ASKS.c.answer.is_(None))
    return known, _Entered(None, connection.scalar(select(func.count()).where(open_)) or 1)


def _elected(store: StudyStore, asker: str, connection: Connection, now_s: float) -> int | None:
    """The fence of a new election, `None` where somebody is working."""
    one = SUGGESTERS.c.study == store.id
    lease = connection.execute(select(SUGGESTERS).where(one)).one_or_none()
    if lease is None:
        connection.execute(text(_FIRST), {"study": store.id})
        return _elected(store, asker, connection, now_s)
    if lease.holder != asker and not _free(lease, now_s):
        return None
    given = {"holder": asker, "fence": lease.fence + 1, "expires": now_s + _LEASE_S}
    taken = update(SUGGESTERS).where(one, SUGGESTERS.c.fence == lease.fence).values(given)
    return lease.fence + 1 if connection.execute(taken).rowcount == 1 else None


def _free(lease: Row, now_s: float) -> bool:
    held = now_s <= lease.expires <= now_s + 2 * _LEASE_S  # a clock may have been set back
    return lease.holder is None or not held or gone(lease.holder)


def _waiting(store: StudyStore, ask: Ask, connection: Connection, now_s: float) -> list[Row]:
    """Asks that can be served along with this one, which comes first, then by time."""
    rows = connection.execute(
        select(ASKS)
        .where(ASKS.c.study == store.id, ASKS.c.terms == ask.terms, ASKS.c.answer.is_(None))
        .order_by(ASKS.c.asked, ASKS.c.asker)
    ).all()
    there = [row for row in rows if row.expires >= now_s and not gone(row.asker)]
    return sorted(there, key=lambda row: row.asker != ask.asker)


def _served(
    store: StudyStore, known: StoredStudy, ask: Ask, fence: int, work_out: WorkOut
) -> tuple[StoredStudy, Answer | None]:
    """Work out runs for all who wait until none does; one's own answer.

    `None` where somebody else was elected meanwhile. With its own answer given, the suggester goes
    on for others only from the posterior it has.
    """
    mine, state = None, _Round(None, fence)
    with beating(lambda: _renewed(store, ask, fence), _BEAT_S):
        while state.fence is not None:
            offer = work_out(known.study, partial(_wanted, store, ask))
            known, state = store.write(
                known, partial(_published, store, ask, fence, mine, offer, known)
            )
            mine = state.answer
    return known, mine


def _wanted(store: StudyStore, ask: Ask) -> int:
    """How many runs are to be worked out now for all who wait."""

    def work(connection: Connection) -> int:
        wanted = [row.wanted for row in _waiting(store, ask, connection, clock(connection))]
        return max(wanted[0], min(sum(wanted), _MOST_AT_ONCE)) if wanted else 1

    return store.database.read(work)


def _renewed(store: StudyStore, ask: Ask, fence: int) -> bool:
    """Renew lease and ask; whether the election still holds."""

    def work(connection: Connection) -> bool:
        expires = clock(connection) + _LEASE_S
        own = and_(ASKS.c.study == store.id, ASKS.c.asker == ask.asker)
        connection.execute(update(ASKS).where(own).values(expires=expires))
        lease = and_(SUGGESTERS.c.study == store.id, SUGGESTERS.c.fence == fence)
        renewed = update(SUGGESTERS).where(lease).values(expires=expires)
        return connection.execute(renewed).rowcount == 1

    return store.database.note(work, patience_s=0.0)  # the next beat tries again


def _left(store: StudyStore, ask: Ask, connection: Connection) -> None:
    """Give up the ask of one who no longer waits, its lease, and what it may have been given."""
    lease = and_(SUGGESTERS.c.study == store.id, SUGGESTERS.c.holder == ask.asker)
    connection.execute(update(SUGGESTERS).where(lease).values(holder=None, expires=0.0))
    own = and_(ASKS.c.study == store.id, ASKS.c.asker == ask.asker)
    connection.execute(delete(ASKS).where(own))
    leave(connection, store, ask.asker)


def _released(store: StudyStore, ask: Ask, fence: int, connection: Connection) -> None:
    """Give the lease up, and the ask with it."""
    store.database.call(connection)
    own = and_(ASKS.c.study == store.id, ASKS.c.asker == ask.asker)
    connection.execute(delete(ASKS).where(own))
    lease = and_(SUGGESTERS.c.study == store.id, SUGGESTERS.c.fence == fence)
    connection.execute(update(SUGGESTERS).where(lease).values(holder=None, expires=0.0))


def _published(
    store: StudyStore,
    ask: Ask,
    fence: int,
    mine: Answer | None,
    offer: Offer | Refusal,
    seen: StoredStudy,
    connection: Connection,
    now: StoredStudy,
) -> tuple[StoredStudy, _Round]:
    """Give what was worked out to those who wait, and the lease up if that was all."""
    lease = select(SUGGESTERS).where(SUGGESTERS.c.study == store.id)
    if connection.execute(lease).one().fence != fence:
        return now, _Round(mine, None)
    if not same_question(now.study, seen.study):  # what was worked out answers another
        if mine is None:
            return now, _Round(None, fence)
        _released(store, ask, fence, connection)
        return now, _Round(mine, None)
    now_s, left = clock(connection), [] if isinstance(offer, Refusal) else list(offer.runs)
    stale = and_(ASKS.c.study == store.id, ASKS.c.expires < now_s)
    connection.execute(delete(ASKS).where(stale))
    store.database.call(connection)
    open_ = False
    for row in _waiting(store, ask, connection, now_s):
        part, left = left[: row.wanted], left[row.wanted :]
        if isinstance(offer, Refusal):
            answer = Answer(refusal=offer)
        else:
            whole = len(part) == row.wanted or offer.exhausted
            now, runs = _started(store, row, part if whole else [], seen, connection, now)
            answer = Answer(runs)
        if not answer.runs and answer.refusal is None:
            open_ = True
            continue
        one = and_(ASKS.c.study == store.id, ASKS.c.asker == row.asker)
        given = {"answer": json.dumps(asdict(answer)), "expires": now_s + _KEPT_S}
        connection.execute(update(ASKS).where(one).values(given))
        mine = answer if row.asker == ask.asker else mine
    if open_ and (mine is None or now.study.informing == seen.study.informing):
        return now, _Round(mine, fence)
    _released(store, ask, fence, connection)
    return now, _Round(mine, None)


def _started(
    store: StudyStore,
    row: Row,
    runs: Sequence[Suggestion],
    seen: StoredStudy,
    connection: Connection,
    now: StoredStudy,
) -> tuple[StoredStudy, tuple[int, ...]]:
    """The study with an asker's runs pending, those that still fit into the budget; their ids."""
    study, ids = now.study, []
    for run in runs:
        if run.flops > study.affordable:
            break
        ids.append(len(study.trials))
        study = changes.start(study, [run])
    facts = {"asker": row.asker, "computed_at": seen.sequence} if ids else {}
    now = store.append(connection, now, "suggested", study, facts)
    if json.loads(row.terms)[2]:
        for run_id in ids:
            started(connection, store, run_id, row.asker)
    return now, tuple(ids)


def _waited(store: StudyStore, ask: Ask, waiting: int) -> Answer | None:
    """The answer, or `None` once the lease is free or the ask has to be renewed."""
    database, until = store.database, time.monotonic() + _LEASE_S / 3
    pause_s = _CALLED_LOOKS_S if database.calls else max(1 / _LOOKS_OF_ONE, waiting / _LOOKS_PER_S)
    own = and_(ASKS.c.study == SUGGESTERS.c.study, ASKS.c.asker == ask.asker)
    both = select(SUGGESTERS, ASKS.c.asker, ASKS.c.answer).outerjoin_from(SUGGESTERS, ASKS, own)
    statement = both.where(SUGGESTERS.c.study == store.id)

    def look(connection: Connection) -> tuple[Answer | None, bool]:
        row = connection.execute(statement).one()
        if row.answer is not None:
            return _answer_from(row.answer), False
        return None, row.asker is None or _free(row, clock(connection))

    while time.monotonic() < until:
        wait = database.listen if database.calls else database.pause
        wait(pause_s * random.uniform(0.5, 1.5))  # apart from each other
        answer, free = database.read(look)
        if answer is not None or free:
            return answer
    return None


def _answer_from(text: str) -> Answer:
    record = json.loads(text)
    refusal = record["refusal"]
    return Answer(tuple(record["runs"]), None if refusal is None else Refusal(**refusal))
