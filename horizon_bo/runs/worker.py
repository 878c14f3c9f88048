"""Worker: how do many machines make the runs of one study, without anybody in charge?

Each takes the next run, trains it and reports, until the study says stop. What ended is written to
the run's folder before it is reported. A worker that dies leaves a claim that lapses, and the next
attempt goes on in the run's folder; one that is asked to end gives its claim back at once.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from horizon_bo.errors import StudyBusyError, TrainingFailedError
from horizon_bo.runs.asked import Asked, AskedToEndError, asked_to_end
from horizon_bo.runs.commands import Command, Function
from horizon_bo.runs.cost import Measured, measured
from horizon_bo.runs.engines.guards import Guards
from horizon_bo.runs.engines.local import Local
from horizon_bo.runs.folder import kept_in, locked, refuse_another_study, write_json
from horizon_bo.runs.jobs import Flight, RunEvent, Watch, WatchedState, begin, called
from horizon_bo.runs.outcomes import (
    PASSING,
    Outcome,
    by_branch,
    outcome_of,
    outcome_record,
    stored_outcome,
    unrecorded_readings,
)
from horizon_bo.runs.plan import RunPlan
from horizon_bo.runs.processes import launching, slots
from horizon_bo.store.asks import Ask, Refusal
from horizon_bo.store.claims import BEAT_S, Claim, beating, claim_waiting, give_back, renew, tell
from horizon_bo.store.events import StoredStudy, StudyStore
from horizon_bo.store.owners import new_owner
from horizon_bo.store.suggesting import Offer, WorkOut, suggested
from horizon_bo.study import changes
from horizon_bo.study.branches import run_of
from horizon_bo.study.trials import Study, Suggestion

#: How often a folder that another attempt holds is looked at, in seconds.
_POLL_S = 0.05
#: Failed runs in a row, of all workers, after which something is wrong with the command.
_MOST_FAILURES = 3
#: How long a run may take while the connection stays open for what comes after it, in seconds.
_RESTS_S = 1.0
#: How long the process of an attempt before may take to end, in seconds.
_ENDING_S = 30.0


@dataclass(frozen=True)
class Work:
    """What stays the same while a worker works.

    Args:
        store: Where the study is kept.
        ask: What it asks for.
        work_out: How it works out suggestions, for itself and others, when it is its turn.
        objective: How a run is trained.
        root: Where runs keep their folders, the same for all workers.
        plan: Time-out, retries and the most runs.
        watch: Called with what happens.
        measured: Speeds of the runs that ended.
        guards: What starts guards.
    """

    store: StudyStore
    ask: Ask
    work_out: WorkOut
    objective: Command | Function
    root: Path
    plan: RunPlan
    watch: Watch
    measured: tuple[Measured, ...]
    guards: Guards


@dataclass(frozen=True)
class WorkReport:
    """What a worker did.

    Args:
        observed: Ids of the runs whose end it recorded, in order.
        reason: Why it took no further one.
        asked: Somebody asked it to end.
    """

    observed: tuple[int, ...]
    reason: str
    asked: bool = False


def work_on(work: Work, known: StoredStudy) -> tuple[StoredStudy, WorkReport]:
    """Take, train and report runs until the study says stop, or somebody asks this to end.

    Raises:
        TrainingFailedError: Runs keep failing, whoever made them, or the GPU is gone.
    """
    observed: list[int] = []
    with asked_to_end() as asked:
        try:
            known, reason = _worked(_ending(work, asked), known, asked, observed)
        except AskedToEndError:
            reason = ""
        if asked.by is not None:
            reason = f"asked to end by {asked.by}"
    return known, WorkReport(tuple(observed), reason, asked=asked.by is not None)


def _ending(work: Work, asked: Asked) -> Work:
    """The same work, whose waits and inference end where this process is asked to."""

    def work_out(study: Study, wanted: Callable[[], int]) -> Offer | Refusal:
        with asked.breaking_off():
            return work.work_out(study, lambda: asked.whole(wanted))

    database = replace(work.store.database, waiting=asked.breaking_off)
    return replace(work, store=replace(work.store, database=database), work_out=work_out)


def _worked(
    work: Work, known: StoredStudy, asked: Asked, observed: list[int]
) -> tuple[StoredStudy, str]:
    """Take, train and report runs; why no further one was taken."""
    began, ended = known.sequence, None
    with work.store.kept_open() as store:
        while True:
            if ended is not None:
                own = measured(work.root / str(ended[0].run.id), ended[0].run, ended[1])
                work = replace(work, measured=(*work.measured, *own))
            near = replace(work, store=store)
            if ended is not None:
                known, counts = _told(near, known, *ended)
                observed += [ended[0].run.id] if counts else []
                _refuse_failing(near, ended[1], began)
            reason = _reason_to_end(work, asked, observed)
            known, taken = (known, reason) if reason else _taken(near, known)
            if isinstance(taken, str):
                return known, taken
            with _resting(store):
                outcome = _made(work, known, taken, asked)
            ended = None if outcome is None else (taken, outcome)


@contextmanager
def _resting(store: StudyStore) -> Iterator[None]:
    """Close the connection meanwhile, if this takes longer: a server has few, and many workers."""
    timer = threading.Timer(_RESTS_S, store.database.rest)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _reason_to_end(work: Work, asked: Asked, observed: Sequence[int]) -> str | None:
    """Why no further run is taken, whatever the study says."""
    if asked.by is not None:
        return f"asked to end by {asked.by}"
    if work.plan.max_runs is not None and len(observed) >= work.plan.max_runs:
        return f"as many runs as asked for were made ({work.plan.max_runs})"
    return None


def _taken(work: Work, known: StoredStudy) -> tuple[StoredStudy, Claim | str]:
    """The next run, one that waits before any new one, or why there is none."""
    ask = replace(work.ask, asker=new_owner())
    known, claim = claim_waiting(
        work.store, known, ask.asker, retries=work.plan.retries, without=ask.without
    )
    if claim is not None:
        return known, claim
    known, answer = suggested(work.store, known, ask, work.work_out)
    if answer.refusal is not None:
        return known, answer.refusal.reason
    run = run_of(known.study, answer.runs[0])
    return known, Claim(run=run, attempt=1, lost=0, owner=ask.asker)


def _made(work: Work, known: StoredStudy, claim: Claim, asked: Asked) -> Outcome | None:
    """How a run ended, to be reported; `None` where it was given back."""
    folder = work.root / str(claim.run.id)
    refuse_another_study(folder, claim.run)
    try:
        with beating(lambda: renew(work.store, claim), BEAT_S) as lost:
            outcome = stored_outcome(folder) or _trained(work, known, claim, asked, lost)
    except StudyBusyError:  # a worker that is out of touch still makes it, and will notice
        outcome = None
    except BaseException:
        give_back(work.store, claim, lost=False)
        raise
    if outcome is None:
        give_back(work.store, claim, lost=False)
        return None
    if outcome.cause in PASSING and claim.lost < work.plan.retries:
        give_back(work.store, claim, lost=True)
        line = f"{outcome.cause} ({outcome.detail}): offered again"
        _show(work, known, RunEvent("retried", claim.run, folder, line))
        if outcome.cause == "GPU lost":
            raise TrainingFailedError(
                f"the GPU of this machine is gone ({outcome.detail}), expected it to stay; run "
                f"{claim.run.id} is offered again, mend the machine and start another worker"
            )
        return None
    return outcome


def _told(
    work: Work, known: StoredStudy, claim: Claim, outcome: Outcome
) -> tuple[StoredStudy, bool]:
    """Keep an outcome in the run's folder, then in the study."""
    folder, run = work.root / str(claim.run.id), claim.run
    write_json(folder / "outcome.json", outcome_record(outcome))
    line = outcome.cause if outcome.loss is None else f"loss {outcome.loss:g}"
    with kept_in(folder):
        known, counts = tell(
            work.store, known, claim, line, lambda study: _with_outcome(study, run, outcome)
        )
    line += f" ({outcome.detail})" if outcome.detail else ""
    line += "" if counts else ", not counted: another attempt was first"
    _show(work, known, RunEvent("ended", run, folder, line, outcome))
    return known, counts


