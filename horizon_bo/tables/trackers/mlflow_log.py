"""MLflow: how is a study logged as runs, without doubling any when it is logged again?

A run carries its trial's id and the study's fingerprint as tags, and is found again by them. What
is already there is not written a second time.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from horizon_bo.core.policy import Recommendation
from horizon_bo.study.trials import Study
from horizon_bo.tables.trackers.logged import (
    LoggedTrial,
    fingerprint,
    logged_numbers,
    logged_trial,
    logged_words,
)
from horizon_bo.tables.trackers.mlflow_runs import KIND_TAG, all_runs, mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Experiment of an address that names none.
EXPERIMENT = "horizon-bo"

_STUDY_TAG, _TRIAL_TAG = "horizon_bo.study", "horizon_bo.trial"
_RECOMMENDATION = "recommendation"

#: Nothing failed about a diverged run: it ended, with a loss of NaN.
_STATUSES = {
    "pending": "RUNNING",
    "completed": "FINISHED",
    "diverged": "FINISHED",
    "failed": "FAILED",
}


def mlflow_log(uri: str, experiment: str | None, study: Study, best: Recommendation) -> None:
    """Log each trial as a run, and the recommendation as one more."""
    name = experiment or EXPERIMENT
    with mlflow_client(uri) as client:
        found = client.get_experiment_by_name(name)
        place = found.experiment_id if found else client.create_experiment(name)
        mark = fingerprint(study)
        ours = all_runs(client, place, f"tags.`{_STUDY_TAG}` = '{mark}'")
        known = {run.data.tags[_TRIAL_TAG]: run for run in ours}
        for trial in map(logged_trial, study.trials):
            tags = {_STUDY_TAG: mark, _TRIAL_TAG: str(trial.id)}
            run = known.get(str(trial.id)) or client.create_run(
                place, run_name=f"trial {trial.id}", tags=tags
            )
            _update(client, run, trial)
        tags = {_STUDY_TAG: mark, _TRIAL_TAG: _RECOMMENDATION, KIND_TAG: _RECOMMENDATION}
        run = known.get(_RECOMMENDATION) or client.create_run(
            place, run_name=_RECOMMENDATION, tags=tags
        )
        _log_metrics(client, run, logged_numbers(best), step=len(study.trials))
        _log_tags(client, run, logged_words(best))
        _end(client, run, "FINISHED")


def _update(client: "MlflowClient", run: "Run", trial: LoggedTrial) -> None:
    for name in trial.params.keys() - run.data.params.keys():
        client.log_param(run.info.run_id, name, trial.params[name])
    _log_metrics(client, run, trial.metrics, step=0)
    _log_tags(client, run, {"horizon_bo.status": trial.status})
    _end(client, run, _STATUSES[trial.status])


def _log_metrics(
    client: "MlflowClient", run: "Run", metrics: Mapping[str, float], step: int
) -> None:
    for name, value in metrics.items():
        if not _same(run.data.metrics.get(name), value):
            client.log_metric(run.info.run_id, name, value, step=step)


def _log_tags(client: "MlflowClient", run: "Run", tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        if run.data.tags.get(name) != value:
            client.set_tag(run.info.run_id, name, value)


def _end(client: "MlflowClient", run: "Run", status: str) -> None:
    if run.info.status == status:
        return
    if status == "RUNNING":
        client.update_run(run.info.run_id, status=status)
    else:
        client.set_terminated(run.info.run_id, status)


def _same(known: float | None, value: float) -> bool:
    """Whether a number is already there; NaN is the same as NaN."""
    return known is not None and (known == value or (math.isnan(known) and math.isnan(value)))
