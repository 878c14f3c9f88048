"""Run loop: which run is started next, and what is learned from one that ended?

A slot that falls free gets the next suggestion at once while the others train. What ended is
written to the run's folder before it is observed, so a loop that dies loses nothing: the next one
observes what had finished and starts again what had not.
"""

import time
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from horizon_bo.core.policy import Limits, Recommendation
from horizon_bo.errors import BudgetExhaustedError, TrainingFailedError, UnknownTrialError
from horizon_bo.runs.commands import Command, Function
from horizon_bo.runs.cost import Measured, gpu_hours, longest_tokens, measured, most_flops
from horizon_bo.runs.engines.protocol import Engine, Placed
from horizon_bo.runs.folder import kept_in, locked, refuse_another_study, write_json
from horizon_bo.runs.jobs import (
    Flight,
    RunEvent,
    Watch,
    WatchedState,
    begin,
    called,
)
from horizon_bo.runs.leftover import left_over
from horizon_bo.runs.outcomes import (
    PASSING,
    Exit,
    Outcome,
    by_branch,
    outcome_of,
    outcome_record,
    stored_outcome,
    unrecorded_readings,
)
from horizon_bo.runs.plan import RunPlan, RunReport, Tuner
from horizon_bo.runs.processes import Launch, Slot, engine_of, launcher, slots_of
from horizon_bo.runs.target import check_target, scales_of
from horizon_bo.store.queue import queued
from horizon_bo.study.branches import by_run, suggestion
from horizon_bo.study.trials import Suggestion

#: Failed runs in a row after which something is wrong with the command, not with a run.
_MOST_FAILURES = 3
#: Runs out of memory at one scale after which it is taken not to fit.
_MOST_WITHOUT_MEMORY = 2


@dataclass(frozen=True, kw_only=True)
class _Loop:
    """What stays the same while a loop runs."""

    tuner: Tuner
    objective: Command | Function
    root: Path
    plan: RunPlan
    watch: Watch
    engine: Engine
    launch: Launch
    until_s: float

    def folder(self, run: Suggestion) -> Path:
        return self.root / str(run.id)


@dataclass(frozen=True, kw_only=True)
class _State:
    """Where a loop stands.

    Args:
        free: Slots where nothing trains.
        waiting: Runs to be started before any new one, with their attempts so far.
        flights: Runs that train.
        observed: Runs whose end was recorded.
        started: Runs that were started, further attempts aside.
        failures: Failed runs in a row.
        without_memory: Sizes of the runs that failed for memory, one entry a run.
        measured: Speeds of the runs that ended.
        best: What was last recommended.
        reason: Why no further run is started; `None` as long as there may be one.
        error: Why the whole loop has to end; `None` while all is well.
    """

    free: tuple[Slot, ...]
    waiting: tuple[tuple[Suggestion, int], ...] = ()
    flights: tuple[Flight, ...] = ()
    observed: tuple[int, ...] = ()
    started: int = 0
    failures: int = 0
    without_memory: tuple[float, ...] = ()
    measured: tuple[Measured, ...] = ()
    best: Recommendation | None = None
    reason: str | None = None
    error: str | None = None


def run_loop(
    tuner: Tuner,
    objective: Command | Function,
    root: Path,
    plan: RunPlan,
    watch: Watch,
) -> RunReport:
    """Suggest, train and observe until the budget, the advice to stop or a limit ends it.

    Raises:
        TrainingFailedError: Runs keep failing, or a scale does not fit into memory.
        StudyBusyError: Another loop holds the folder.
        StorageError: The disk is full; unfinished runs stay pending.
        EngineError: The engine is not there, or refuses what a run needs; nothing is lost.
    """
    scales = scales_of(tuner.study, plan)
    with locked(root) as lock, engine_of(plan, lock, scales) as engine:
        loop = _Loop(
            tuner=tuner,
            objective=objective,
            root=root,
            plan=plan,
            watch=watch,
            engine=engine,
            launch=launcher(engine, plan.timeout_s, plan.resources),
            until_s=time.monotonic() + (inf if plan.deadline_s is None else plan.deadline_s),
        )
        state = _resumed(loop, _State(free=slots_of(plan)))
        while (state := _filled(loop, state)).flights:
            state = _advanced(loop, state)
        if state.error is not None:
            raise TrainingFailedError(state.error)
        best, check = tuner.recommend(without=plan.without), None
        if plan.target_settings is not None:
            check = check_target(tuner.study, best, objective, engine, root / "target", plan, watch)
    assert state.reason is not None
    return RunReport(
        recommendation=best,
        observed=state.observed,
        reason=state.reason,
        target=check,
        gpu_hours=gpu_hours(tuner.study, state.measured, best.expected_overhead),
    )


