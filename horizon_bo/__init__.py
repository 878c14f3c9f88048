"""horizon_bo: choose the learning rate of one large training run from a few small ones."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from horizon_bo.core.policy import Recommendation
    from horizon_bo.errors import HorizonBOError
    from horizon_bo.runs.plan import RunReport
    from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
    from horizon_bo.study.trials import LoggedRun, Study, Suggestion, Trial
    from horizon_bo.tuner import HorizonTuner

_HOMES = {
    "Horizon": "study.horizons",
    "HorizonBOError": "errors",
    "HorizonTuner": "tuner",
    "LoggedRun": "study.trials",
    "Recommendation": "core.policy",
    "RunReport": "runs.plan",
    "Scale": "study.horizons",
    "SearchSpace": "study.horizons",
    "Study": "study.trials",
    "Suggestion": "study.trials",
    "Trial": "study.trials",
}

__all__ = [  # sorted, and a test says so
    "Horizon",
    "HorizonBOError",
    "HorizonTuner",
    "LoggedRun",
    "Recommendation",
    "RunReport",
    "Scale",
    "SearchSpace",
    "Study",
    "Suggestion",
    "Trial",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import horizon_bo` costs nothing."""
    if name == "plots":
        return import_module("horizon_bo.report.plots")
    if name not in _HOMES:
        raise AttributeError(f"module 'horizon_bo' has no attribute {name!r}")
    return getattr(import_module(f"horizon_bo.{_HOMES[name]}"), name)
