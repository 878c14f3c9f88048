"""Replaying: what would an Ax user have bought from a logged sweep?

The rows bought so far become trials of an Ax experiment, and Ax is asked for the next: all that
lies between a user of `Client` and the tuner takes part.
"""

from collections.abc import Sequence
from dataclasses import fields

from ax.core.trial import Trial as AxTrial

from horizon_bo.ax.client import (
    HorizonClient,
    attach_finished,
    fitted_generator,
    horizon_client,
)
from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.core import policy
from horizon_bo.study.trials import Study, Trial


def client_of(study: Study) -> HorizonClient:
    """An Ax client whose experiment holds the trials of a study, all of them ended."""
    settings = {f.name: getattr(study, f.name) for f in fields(study) if f.name != "trials"}
    client = horizon_client(name="replay", **settings)
    for trial in study.trials:
        attach_finished(client, trial)
    return client


def recommendation(
    study: Study, client: HorizonClient, pool: Sequence[Trial]
) -> policy.Recommendation:
    """The answer at the target, judging whether to stop by these rows."""
    return _generator(client, pool).recommend()


def suggested_row(study: Study, client: HorizonClient, pool: Sequence[Trial]) -> Trial | None:
    """The row that `Client.get_next_trials` names; `None` once nothing is affordable."""
    _generator(client, pool)
    for index in client.get_next_trials(max_trials=1):
        trial = client._experiment.trials[index]
        assert isinstance(trial, AxTrial)
        assert trial.arm is not None
        told = trial._get_candidate_metadata(trial.arm.name) or {}
        return next(row for row in pool if row.row == told["row"])
    return None


def _generator(client: HorizonClient, pool: Sequence[Trial]) -> HorizonGenerator:
    """The tuner inside a client, choosing among these rows."""
    strategy, experiment = client._generation_strategy, client._experiment
    if strategy.adapter is None:
        strategy.fit(experiment)
    generator = fitted_generator(strategy, experiment)
    generator.offer(pool)
    return generator