def _resumed(loop: _Loop, state: _State) -> _State:
    """Record what an earlier loop left finished and take over what trains; the rest waits."""
    study = loop.tuner.study
    runs = [(suggestion(read, study), read) for read in by_run(study.trials)]
    pending = [run for run, read in runs if any(trial.state == "pending" for trial in read)]
    for run, _ in runs:
        refuse_another_study(loop.folder(run), run)
    left = left_over(loop.engine, [loop.folder(run) for run in pending])
    for run, _ in runs:
        folder = loop.folder(run)
        if run in pending:
            if folder in left:
                state = _taken_over(loop, state, run, left[folder])
            elif (outcome := stored_outcome(folder)) is not None:
                state = _observed(loop, state, run, outcome)
            elif run.params not in loop.plan.without:
                state = replace(state, waiting=(*state.waiting, (run, 0)))
        elif (folder / "outcome.json").exists():
            _import_readings(loop, run, folder)
            outcome = stored_outcome(folder)
            assert outcome is not None
            reached = measured(folder, run, outcome)
            state = replace(state, measured=(*state.measured, *reached))
    return state


def _taken_over(loop: _Loop, state: _State, run: Suggestion, job: Placed) -> _State:
    """The state with a run that an earlier loop started; there may be more than slots."""
    slot = state.free[0] if state.free else Slot(loop.engine.name, {})
    flight = Flight(
        run=run, folder=loop.folder(run), slot=slot, tries=1, began_s=time.monotonic(), job=job
    )
    state = replace(state, free=state.free[1:], flights=(*state.flights, flight))
    if job.exit() is None:
        line = f"under way since an earlier loop: {flight.where}"
        _show(loop, state, RunEvent("started", run, flight.folder, line))
    return state


def _filled(loop: _Loop, state: _State) -> _State:
    """The state with every free slot given a run, as long as there is one to make."""
    state = replace(state, reason=None)
    while state.free and state.error is None:
        state, chosen = _next_run(loop, state)
        if chosen is None:
            break
        state = _started(loop, state, *chosen)
    return state


def _next_run(loop: _Loop, state: _State) -> tuple[_State, tuple[Suggestion, int] | None]:
    """The run to make now and its attempts so far, or why there is none."""
    most, limits = loop.plan.max_runs, _limits(loop, state)
    waiting = [entry for entry in state.waiting if _in_time(entry[0], limits)]
    retries = [entry for entry in waiting if entry[1] > 0]
    if waiting and (retries or most is None or state.started < most):
        chosen = retries[0] if retries else waiting[0]
        rest = tuple(entry for entry in state.waiting if entry is not chosen)
        return replace(state, waiting=rest), chosen
    if most is not None and state.started >= most:
        return replace(state, reason=f"as many runs as asked for were started ({most})"), None
    if queued(loop.tuner.refresh(), loop.plan.without, limits):
        return state, (loop.tuner.suggest(without=loop.plan.without, limits=limits), 0)
    best = loop.tuner.recommend(without=loop.plan.without, limits=limits)
    state = replace(state, best=best)
    _show(loop, state, None)
    late = "" if limits is None else ", among runs that end before the deadline"
    if best.stop and not loop.plan.until_budget:
        return replace(state, reason=f"{best.reason}{late}"), None
    try:
        return state, (loop.tuner.suggest(without=loop.plan.without, limits=limits), 0)
    except BudgetExhaustedError as error:
        return replace(state, reason=f"{error}{late}"), None


def _limits(loop: _Loop, state: _State) -> Limits | None:
    """What runs may take so that they end before the deadline, `None` where there is none."""
    if loop.plan.deadline_s is None:
        return None
    left_s, study = max(0.0, loop.until_s - time.monotonic()), loop.tuner.study
    tokens = longest_tokens(study, state.measured, left_s)
    if left_s == 0:  # whatever their speed
        tokens = dict.fromkeys([scale.params for scale in study.space.scales], 0.0)
    flops = most_flops(study, state.measured, left_s, loop.plan.parallel)
    return Limits(tokens=tokens, flops=inf if flops is None else flops)


def _in_time(run: Suggestion, limits: Limits | None) -> bool:
    """Whether a run can end before the deadline; a trunk's cooldowns are part of its time."""
    trained = run.flops / run.scale.flops(1.0)
    return limits is None or trained <= limits.tokens.get(run.params, inf)


