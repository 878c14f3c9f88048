"""Trackers: which experiment tracker does an address name, and what does it hold?

    mlflow:URI#EXPERIMENT        a server, a database or a folder, as MLflow names them
    tensorboard:FOLDER           event files, a folder a run
    optuna:URL#STUDY             a storage, as Optuna names it

Each goes through the tool's own library, which is imported here, when it is needed. The part
behind `#` may be left out where there is only one.
"""

from typing import TYPE_CHECKING

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.trials import Study
from horizon_bo.tables.trackers.address import TrackedRuns, part_of

if TYPE_CHECKING:
    from horizon_bo.core.policy import Recommendation

READERS = ("mlflow", "optuna", "tensorboard")
WRITERS = ("mlflow", "tensorboard")


def tracked_runs(address: str) -> TrackedRuns | None:
    """The runs that a tracker holds, or `None` where the address names no tracker."""
    match part_of(address, READERS):
        case "mlflow", uri, experiment:
            from horizon_bo.tables.trackers.mlflow_runs import mlflow_runs

            return mlflow_runs(uri, experiment)
        case "optuna", url, study:
            from horizon_bo.tables.trackers.optuna_trials import optuna_trials

            return optuna_trials(url, study)
        case "tensorboard", folder, _:
            from horizon_bo.tables.trackers.tensorboard_runs import tensorboard_runs

            return tensorboard_runs(folder)
    return None


def log_study(address: str, study: Study, best: "Recommendation") -> None:
    """Log every trial and the recommendation to a tracker; logged again, nothing is doubled."""
    match part_of(address, WRITERS):
        case "mlflow", uri, experiment:
            from horizon_bo.tables.trackers.mlflow_log import mlflow_log

            mlflow_log(uri, experiment, study, best)
        case "tensorboard", folder, _:
            from horizon_bo.tables.trackers.tensorboard_log import tensorboard_log

            tensorboard_log(folder, study, best)
        case _:
            raise InvalidTableError(
                f"{address!r} names no tracker that can be written to, expected "
                "mlflow:URI#EXPERIMENT or tensorboard:FOLDER; correct it"
            )
