"""Ax: the tuner as a generator inside Ax's service API. Importing this package imports Ax.

Raises:
    MissingExtraError: Ax is not installed.
"""

from importlib.util import find_spec

from horizon_bo.errors import MissingExtraError

if find_spec("ax") is None:
    raise MissingExtraError("horizon_bo.ax", "ax-platform", "ax")

from horizon_bo.ax.analyses import (
    LearningRateBowl,
    OptimumAgainstHorizon,
    RegretAgainstSpend,
    horizon_analyses,
)
from horizon_bo.ax.client import (
    HorizonClient,
    attach_logged_runs,
    horizon_client,
    horizon_recommendation,
    horizon_study,
    mark_trial_diverged,
)
from horizon_bo.ax.generator import HorizonGenerator
from horizon_bo.ax.orchestration import attach_command, run_command
from horizon_bo.ax.space import parameter_configs
from horizon_bo.ax.stopping import HorizonStopping
from horizon_bo.ax.storage import sql_storage
from horizon_bo.ax.strategy import horizon_generation_strategy

__all__ = [
    "HorizonClient",
    "HorizonGenerator",
    "HorizonStopping",
    "LearningRateBowl",
    "OptimumAgainstHorizon",
    "RegretAgainstSpend",
    "attach_command",
    "attach_logged_runs",
    "horizon_analyses",
    "horizon_client",
    "horizon_generation_strategy",
    "horizon_recommendation",
    "horizon_study",
    "mark_trial_diverged",
    "parameter_configs",
    "run_command",
    "sql_storage",
]