def _started(loop: _Loop, state: _State, run: Suggestion, attempts: int) -> _State:
    """The state with the run training in a free slot."""
    slot, *free = state.free
    flight = begin(loop.objective, loop.launch, run, loop.folder(run), slot, attempts + 1)
    state = replace(
        state,
        free=tuple(free),
        flights=(*state.flights, flight),
        started=state.started + (attempts == 0),
    )
    again = f", attempt {attempts + 1}" if attempts else ""
    _show(loop, state, RunEvent("started", run, flight.folder, f"started in {slot.name}{again}"))
    flights = (*state.flights[:-1], called(loop.objective, flight))
    return replace(state, flights=flights)


def _advanced(loop: _Loop, state: _State) -> _State:
    """The state after what has ended since, or after a short wait."""
    ended = [(flight, found) for flight in state.flights if (found := flight.exit()) is not None]
    if not ended:
        _show(loop, state, None)
        time.sleep(min(flight.look_s(loop.engine.look_s) for flight in state.flights))
    for flight, found in ended:
        state = _landed(loop, state, flight, found)
    return state


def _landed(loop: _Loop, state: _State, flight: Flight, found: Exit) -> _State:
    """The state after a process has ended: its run is tried again, or observed."""
    outcome = outcome_of(flight.run, flight.folder, found)
    flights = tuple(other for other in state.flights if other is not flight)
    # a slot whose GPU is gone is given up as long as there is another
    lost = outcome.cause == "GPU lost" and (state.free or flights)
    surplus = len(flights) + len(state.free) >= loop.plan.parallel
    free = state.free if lost or surplus else (*state.free, flight.slot)
    state = replace(state, flights=flights, free=free)
    # that others need the machine more says nothing about the run
    again = flight.tries <= loop.plan.retries or outcome.cause == "preempted"
    if outcome.cause in PASSING and again:
        state = replace(state, waiting=(*state.waiting, (flight.run, flight.tries)))
        line = f"{outcome.cause} ({outcome.detail}): tried again"
        _show(loop, state, RunEvent("retried", flight.run, flight.folder, line))
        return state
    return _observed(loop, state, flight.run, outcome)


def _observed(loop: _Loop, state: _State, run: Suggestion, outcome: Outcome) -> _State:
    """The state after a run's end was kept in its folder, then in the study."""
    folder = loop.folder(run)
    write_json(folder / "outcome.json", outcome_record(outcome))
    line = outcome.cause if outcome.loss is None else f"loss {outcome.loss:g}"
    remarks: list[str] = []
    try:
        with kept_in(folder):
            for branch, part in by_branch(loop.tuner.study, run, outcome):
                remarks += loop.tuner.observe(run, branch=branch, **part.told)
            _import_readings(loop, run, folder)
    except UnknownTrialError as error:  # somebody observed it by hand meanwhile
        line = f"{line}, not recorded: {error}"
    failed = outcome.status == "failed"
    state = replace(
        state,
        observed=(*state.observed, run.id),
        failures=state.failures + 1 if failed else 0,
        without_memory=(*state.without_memory, *([run.params] * outcome.lacked_memory)),
        measured=(*state.measured, *measured(folder, run, outcome)),
    )
    state = replace(state, error=state.error or _hopeless(state, folder, outcome))
    line += f" ({outcome.detail})" if outcome.detail else ""
    line = "; ".join((line, *remarks))
    _show(loop, state, RunEvent("ended", run, folder, line, outcome))
    return state


def _import_readings(loop: _Loop, run: Suggestion, folder: Path) -> None:
    """Record the other readings of a run that the study does not hold yet, at no cost."""
    outcome = stored_outcome(folder)
    assert outcome is not None
    if fresh := unrecorded_readings(loop.tuner.study, run, outcome):
        loop.tuner.import_runs(fresh)


def _hopeless(state: _State, folder: Path, outcome: Outcome) -> str | None:
    """Why going on would only burn the budget, if so."""
    for params in set(state.without_memory):
        if state.without_memory.count(params) >= _MOST_WITHOUT_MEMORY:
            return (
                f"{_MOST_WITHOUT_MEMORY} runs of {params:g} parameters ran out of memory, the last "
                f"in {folder}, expected that scale to fit; give its command more memory, or leave "
                f"it out by running again without it (--without {params:g})"
            )
    if state.failures >= _MOST_FAILURES:
        return (
            f"{_MOST_FAILURES} runs in a row failed, the last in {folder} by {outcome.cause} "
            f"({outcome.detail}), expected a command that trains; mend it and run again"
        )
    return None


def _show(loop: _Loop, state: _State, event: RunEvent | None) -> None:
    seen = WatchedState(loop.tuner.study, state.best, state.flights, state.measured)
    loop.watch(seen, event)
