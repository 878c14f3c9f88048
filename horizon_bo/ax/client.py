"""Client: how does an Ax user get the tuner by changing one line?

client = horizon_client(target=target, space=space, budget=0.05 * target.flops)
for index, parameters in client.get_next_trials(max_trials=1).items():
    client.complete_trial(index, {"loss": train(**parameters)})
best = horizon_recommendation(client)
"""

import logging
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from ax.api.client import Client
from ax.api.configs import StorageConfig
from ax.api.types import TOutcome, TParameterization
from ax.core.experiment import Experiment
from ax.core.trial_status import TrialStatus
from ax.generation_strategy.generation_strategy import GenerationStrategy

from horizon_bo.ax.adapter import BudgetSpentError, HorizonAdapter
from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.ax.space import loss_metric, parameter_configs, parameters_of
from horizon_bo.ax.strategy import horizon_generation_strategy, study_settings
from horizon_bo.ax.trials import (
    DIVERGED,
    METADATA,
    METADATA_KEY,
    known_of,
    study_of_experiment,
)
from horizon_bo.core import policy
from horizon_bo.study import changes
from horizon_bo.study.horizons import Horizon, SearchSpace
from horizon_bo.study.records import study_record
from horizon_bo.study.trials import LoggedRun, Study, Trial
from horizon_bo.tables.logged import logged_table, remarks_about

if TYPE_CHECKING:
    import pandas as pd

_LOGGER = logging.getLogger(__name__)


class HorizonClient(Client):
    """An Ax `Client` that loses no digit of a loss, and says when the budget is spent.

    A stock `Client` with `horizon_generation_strategy` works too, but raises at the end of the
    budget, and after a reload its losses are rounded to ten decimals.
    """

    def get_next_trials(
        self, max_trials: int, fixed_parameters: TParameterization | None = None
    ) -> dict[int, TParameterization]:
        """The next trials worth making, at most `max_trials`; none once nothing is affordable."""
        try:
            return super().get_next_trials(max_trials, fixed_parameters)
        except BudgetSpentError as spent:
            if spent.given:
                return super().get_next_trials(spent.given, fixed_parameters)
            _LOGGER.warning("no trial: %s", spent)
            return {}

    def complete_trial(
        self, trial_index: int, raw_data: TOutcome | None = None, progression: int | None = None
    ) -> TrialStatus:
        """Complete a trial; one whose loss is not finite is marked as failed, having diverged.

        Ax would take the NaN, and then fail to draw its own cards.
        """
        loss = _reported(raw_data or {}, loss_metric(self._experiment))
        if loss is not None and not math.isfinite(loss[0]):
            mark_trial_diverged(self, trial_index)
            return self._experiment.trials[trial_index].status
        return super().complete_trial(trial_index, raw_data, progression)

    def attach_data(
        self, trial_index: int, raw_data: TOutcome, progression: int | None = None
    ) -> None:
        """Attach data as Ax does, and keep the loss as it was reported, which Ax would round."""
        loss = _reported(raw_data, loss_metric(self._experiment))
        if loss is not None:
            trial = self._experiment.trials[trial_index]
            trial.update_run_metadata({METADATA_KEY: {**known_of(trial), "loss": [*loss]}})
        super().attach_data(trial_index, raw_data, progression)


def horizon_client(
    *,
    target: Horizon,
    space: SearchSpace,
    budget: float,
    seed: int = 0,
    name: str | None = None,
    metric: str = "loss",
    storage: StorageConfig | None = None,
    **settings: Any,
) -> HorizonClient:
    """An Ax client whose trials are the runs that tell most about the target, per FLOP.

    Args:
        target: The run that will be trained once.
        space: The small runs that may be made.
        budget: Training compute the tuner may spend in all, in FLOP.
        seed: Seed of every random choice.
        name: Of the experiment; storage needs one.
        metric: Name of the loss that trials report.
        storage: Where every step is saved, from `sql_storage`; `None` keeps it in memory.
        settings: Further fields of `Study`: `parametrization`, `prior_center`, `source`,
            `regret_tolerance`, `regret_risk`.
    """
    strategy = horizon_generation_strategy(target, space, budget, seed=seed, **settings)
    client = HorizonClient(storage_config=storage)
    client.configure_experiment(name=name, parameters=parameter_configs(space))
    client.configure_optimization(objective=f"-{metric}")
    client.set_generation_strategy(strategy)
    return client


