"""Making: how does a tuner have the runs of its study made, by a loop or by workers?

`HorizonTuner` takes both functions for methods of its own.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs import cost
from horizon_bo.runs.commands import Command, Train, objective_from
from horizon_bo.runs.cost import GpuHours, reached
from horizon_bo.runs.engines.guards import guards_ready
from horizon_bo.runs.jobs import Watch
from horizon_bo.runs.loop import run_loop
from horizon_bo.runs.plan import RunPlan, RunReport, Tuner
from horizon_bo.runs.progress import watching
from horizon_bo.runs.worker import Work, WorkReport, work_on
from horizon_bo.store.asks import Ask
from horizon_bo.store.claims import take_over
from horizon_bo.store.suggesting import working_out
from horizon_bo.study import changes


def run(
    tuner: Tuner,
    objective: str | Sequence[str] | Train | Command,
    *,
    folder: str | PathLike[str],
    parallel: int = 1,
    gpus: Sequence[int | str] = (),
    timeout_s: float | None = None,
    retries: int = 1,
    max_runs: int | None = None,
    until_budget: bool = False,
    without: Sequence[float] = (),
    train_target: bool = False,
    target_settings: Mapping[str, Any] | None = None,
    on: str = "local",
    resources: Mapping[str, Any] | None = None,
    deadline_s: float | None = None,
    watch: Watch | None = None,
) -> RunReport:
    """Suggest, train and observe until the budget or the advice to stop ends it.

    Args:
        tuner: Whose study it is.
        objective: A command template such as `"python train.py --lr {learning_rate}"`, or a
            function that trains a suggestion and gives its loss or a mapping with it. A
            function runs in this process unless `parallel`, `gpus` or `timeout_s` forbid it.
        folder: Where runs keep their config, logs and outcome, one folder a run; the same
            folder goes on where an earlier loop ended.
        parallel: Runs at once.
        gpus: GPUs to share among them, by their names in `CUDA_VISIBLE_DEVICES`.
        timeout_s: Longest time an attempt may take, seconds; `None` waits for ever.
        retries: Further attempts after a kill, a time-out, lack of memory or a lost GPU.
        max_runs: Runs to start at most; `None` sets no limit.
        until_budget: Ignore the advice to stop.
        without: Sizes of scales to leave out, counts of parameters; what is pending there
            stays so.
        train_target: At the end train the target itself once at the recommended rate.
        target_settings: The target's settings, as a scale has them.
        on: What trains the runs: `"local"` this machine, `"slurm"` or `"ray"` the cluster that
            is set up here. Jobs of a cluster outlive the loop; the next one takes them over.
        resources: What each run needs of a cluster's machine: `nodes`, `gpus`, `cpus`,
            `memory`, `time`, `partition`, and options by the engine's own names. What is
            among a scale's settings comes first.
        deadline_s: Wall-clock time for all of it, seconds: what would end later, by the speed
            of runs that ended or by the scales' own, is not started.
        watch: Called with what happens; `None` shows it on standard error.

    Raises:
        InvalidObjectiveError: The objective cannot be run; nothing was started.
        TrainingFailedError: Runs keep failing.
    """
    settings = dict(target_settings or {}) if train_target else None
    plan = RunPlan(
        parallel=parallel,
        gpus=tuple(map(str, gpus)),
        timeout_s=timeout_s,
        retries=retries,
        max_runs=max_runs,
        until_budget=until_budget,
        without=tuple(without),
        target_settings=settings,
        on=on,
        resources=dict(resources or {}),
        deadline_s=deadline_s,
    )
    if tuner.store is not None:
        take_over(tuner.store)
    study = changes.without_scales(tuner.refresh(), plan.without)
    given = objective_from(objective, study, elsewhere=plan.elsewhere, target_settings=settings)
    with watching(watch) as seen:
        return run_loop(tuner, given, Path(folder), plan, seen)


def work(
    tuner: Tuner,
    objective: str | Sequence[str] | Train | Command,
    *,
    folder: str | PathLike[str],
    timeout_s: float | None = None,
    retries: int = 1,
    max_runs: int | None = None,
    until_budget: bool = False,
    without: Sequence[float] = (),
    watch: Watch | None = None,
) -> WorkReport:
    """Make runs of a study that others work on too, one at a time, until it says stop.

    As many processes on as many machines as one likes may do so at once. One that is ended
    by SIGTERM gives its run back; one that is killed loses nothing.

    Args:
        tuner: Whose study it is.
        objective: As in `run`.
        folder: Where runs keep their folders, on a disk that all workers share.
        timeout_s: As in `run`.
        retries: Attempts of a run that may come to nothing before it is given up.
        max_runs: Runs to make at most; `None` sets no limit.
        until_budget: As in `run`.
        without: As in `run`.
        watch: As in `run`.

    Raises:
        InvalidObjectiveError: The study is in memory, or the objective cannot be run.
        TrainingFailedError: Runs keep failing.
    """
    if tuner.store is None:
        raise InvalidObjectiveError(
            "the study is in memory, where no other worker finds it, expected one that is "
            "kept; give study= a path or URL, or use run"
        )
    ask = Ask(without=tuple(without), advised=not until_budget, claims=True)
    plan = RunPlan(timeout_s=timeout_s, retries=retries, max_runs=max_runs)
    study = changes.without_scales(tuner.refresh(), ask.without)
    given = objective_from(objective, study, elsewhere=plan.elsewhere, target_settings=None)
    work_out = working_out(ask, tuner.believed)
    with watching(watch) as seen, guards_ready() as guards:
        known, root = tuner.store.read(), Path(folder)
        speeds = reached(known.study, root)
        made = Work(tuner.store, ask, work_out, given, root, plan, seen, speeds, guards)
        _, report = work_on(made, known)
    if not report.asked:  # who is asked to end waits for no server that is away
        tuner.refresh()
    return report


def gpu_hours(tuner: Tuner, folder: str | PathLike[str] | None = None) -> GpuHours | None:
    """What tuning really costs in GPU-hours; `None` where nothing tells how fast runs train.

    Args:
        tuner: Whose study it is.
        folder: Where runs keep their folders, which tell how fast those that ended were; without
            it only what scales say of their `tokens_per_second` counts.
    """
    best = tuner.recommend()
    known = reached(tuner.study, None if folder is None else Path(folder))
    return cost.gpu_hours(tuner.study, known, best.expected_overhead)
