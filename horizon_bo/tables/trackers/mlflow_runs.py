"""MLflow: which runs does an experiment hold, on a server, in a database or in a folder?"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from horizon_bo.errors import InvalidTableError, StorageError
from horizon_bo.tables.trackers.address import (
    TrackedRuns,
    missing_extra,
    only_one,
    refuse_lost_database,
    told,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Tag of what `mlflow_log` writes beside trials, and must not be read as a run.
KIND_TAG = "horizon_bo.kind"

#: MLflow's word for: yes, I do mean the folder that runs used to be kept in.
_FOLDERS_ALLOWED = "MLFLOW_ALLOW_FILE_STORE"

_PAGE = 1000  # runs asked for at once


def mlflow_runs(uri: str, experiment: str | None) -> TrackedRuns:
    """The runs of an experiment, with MLflow's names: `params.lr`, `metrics.loss`, `status`.

    Metrics are the last ones logged.
    """
    refuse_lost_database(uri, "mlflow")
    if "://" not in uri and uri != "databricks" and not Path(uri).is_dir():
        raise InvalidTableError(
            f"mlflow:{uri} is no folder, expected one that MLflow wrote, or a URI such as "
            "sqlite:///mlflow.db; check the path"
        )
    with mlflow_client(uri) as client:
        found = {e.name: e.experiment_id for e in client.search_experiments()}
        if experiment is None and len(found) > 1:
            found.pop("Default", None)  # MLflow makes it by itself
        name = only_one(list(found), experiment, f"mlflow:{uri}", "experiments")
        runs = [run for run in all_runs(client, found[name]) if KIND_TAG not in run.data.tags]
    return TrackedRuns(pd.DataFrame.from_records([_row(run) for run in runs]))


def all_runs(client: "MlflowClient", experiment_id: str, wanted: str = "") -> list["Run"]:
    """Every run of an experiment that answers to a filter, the oldest first."""
    runs: list[Run] = []
    token: str | None = None
    while token is None or token:
        page = client.search_runs(
            [experiment_id],
            filter_string=wanted,
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs.extend(page)
        token = page.token or ""
    return runs


@contextmanager
def mlflow_client(uri: str) -> Iterator["MlflowClient"]:
    """MLflow's client of a tracking URI; what MLflow refuses becomes one line."""
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise missing_extra("mlflow", f"mlflow:{uri}", error) from error
    before = os.environ.get(_FOLDERS_ALLOWED)
    os.environ[_FOLDERS_ALLOWED] = "true"
    try:
        yield MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        said = str(error).splitlines()[0]
        raise StorageError(
            f"mlflow:{uri} refused ({said}), expected a tracking server, database or folder; "
            "check the URI and whether it is up"
        ) from error
    finally:
        if before is None:
            del os.environ[_FOLDERS_ALLOWED]
        else:
            os.environ[_FOLDERS_ALLOWED] = before


def _row(run: "Run") -> dict[str, Any]:
    return {
        "id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        **{f"params.{name}": value for name, value in run.data.params.items()},
        **{f"metrics.{name}": told(value) for name, value in run.data.metrics.items()},
        **{f"tags.{name}": value for name, value in run.data.tags.items()},
    }
