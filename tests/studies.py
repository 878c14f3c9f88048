"""Small studies that tests of the adapters share."""

from typing import Any

from horizon_bo import Horizon, LoggedRun, Scale, SearchSpace
from horizon_bo.adapters.session import HorizonTuner
from horizon_bo.trials import Study

TARGET = Horizon(params=1e9, tokens=2e10, batch_tokens=262_144)
SPACE = SearchSpace(
    learning_rate=(1e-4, 2e-2),
    scales=[Scale(params=6e7, settings={"width": 512}), Scale(params=1.2e8)],
    tokens=(1e9, 4e9),
)


def small_study(**changes: Any) -> Study:
    """A study without trials."""
    given: dict[str, Any] = {"target": TARGET, "space": SPACE, "budget": 0.05 * TARGET.flops}
    return Study(**{**given, **changes})


def small_tuner(**changes: Any) -> HorizonTuner:
    """A tuner without trials, in memory unless `study` is given."""
    given: dict[str, Any] = {"target": TARGET, "space": SPACE, "budget": 0.05 * TARGET.flops}
    return HorizonTuner(**{**given, **changes})


def logged(**changes: Any) -> LoggedRun:
    """An ordinary logged run."""
    given: dict[str, Any] = {"learning_rate": 2e-3, "params": 6e7, "tokens": 1e9, "loss": 3.1}
    return LoggedRun(**{**given, **changes})
