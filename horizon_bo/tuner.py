"""Tuner: who holds the study while a tuning loop runs?

`HorizonTuner` is a thin shell around pure functions (`study.changes`, `core.policy`): it holds a
`Study`, swaps it for another when something happens, and writes what happened to disk before it
returns. What reads tables is imported where a table is read, since pandas takes long to load.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from horizon_bo.core import policy
from horizon_bo.core.batch.choice import settled
from horizon_bo.core.checks.check import Expectation
from horizon_bo.core.checks.rehearsal import Check
from horizon_bo.core.inference import Belief
from horizon_bo.errors import BudgetExhaustedError, InvalidSpaceError
from horizon_bo.learning.kept import read_prior
from horizon_bo.runs import making
from horizon_bo.runs.other_study import logged_study
from horizon_bo.runs.watch import watch
from horizon_bo.store import revisions
from horizon_bo.store.asks import Ask
from horizon_bo.store.checks import check
from horizon_bo.store.events import StoredStudy, StudyStore, recorded
from horizon_bo.store.opening import create_study, names_study, open_study
from horizon_bo.store.posteriors import believe
from horizon_bo.store.suggesting import suggested, working_out
from horizon_bo.store.threads import one_thread
from horizon_bo.study import changes, imports
from horizon_bo.study.branches import run_of
from horizon_bo.study.extension import for_target, summary
from horizon_bo.study.horizons import (
    Horizon,
    SearchSpace,
    asked_about,
    positive,
    refuse_unlikely_sizes,
)
from horizon_bo.study.outliers import far_losses
from horizon_bo.study.quantities import asked_for
from horizon_bo.study.trials import OWN_SOURCE, LoggedRun, Study, Suggestion, Trial

if TYPE_CHECKING:
    import pandas as pd

    from horizon_bo.tables.logged import LoggedTable, Table


class HorizonTuner:
    """Choose the learning rate of one large run from a few small ones.

    Args:
        target: The run that will be trained once.
        space: The small runs that may be made.
        budget: Training compute the tuner may spend in all, in FLOP.
        parametrization: `"mup"` expects the optimum not to move with width, as does
            `"hypersphere"`, where weights keep their norms; for that no law speaks before a run.
        optimizer: Whose rate is tuned, by name: how it moves depends on the optimizer's family.
        experts: Whether `params` are the active ones of a mixture of experts.
        prior: A file that `horizon-bo prior learn` wrote; `None` takes what public sweeps say.
        prior_center: A guess of the optimal rate at the target, an opinion beside those of
            published laws or of sweeps made with the optimizer.
        study: A path or URL to keep the study in (`"runs.db"`, `"postgresql://…"`), perhaps with
            its name behind `#`; `None` keeps it in memory.
        exist_ok: Go on with the study that is there, where it asks the same.
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
        optimizer: str = "adamw",
        experts: bool = False,
        prior: str | PathLike[str] | None = None,
        prior_center: float | None = None,
        study: str | PathLike[str] | None = None,
        exist_ok: bool = False,
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
            optimizer=optimizer,
            experts=experts,
            prior=None if prior is None else read_prior(prior),
            prior_center=prior_center,
            seed=seed,
            source=source,
            regret_tolerance=regret_tolerance,
            regret_risk=regret_risk,
        )
        self._store: StudyStore | None = None
        self._stored = StoredStudy(given, 0)
        self._belief: tuple[Study, Belief] | None = None
        self._expected: tuple[Expectation, ...] = ()
        if study is not None:
            self._store, self._stored = create_study(study, given, name, exist_ok=exist_ok)

    @classmethod
    def open(cls, address: str | PathLike[str], name: str | None = None) -> "HorizonTuner":
        """Go on with a study that is kept at a path or URL, by its name where there are several."""
        tuner_ = cls.__new__(cls)
        tuner_._store, tuner_._stored = open_study(address, name)
        tuner_._belief = None
        tuner_._expected = ()
        return tuner_

    @property
    def study(self) -> Study:
        """All that is known: target, space, budget and every trial, as last read or written."""
        return self._stored.study

    @property
    def store(self) -> StudyStore | None:
        """Where the study is kept; `None` for memory alone."""
        return self._store

    def refresh(self) -> Study:
        """Read what other processes have written since; the study with it."""
        if self._store is not None:
            self._stored = self._store.read(self._stored)
        return self._stored.study

    @property
    def belief(self) -> Belief:
        """What all runs together say: the posterior that suggestions and figures rest on."""
        with one_thread():
            return self.believed(self.refresh())

    def believed(self, study: Study) -> Belief:
        """What a study's ended runs say, worked out once for each set of them and each question."""
        known = replace(study, trials=study.informing)
        if self._belief is None or self._belief[0] != known:
            self._belief = (known, settled(study, believe(study)))
        return self._belief[1]

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
        ask = Ask(wanted=asked_for(n), without=tuple(without), limits=limits)
        with nullcontext() if self._store is None else self._store.kept_open() as store:
            known = self._stored if store is None else store.read(self._stored)
            self._stored, answer = suggested(store, known, ask, working_out(ask, self.believed))
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
        ended = self.record("observed", observed)
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
                `"mlflow:URI#EXPERIMENT"`, `"tensorboard:FOLDER"` or `"optuna:URL#STUDY"`. Another
                study, by its path or URL, gives its runs with their costs and states.
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
        from horizon_bo.tables.logged import LoggedTable, logged_table, remarks_about

        if isinstance(table, LoggedTable):
            logged = table
        elif isinstance(table, str | PathLike) and names_study(table):
            logged = logged_study(table, source)
        else:
            logged = logged_table(
                table, source=source, columns=columns, last_of=last_of, by=by, repeats=repeats
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

        self.record("imported", imported)
        return (*logged.remarks, *said, *remarks_about(logged, self.study))

    def export(self, address: str) -> None:
        """Write every trial to a table, or log it with the recommendation to a tracker.

        Logged again, nothing is doubled: what is new or has changed takes its place.

        Args:
            address: `"runs.csv"`, `"mlflow:URI#EXPERIMENT"` or `"tensorboard:FOLDER"`.
        """
        from horizon_bo.tables.trackers import log_study

        if address.endswith(".csv"):
            from horizon_bo.tables.trials import write_trials

            write_trials(Path(address), self.refresh())
            return
        best = self.recommend()
        log_study(address, self.study, best)

    def recommend(
        self,
        *,
        target: Horizon | None = None,
        batch_tokens: Sequence[float] = (),
        max_batch_cost: float = policy.USUAL_BATCH_COST,
        inputs: Mapping[str, float] | None = None,
        without: Sequence[float] = (),
        limits: policy.Limits | None = None,
    ) -> policy.Recommendation:
        """Say which rate to train the target with, how sure that is, and whether to go on.

        Args:
            target: Another run to be trained once, judged from the same runs; `None` means the
                study's own.
            batch_tokens: Batches to choose among, in tokens per step: each gets its rate, and the
                answer is the best pair. None takes the target's batch, or where that is open those
                of the search space.
            max_batch_cost: What the largest batch worth naming may cost above the best, in target
                runs.
            inputs: Numbers of the target's recipe to change, such as `{"weight_decay": 0.2}`.
            without: Sizes of scales to leave out where the next run is weighed.
            limits: What that run may take beside the budget.
        """
        todo = "give it in target runs, such as 0.02"
        with one_thread():
            study = self.refresh()
            meant, asked = asked_about(target or study.target, study.space, batch_tokens, inputs)
            study = study if meant == study.target else for_target(study, meant)
            belief = self.believed(study)
            return policy.recommend(
                changes.without_scales(study, without),
                belief,
                limits=limits,
                batches=asked,
                max_batch_cost=positive(max_batch_cost, "max_batch_cost", InvalidSpaceError, todo),
            )

    def check(self, max_cost: float = 0.1) -> Check:
        """Rehearse the large run: a few runs larger than all so far, foretold before they are made.

        Called first, it makes two or three runs pending on the dearest rung above all runs that
        `max_cost` pays for, at the rate recommended for that rung and to its sides, and writes
        down what is expected of them; they are charged, also beyond the budget. Once they are
        observed, as ordinary trials, it gives the verdict.

        Args:
            max_cost: What the check may cost in all, in target runs. An answer that is expected
                to lose more than that is to be tuned again.

        Raises:
            InvalidSpaceError: No run has ended, or no rung is above all runs for that price.
        """
        todo = "give it in target runs, such as 0.1"
        max_cost = positive(max_cost, "max_cost", InvalidSpaceError, todo)
        self._stored, found = check(
            self._store, self._stored, self._expected, self.believed, max_cost
        )
        self._expected = (*self._expected, found.expected)
        return found

    correct = revisions.correct
    forget = revisions.forget
    withdraw = revisions.withdraw
    enqueue = revisions.enqueue
    extend = revisions.extend

    @property
    def trials(self) -> "pd.DataFrame":
        """Every trial, one a row, as last read or written; `history` says what was changed."""
        from horizon_bo.tables.trials import trials_frame

        return trials_frame(self.study)

    def __repr__(self) -> str:
        """Where the study is kept, how far it is, and what it is for; nothing is worked out."""
        where = "in memory" if self._store is None else self._store.name
        return f"HorizonTuner({where}: {summary(self.study)})"

    run = making.run
    work = making.work
    gpu_hours = making.gpu_hours
    watch = watch

    def record(self, kind: str, change: Callable[[Study], Study]) -> tuple[Trial, ...]:
        """Apply a change, on disk first; the trials it made or altered."""
        self._stored, altered = recorded(self._store, self._stored, kind, change)
        return altered