def horizon_study(client: Client) -> Study:
    """The study that a client's experiment holds, with all its trials."""
    return study_under(client._generation_strategy, client._experiment)


def horizon_recommendation(client: Client) -> policy.Recommendation:
    """The rate to train the target with, as `HorizonTuner.recommend` gives it.

    Ax's own `get_best_parameterization` names the best of the runs that were made, and the target
    is none of them.
    """
    return fitted_generator(client._generation_strategy, client._experiment).recommend()


def study_under(strategy: GenerationStrategy, experiment: Experiment) -> Study:
    """The study that an experiment holds, with the settings of its strategy."""
    return study_of_experiment(study_settings(strategy), experiment, loss_metric(experiment))


def fitted_generator(strategy: GenerationStrategy, experiment: Experiment) -> HorizonGenerator:
    """The tuner, knowing all that an experiment holds at this moment."""
    study = study_under(strategy, experiment)
    adapter = strategy.adapter
    if isinstance(adapter, HorizonAdapter):
        generator = adapter.generator
    else:  # before the first suggestion, and after a reload
        generator = HorizonGenerator(study_record(study))
    generator.learn(study)
    return generator


def mark_trial_diverged(client: Client, trial_index: int) -> None:
    """Say that a run blew up: that is knowledge about the rate, where a crash is none.

    `client.complete_trial(trial_index, {"loss": math.nan})` says the same.
    """
    client.mark_trial_failed(trial_index, failed_reason=DIVERGED)


def _reported(raw_data: TOutcome, metric: str) -> tuple[float, float] | None:
    """The loss among an outcome, and its standard error, 0 where that is unknown."""
    said = raw_data.get(metric)
    if said is None:
        return None
    mean, error = said if isinstance(said, tuple) else (said, 0.0)
    return float(mean), float(error) if math.isfinite(error) else 0.0


def attach_logged_runs(
    client: Client,
    table: "str | PathLike[str] | pd.DataFrame | Sequence[LoggedRun | Mapping[str, Any]]",
    *,
    count_cost: bool = False,
    source: str | None = None,
) -> tuple[str, ...]:
    """Learn from logged runs, as `HorizonTuner.import_runs` does; each becomes a trial.

    Args:
        client: The client.
        table: A table's path, a data frame, or a list of runs.
        count_cost: Charge their compute to the budget.
        source: Recipe of runs that do not name theirs; `None` means the study's own.

    Returns:
        Remarks worth showing.
    """
    study = horizon_study(client)
    logged = logged_table(table, source=source)
    checked = changes.import_runs(study, logged.runs, count_cost=count_cost)
    for trial in checked.trials[len(study.trials) :]:
        attach_finished(client, trial)
    return (*logged.remarks, *remarks_about(logged, study))


def attach_finished(client: Client, trial: Trial) -> None:
    """Add a run that has ended, with all that a study knows of it."""
    experiment = client._experiment
    index = client.attach_trial(parameters_of(trial, experiment.search_space))
    known = {name: getattr(trial, name) for name in METADATA if name not in ("loss", "inputs")}
    known |= {"inputs": dict(trial.inputs)} if trial.inputs else {}
    experiment.trials[index].update_run_metadata({METADATA_KEY: known})
    if trial.status == "diverged":
        mark_trial_diverged(client, index)
    elif trial.status == "failed":
        client.mark_trial_failed(index)
    else:
        assert trial.loss is not None, "only runs that have ended are attached here"
        outcome = (trial.loss, trial.loss_sd or 0.0)
        client.complete_trial(index, {loss_metric(experiment): outcome})