def _with_outcome(study: Study, run: Suggestion, outcome: Outcome) -> Study:
    """The study with a run's outcome and the other readings of it that it does not hold yet."""
    for branch, part in by_branch(study, run, outcome):
        study = changes.observe(study, run, branch=branch, **part.told)
    return changes.import_runs(study, unrecorded_readings(study, run, outcome))


def _trained(
    work: Work, known: StoredStudy, claim: Claim, asked: Asked, lost: threading.Event
) -> Outcome | None:
    """How a run's training ended; `None` where it was broken off."""
    folder = work.root / str(claim.run.id)
    (slot,) = slots(1, ())  # a GPU is the scheduler's to give
    with _free(folder, asked) as lock, launching(lock, work.plan.timeout_s, work.guards) as launch:
        flight = begin(work.objective, launch, claim.run, folder, slot, claim.attempt)
        again = f", attempt {claim.attempt}" if claim.attempt > 1 else ""
        event = RunEvent("started", claim.run, folder, f"started in {slot.name}{again}")
        _show(work, known, event, flight)
        with asked.breaking_off():
            flight = called(work.objective, flight)
        while flight.job is not None and asked.by is None and not lost.is_set():
            if (ended := flight.exit()) is not None:
                return outcome_of(claim.run, folder, ended)
            _show(work, known, None, flight)
            time.sleep(flight.look_s(Local.look_s))
    return None


@contextmanager
def _free(folder: Path, asked: Asked) -> Iterator[int]:
    """Hold a run's folder, once the process of an attempt before has left it."""
    until = time.monotonic() + _ENDING_S
    while True:
        try:
            with locked(folder) as lock:
                yield lock
                return
        except StudyBusyError:
            if time.monotonic() > until:
                raise
            asked.pause(_POLL_S)


def _refuse_failing(work: Work, outcome: Outcome, began: int) -> None:
    """Raise where this run and those before it, by whomever, failed since this worker began."""
    if outcome.status != "failed":
        return
    last = work.store.latest("observed", after=began, count=_MOST_FAILURES)
    if len(last) == _MOST_FAILURES and all(trial.status == "failed" for trial in last):
        raise TrainingFailedError(
            f"{_MOST_FAILURES} runs in a row failed, the last in {work.root / str(last[0].id)}, "
            "expected a command that trains; mend it and start the workers again"
        )


def _show(
    work: Work, known: StoredStudy, event: RunEvent | None, flight: Flight | None = None
) -> None:
    flights = () if flight is None else (flight,)
    work.watch(WatchedState(known.study, None, flights, work.measured), event)
