"""Small studies that tests of the adapters share."""

from pathlib import Path
from typing import Any

from horizon_bo import Horizon, LoggedRun, Scale, SearchSpace
from horizon_bo.store.opening import create_study
from horizon_bo.study.trials import Study, Trial
from horizon_bo.tuner import HorizonTuner

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


def pending_trial(trial_id: int = 0) -> Trial:
    """A suggested run of the small study that has not ended."""
    return Trial(
        id=trial_id,
        learning_rate=2e-3,
        params=6e7,
        tokens=1e9,
        batch_tokens=262_144,
        flops=6 * 6e7 * 1e9,
        schedule="cosine",
        averaging="none",
    )


def tuner_with_pending(path: Path, count: int = 1) -> HorizonTuner:
    """A tuner on a stored study with pending runs, without the time it takes to choose them."""
    store, stored = create_study(path, small_study())
    trials = [pending_trial(k) for k in range(count)]
    store.record(stored, "suggested", lambda study: study.with_trials(*trials))
    return HorizonTuner.open(path)
