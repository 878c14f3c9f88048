"""horizon_bo: choose the learning rate of one large training run from a few small ones."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from horizon_bo.adapters.run_plan import RunReport
    from horizon_bo.adapters.session import HorizonTuner
    from horizon_bo.errors import HorizonBOError
    from horizon_bo.horizons import Horizon, Scale, SearchSpace
    from horizon_bo.trials import LoggedRun, Study, Suggestion, Trial
    from horizon_bo.tuner import Recommendation

_HOMES = {
    "Horizon": "horizons",
    "HorizonBOError": "errors",
    "HorizonTuner": "adapters.session",
    "LoggedRun": "trials",
    "Recommendation": "tuner",
    "RunReport": "adapters.run_plan",
    "Scale": "horizons",
    "SearchSpace": "horizons",
    "Study": "trials",
    "Suggestion": "trials",
    "Trial": "trials",
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
    if name not in _HOMES:
        raise AttributeError(f"module 'horizon_bo' has no attribute {name!r}")
    return getattr(import_module(f"horizon_bo.{_HOMES[name]}"), name)
