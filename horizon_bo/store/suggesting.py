"""Suggesting: how are the next runs worked out once, for all who wait for one?

Who is elected among those who wait works out runs for all of them from one posterior, outside of
any transaction, and publishes them, each a run of its own. What is observed meanwhile does not void
a suggestion; it only knew less, and its event says how much.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, insert

from horizon_bo.core import policy
from horizon_bo.core.inference import Belief
from horizon_bo.errors import BudgetExhaustedError, StorageError
from horizon_bo.store import asks
from horizon_bo.store.apart import apart
from horizon_bo.store.asks import Answer, Ask, Refusal
from horizon_bo.store.claims import beating, started
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.store.queue import handed_out
from horizon_bo.store.schema import EVENTS
from horizon_bo.store.threads import one_thread
from horizon_bo.study import changes
from horizon_bo.study.extension import same_question
from horizon_bo.study.trials import Study, Suggestion


@dataclass(frozen=True)
class Offer:
    """Runs that were worked out, and whether no more fit into the budget."""

    runs: Sequence[Suggestion]
    exhausted: bool


#: Works out runs for a study, or says why there is none. How many are wanted it asks once it knows
#: what to believe, since more may have come to wait meanwhile.
WorkOut = Callable[[Study, Callable[[], int]], Offer | Refusal]


@dataclass(frozen=True)
class _Made:
    """What was worked out.

    Args:
        store: Where the study is kept.
        ask: Of whom worked it out.
        call: Id of the event that gives it its own answer.
        offer: What it is.
        seen: The study that it was worked out for.
    """

    store: StudyStore
    ask: Ask
    call: str
    offer: Offer | Refusal
    seen: StoredStudy


@dataclass(frozen=True)
class _Round:
    """Where a suggester stands.

    Args:
        fence: Number of its election.
        answer: Its own answer, once there is one.
        over: It works out no more.
    """

    fence: int
    answer: Answer | None = None
    over: bool = False


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
        known: The study as it was read just now.
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
    with store.kept_open() as store:
        database, answer = store.database, None
        try:
            while answer is None:
                known, fence = database.note(partial(asks.entered, store, known, ask))
                if fence is None:
                    known, answer = asks.waited(store, known, ask)
                else:
                    known, answer = _served(store, known, ask, fence, work_out)
        except BaseException:
            with suppress(StorageError):  # otherwise it lapses
                database.write(partial(asks.left, store, ask), patience_s=0.0)
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


def _served(
    store: StudyStore, known: StoredStudy, ask: Ask, fence: int, work_out: WorkOut
) -> tuple[StoredStudy, Answer | None]:
    """Work out runs for all who wait until none does; one's own answer.

    `None` where somebody else was elected meanwhile. With its own answer given, the suggester goes
    on for others only from the posterior it has.
    """
    state, call = _Round(fence), uuid4().hex
    with beating(lambda: asks.renewed(store, ask, fence), asks.BEAT_S):
        while not state.over:
            offer = work_out(known.study, lambda: asks.wanted(store, ask))
            made = _Made(store, ask, call, offer, known)
            known, state = store.write(known, partial(_published, made, state))
    return known, state.answer


def _published(
    made: _Made, state: _Round, connection: Connection, now: StoredStudy
) -> tuple[StoredStudy, _Round]:
    """Give what was worked out to those who wait, and the lease up if that was all."""
    store, mine, seen = made.store, state.answer, made.seen
    if mine is None and (told := store.written(connection, seen, now, made.call)) is not None:
        mine = Answer(tuple(trial.id for trial in told))  # done before, and nobody was told
    elif not asks.elected_still(store, state.fence, connection):
        return now, replace(state, over=True)
    elif same_question(now.study, seen.study):  # else what was worked out answers another
        now, mine, open_ = _given(made, mine, connection, now)
        if open_ and (mine is None or now.study.informing == seen.study.informing):
            return now, replace(state, answer=mine)
    elif mine is None:
        return now, state
    asks.released(store, state.fence, connection)
    return now, replace(state, answer=mine, over=True)


def _given(
    made: _Made, mine: Answer | None, connection: Connection, now: StoredStudy
) -> tuple[StoredStudy, Answer | None, bool]:
    """Give runs to all who wait; one's own answer, and whether some have none yet."""
    store, offer = made.store, made.offer
    left = [] if isinstance(offer, Refusal) else list(offer.runs)
    rows = asks.waiting(store, made.ask, connection)
    answers: dict[str, Answer] = {}
    events: list[dict[str, Any]] = []
    for row in rows:
        part, left = left[: row.wanted], left[row.wanted :]
        if isinstance(offer, Refusal):
            answers[row.asker] = Answer(refusal=offer)
        elif len(part) == row.wanted or offer.exhausted:
            now, runs, event = _started(made, row.asker, part, now)
            events += event
            answers |= {row.asker: Answer(runs)} if runs else {}
    if events:
        connection.execute(insert(EVENTS), events)
    owners = {run: asker for asker, answer in answers.items() for run in answer.runs}
    started(connection, store, owners if made.ask.claims else {})
    open_ = len(answers) < len(rows)
    mine = answers.pop(made.ask.asker, mine)
    asks.answered(store, answers, connection)
    if mine is not None:
        asks.served(store, made.ask, connection)
    store.database.call(connection)
    return now, mine, open_


def _started(
    made: _Made, asker: str, runs: Sequence[Suggestion], now: StoredStudy
) -> tuple[StoredStudy, tuple[int, ...], list[dict[str, Any]]]:
    """The study with an asker's runs pending, as many as still fit; their ids, and the event."""
    study, ids = now.study, []
    for run in runs:
        if run.flops > study.affordable:
            break
        ids.append(len(study.trials))
        study = changes.start(study, [run])
    facts = {"asker": asker, "computed_at": made.seen.sequence} if ids else {}
    call = made.call if asker == made.ask.asker else None
    now, event, _ = made.store.event(now, "suggested", study, facts, call)
    return now, tuple(ids), [] if event is None else [event]
