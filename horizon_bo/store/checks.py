"""Checks: which check of a study is the last, and how is what it expects kept unchanged?

What is expected of a check's runs is written in the event that makes them pending, before any is
made. Events are only ever added, so nobody can change it once the runs have ended.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, select

from horizon_bo.core.checks.check import Expectation, expected, proposed
from horizon_bo.core.checks.rehearsal import Check, checked
from horizon_bo.core.inference import Belief
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.store.schema import EVENTS
from horizon_bo.store.threads import one_thread
from horizon_bo.study.trials import Study, Trial

#: Kind of the events that hold what a check expects.
CHECKED = "checked"


def check(
    store: StudyStore | None,
    known: StoredStudy,
    held: Sequence[Expectation],
    believed: Callable[[Study], Belief],
    max_cost: float,
) -> tuple[StoredStudy, Check]:
    """The last check as it stands, or a new one where runs have ended since or none was made.

    Args:
        store: Where the study is kept; `None` keeps it in memory.
        known: The study as it was read last.
        held: What earlier checks of a study in memory expected.
        believed: What a study's runs say.
        max_cost: What a new check may cost in all, in target runs.
    """
    told = held
    if store is not None:  # at one moment, so that the last check's runs are in the study
        known, told = store.database.read(
            lambda c: (store.caught_up(c, known), expectations(store, c))
        )
    with one_thread():
        if told and not _is_past(known.study, told[-1]):
            last = checked(known.study, told[-1], believed)
            if last.pending or last.verdict is not None:
                return known, last
        study = known.study
        trials = proposed(study, believed(study), max_cost)
        fresh = expected(study, believed(study), trials, max_cost)
        now, fresh = _written(store, known, trials, fresh)
        return now, checked(now.study, fresh, believed)


def expectations(
    store: StudyStore, connection: Connection, after: int = 0
) -> tuple[Expectation, ...]:
    """What every check of a study expected, in order.

    Args:
        store: Where the study is kept.
        connection: To read with.
        after: Number of an event; only what was written after it is given.
    """
    rows = connection.scalars(
        select(EVENTS.c.payload)
        .where(EVENTS.c.study == store.id, EVENTS.c.kind == CHECKED, EVENTS.c.sequence > after)
        .order_by(EVENTS.c.sequence)
    )
    held = (json.loads(payload)["expected"] for payload in rows)
    return tuple(
        Expectation(**{name: _tuples(value) for name, value in record.items()}) for record in held
    )


def _tuples(value: Any) -> Any:
    """A value whose lists, which JSON has, are tuples again."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _is_past(study: Study, told: Expectation) -> bool:
    """Whether runs that were started after a check have ended."""
    return any(trial.id > told.trials[-1] for trial in study.informing)


def _written(
    store: StudyStore | None, known: StoredStudy, trials: Sequence[Trial], told: Expectation
) -> tuple[StoredStudy, Expectation]:
    """The study with a check's runs pending, and what is expected of them under their ids.

    Where another process has written a check meanwhile, it is that one.
    """

    def placed(study: Study) -> tuple[Study, Expectation]:
        first = len(study.trials)
        runs = [replace(trial, id=first + k) for k, trial in enumerate(trials)]
        ids = tuple(run.id for run in runs)
        return study.with_trials(*runs), replace(told, trials=ids)

    if store is None:
        study, fresh = placed(known.study)
        return StoredStudy(study, known.sequence + 1), fresh

    def work(connection: Connection, now: StoredStudy) -> tuple[StoredStudy, Expectation]:
        if others := expectations(store, connection, known.sequence):
            return now, others[-1]
        study, fresh = placed(now.study)
        facts = {"expected": asdict(fresh)}
        return store.append(connection, now, CHECKED, study, facts), fresh

    return store.write(known, work)
