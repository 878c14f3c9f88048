"""Queue: which runs that somebody asked for are handed out before any other?"""

import math
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from sqlalchemy import Connection

from horizon_bo.core.policy import Limits
from horizon_bo.store.claims import started
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.study.trials import Study, Trial


def queued(
    study: Study, without: Sequence[float] = (), limits: Limits | None = None
) -> list[Trial]:
    """Runs that wait to be handed out, in the order in which they were asked for.

    Args:
        study: The study.
        without: Sizes of scales to leave out, counts of parameters.
        limits: What runs may take beside the budget.
    """
    most = {} if limits is None else limits.tokens
    return [
        trial
        for trial in study.trials
        if trial.state == "queued"
        and trial.params not in without
        and trial.tokens <= most.get(trial.params, math.inf)
    ]


def handed_out(
    store: StudyStore | None,
    known: StoredStudy,
    asker: str,
    count: int,
    *,
    without: Sequence[float] = (),
    limits: Limits | None = None,
    claims: bool = False,
) -> tuple[StoredStudy, tuple[int, ...]]:
    """Hand out at most so many of the queued runs, each to one asker alone; their ids.

    Args:
        store: Where the study is kept; `None` keeps it in memory.
        known: The study as it was read just now.
        asker: Who asks.
        count: How many runs it wants.
        without: Sizes of scales to leave out, counts of parameters.
        limits: What runs may take beside the budget.
        claims: The asker is a worker: its runs are offered again if it falls silent.
    """

    def taken(study: Study) -> tuple[Study, tuple[int, ...]]:
        runs = queued(study, without, limits)[:count]
        for run in runs:
            study = study.with_outcome(replace(run, queued=False))
        return study, tuple(run.id for run in runs)

    if store is None:
        study, ids = taken(known.study)
        return (StoredStudy(study, known.sequence + 1) if ids else known), ids
    if not queued(known.study, without, limits):
        return known, ()
    call = uuid4().hex

    def work(connection: Connection, now: StoredStudy) -> tuple[StoredStudy, tuple[int, ...]]:
        if (made := store.written(connection, known, now, call)) is not None:
            return now, tuple(trial.id for trial in made)
        study, ids = taken(now.study)
        now = store.append(connection, now, "suggested", study, {"asker": asker}, call)
        started(connection, store, {run_id: asker for run_id in ids if claims})
        return now, ids

    return store.write(known, work)
