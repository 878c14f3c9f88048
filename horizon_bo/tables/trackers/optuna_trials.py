"""Optuna: which trials does a study hold?"""

from typing import TYPE_CHECKING, Any

import pandas as pd

from horizon_bo.errors import StorageError
from horizon_bo.tables.trackers.address import (
    TrackedRuns,
    missing_extra,
    only_one,
    refuse_lost_database,
    told,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


def optuna_trials(url: str, study: str | None) -> TrackedRuns:
    """The trials of a study: `params.lr`, `user_attrs.tokens`, `state`, and the value as `loss`.

    The value is the loss where the study minimizes one value. A trial that ended without one
    keeps its last report, by which a run that blew up is told from one that crashed.
    """
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise missing_extra("optuna", f"optuna:{url}", error) from error
    refuse_lost_database(url, "optuna")
    try:
        storage = optuna.storages.get_storage(url)
        names = optuna.get_all_study_names(storage)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(
            f"optuna:{url} cannot be read ({said}), expected a storage such as "
            "sqlite:///optuna.db; check the URL"
        ) from error
    name = only_one(names, study, f"optuna:{url}", "studies")
    found = optuna.load_study(study_name=name, storage=storage)
    rows = [
        {**_row(trial, found), "id": f"{name}/{trial.number}"}
        for trial in found.get_trials(deepcopy=False)
    ]
    return TrackedRuns(pd.DataFrame.from_records(rows))


def _row(trial: "FrozenTrial", study: "Study") -> dict[str, Any]:
    values = trial.values or []
    reports = trial.intermediate_values
    last = reports[max(reports)] if reports else None
    minimized = [direction.name for direction in study.directions] == ["MINIMIZE"]
    loss = {"loss": told(values[0] if values else last)} if minimized else {}
    return {
        "state": trial.state.name,
        **loss,
        **{f"values.{k}": value for k, value in enumerate(values)},
        **{f"params.{name}": value for name, value in trial.params.items()},
        **{f"user_attrs.{name}": value for name, value in trial.user_attrs.items()},
    }
