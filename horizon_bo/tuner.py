"""Tuner: who holds the study while a tuning loop runs?

`HorizonTuner` is a thin shell around pure functions (`study.changes`, `core.policy`): it holds a
`Study`, swaps it for another when something happens, and writes what happened to
disk before it returns.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from horizon_bo.core import policy
from horizon_bo.core.inference import Belief, believe
from horizon_bo.core.threads import one_thread
from horizon_bo.errors import BudgetExhaustedError, InvalidObjectiveError, InvalidSpaceError
from horizon_bo.runs.commands import Command, Train, objective_from
from horizon_bo.runs.jobs import Watch
from horizon_bo.runs.loop import run_loop
from horizon_bo.runs.plan import RunPlan, RunReport
from horizon_bo.runs.progress import watching
from horizon_bo.runs.worker import Work, WorkReport, work_on
from horizon_bo.store.claims import take_over
from horizon_bo.store.events import StoredStudy, StudyStore, create_study, recorded, study_store
from horizon_bo.store.suggesting import Ask, suggested, working_out
from horizon_bo.study import changes, imports
from horizon_bo.study.branches import run_of
from horizon_bo.study.horizons import Horizon, SearchSpace, refuse_unlikely_sizes
from horizon_bo.study.outliers import far_losses
from horizon_bo.study.trials import OWN_SOURCE, LoggedRun, Study, Suggestion, Trial
from horizon_bo.tables.logged import LoggedTable, Table, logged_table, remarks_about
from horizon_bo.tables.trackers import log_study


class HorizonTuner:
    """Choose the learning rate of one large run from a few small ones.

    Args:
        target: The run that will be trained once.
        space: The small runs that may be made.
        budget: Training compute the tuner may spend in all, in FLOP.
        parametrization: `"mup"` expects the optimum not to move with width.
        prior_center: A guess of the optimal rate at the target; `None` asks published laws.
        study: A path or URL to keep the study in (`"runs.db"`, `"postgresql://…"`), perhaps with
            its name behind `#`; `None` keeps it in memory.
        name: The study's name among those of a database; `None` takes the address's.
        seed: Seed of every random choice.
        source: Name of the recipe that the suggested runs are made under.
        regret_tolerance: Loss above the best that is good enough, in loss units; `None` stops
            by cost alone.
        regret_risk: Accepted probability of a regret above `regret_tolerance`.
    """

    def __init__(
        self,
        *,
        target: Horizon,
        space: SearchSpace,
        budget: float,
        parametrization: str = "standard",
        prior_center: float | None = None,
        study: str | PathLike[str] | None = None,
        name: str | None = None,
        seed: int = 0,
        source: str = OWN_SOURCE,
        regret_tolerance: float | None = None,
        regret_risk: float = 0.1,
    ) -> None:
        refuse_unlikely_sizes(target, space)
        given = Study(
            target=target,
            space=space,
            budget=budget,
            parametrization=parametrization,
            prior_center=prior_center,
            seed=seed,
            source=source,
            regret_tolerance=regret_tolerance,
            regret_risk=regret_risk,
        )
        self._store: StudyStore | None = None
        self._stored = StoredStudy(given, 0)
        self._belief: tuple[Study, Belief] | None = None
        if study is not None:
            self._store, self._stored = create_study(study, given, name)

    @classmethod
    def open(cls, address: str | PathLike[str], name: str | None = None) -> "HorizonTuner":
        """Go on with a study that is kept at a path or URL, by its name where there are several."""
        tuner_ = cls.__new__(cls)
        tuner_._store = study_store(address, name)
        tuner_._stored = tuner_._store.read()
        tuner_._belief = None
        return tuner_

    @property
    def study(self) -> Study:
        """All that is known: target, space, budget and every trial, as last read or written."""
        return self._stored.study

    @property
    def belief(self) -> Belief:
        """What all runs together say: the posterior that suggestions and figures rest on."""
        with one_thread():
            return self._believed(self._read())

    @overload
    def suggest(
        self, *, without: Sequence[float] = (), limits: policy.Limits | None = None
    ) -> Suggestion: ...
    @overload
    def suggest(
        self, n: int, *, without: Sequence[float] = (), limits: policy.Limits | None = None
    ) -> list[Suggestion]: ...
    def suggest(
        self,
        n: int | None = None,
        *,
        without: Sequence[float] = (),
        limits: policy.Limits | None = None,
    ) -> Suggestion | list[Suggestion]:
        """Name the next run worth making, or the next `n` to make at once.

        Args:
            n: How many runs.
            without: Sizes of scales to leave out, counts of parameters.
            limits: What runs may take beside the budget.

        Raises:
            BudgetExhaustedError: No run fits into what is left of the budget.
        """
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
            raise InvalidSpaceError(f"n is {n!r}, expected a whole number >= 1; ask for one run")
        ask = Ask(wanted=n or 1, without=tuple(without), limits=limits)
        self._stored, answer = suggested(
            self._store, self._stored, ask, working_out(ask, self._believed)
        )
        if answer.refusal is not None:
            raise BudgetExhaustedError(answer.refusal.reason)
        runs = [run_of(self.study, run_id) for run_id in answer.runs]
        return runs if n is not None else runs[0]

    def observe(
        self,
        run: Suggestion | LoggedRun | int,
        *,
        loss: float | None = None,
        loss_sd: float | None = None,
        diverged: bool = False,
        failed: bool = False,
        flops: float | None = None,
        branch: float | None = None,
    ) -> tuple[str, ...]:
        """Record how a run ended; once this returns, the outcome is durable.

        Args:
            run: A suggestion, its id, or a run that was never suggested.
            loss: Final loss; NaN and infinity mean that it diverged.
            loss_sd: Known standard deviation of `loss`.
            diverged: Training blew up.
            failed: The run says nothing (a crash, a lost machine).
            flops: Compute it really took, in FLOP; `None` keeps what was planned.
            branch: Token count of the reading, for a run with branches. Without it, `diverged`
                and `failed` are said of all branches still pending.

        Returns:
            Remarks worth showing, none in the ordinary case.
        """
        observed = lambda study: changes.observe(  # noqa: E731
            study,
            run,
            loss=loss,
            loss_sd=loss_sd,
            diverged=diverged,
            failed=failed,
            flops=flops,
            branch=branch,
        )
        ended = self._record("observed", observed)
        given = run.loss if isinstance(run, LoggedRun) else loss
        said_so = diverged or (isinstance(run, LoggedRun) and run.diverged)
        lost = tuple(
            f"loss of trial {trial.id} is {given}: recorded as diverged"
            for trial in ended
            if trial.status == "diverged" and not said_so
        )
        return (*lost, *far_losses(self.study, ended))

    def import_runs(
        self,
        table: "Table | LoggedTable",
        *,
        count_cost: bool = False,
        source: str | None = None,
        columns: Mapping[str, str] | Literal["auto"] | None = None,
        last_of: str | None = None,
        by: str | None = None,
        repeats: bool = False,
    ) -> tuple[str, ...]:
        """Learn from logged runs: a table's path, a tracker, a data frame, or a list of runs.

        Of a table that is imported again only the runs that are new are added, and a row that
        was corrected takes the place of the held one of its name. Runs in a list are all meant.

        Args:
            table: One run a row, with the columns of `LoggedRun`. A tracker is
                `"mlflow:URI#EXPERIMENT"`, `"tensorboard:FOLDER"` or `"optuna:URL#STUDY"`.
            count_cost: Charge their compute to the budget.
            source: Recipe of runs that do not name theirs; `None` means the study's own.
            columns: Where the columns bear other names, which is which, or a product of them:
                `{"learning_rate": "optim.lr", "tokens": "steps*524288"}`; `"auto"` takes what
                names and values suggest, and says what that was.
            last_of: Column that tells runs apart, where rows are points of learning curves: the
                last of each run is kept.
            by: Column that grows along a run; `None` takes steps, else tokens.
            repeats: Rows that repeat another exactly are runs of their own.

        Returns:
            Remarks worth showing: what was taken as diverged, failed, repeated or corrected, and
            what looks wrong.
        """
        logged = (
            table
            if isinstance(table, LoggedTable)
            else logged_table(
                table, source=source, columns=columns, last_of=last_of, by=by, repeats=repeats
            )
        )
        listed = isinstance(table, list | tuple) and all(isinstance(r, LoggedRun) for r in table)
        said: list[str] = []

        def imported(study: Study) -> Study:
            if listed:
                return changes.import_runs(study, logged.runs, count_cost=count_cost)
            found = imports.reconciled(study, logged.runs, count_cost=count_cost)
            again = f"{found.known} of {len(logged.runs)} runs are in the study already: left out"
            said[:] = [*([again] if found.known else []), *found.remarks]
            return found.study

        self._record("imported", imported)
        return (*logged.remarks, *said, *remarks_about(logged, self.study))

    def export(self, address: str) -> None:
        """Log every trial, the recommendation and its interval to a tracker.

        Logged again, nothing is doubled: what is new or has changed takes its place.

        Args:
            address: `"mlflow:URI#EXPERIMENT"` or `"tensorboard:FOLDER"`.
        """
        best = self.recommend()
        log_study(address, self.study, best)

    def recommend(
        self, *, without: Sequence[float] = (), limits: policy.Limits | None = None
    ) -> policy.Recommendation:
        """Say which rate to train the target with, how sure that is, and whether to go on.

        Args:
            without: Sizes of scales to leave out where the next run is weighed.
            limits: What that run may take beside the budget.
        """
        with one_thread():
            study = self._read()
            offered = changes.without_scales(study, without)
            return policy.recommend(offered, self._believed(study), limits=limits)

    def run(
        self,
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
        if self._store is not None:
            take_over(self._store)
        study = changes.without_scales(self._read(), plan.without)
        given = objective_from(objective, study, elsewhere=plan.elsewhere, target_settings=settings)
        with watching(watch) as seen:
            return run_loop(self, given, Path(folder), plan, seen)

    def work(
        self,
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
        if self._store is None:
            raise InvalidObjectiveError(
                "the study is in memory, where no other worker finds it, expected one that is "
                "kept; give study= a path or URL, or use run"
            )
        ask = Ask(without=tuple(without), advised=not until_budget, claims=True)
        plan = RunPlan(timeout_s=timeout_s, retries=retries, max_runs=max_runs)
        study = changes.without_scales(self._read(), ask.without)
        given = objective_from(objective, study, elsewhere=plan.elsewhere, target_settings=None)
        work_out = working_out(ask, self._believed)
        with watching(watch) as seen:
            work = Work(self._store, ask, work_out, given, Path(folder), plan, seen)
            self._stored, report = work_on(work, self._stored)
        return report

    def _read(self) -> Study:
        """The study with what other processes have written since."""
        if self._store is not None:
            self._stored = self._store.read(self._stored)
        return self._stored.study

    def _believed(self, study: Study) -> Belief:
        """What the study's ended runs say, worked out once for each set of them."""
        if self._belief is None or self._belief[0].informing != study.informing:
            self._belief = (study, believe(study))
        return self._belief[1]

    def _record(self, kind: str, change: Callable[[Study], Study]) -> tuple[Trial, ...]:
        """Apply a change, on disk first; the trials it made or altered."""
        self._stored, altered = recorded(self._store, self._stored, kind, change)
        return altered
