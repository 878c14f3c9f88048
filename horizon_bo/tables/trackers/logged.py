"""Logged: what does a tracker keep of a study?"""

import hashlib
import math
from dataclasses import dataclass

from horizon_bo.core.policy import Recommendation
from horizon_bo.study.records import as_json, plain, study_record
from horizon_bo.study.trials import Status, Study, Trial

_PARAMS = ("learning_rate", "params", "tokens", "batch_tokens", "schedule", "averaging", "source")


@dataclass(frozen=True)
class LoggedTrial:
    """A trial as trackers keep it: under the names that `import` reads.

    Args:
        id: Its id in the study.
        params: What was chosen before the run; it never changes.
        metrics: What is known of it since; a diverged run has a loss of NaN.
        status: How it ended.
    """

    id: int
    params: dict[str, str | float]
    metrics: dict[str, float]
    status: Status


def logged_trial(trial: Trial) -> LoggedTrial:
    """What a tracker keeps of a trial."""
    given = {name: getattr(trial, name) for name in _PARAMS} | dict(trial.inputs)
    given |= {f"settings.{name}": str(value) for name, value in trial.settings.items()}
    known = {"loss": trial.loss, "loss_sd": trial.loss_sd, "flops": trial.flops}
    if trial.status == "diverged":
        known["loss"] = math.nan
    return LoggedTrial(
        trial.id,
        {name: value for name, value in given.items() if value is not None},
        {name: value for name, value in known.items() if value is not None},
        trial.status,
    )


def logged_numbers(best: Recommendation) -> dict[str, float]:
    """The recommendation as named numbers, an interval as two."""
    numbers: dict[str, float] = {}
    for name, value in plain(best).items():
        if isinstance(value, tuple) and name.startswith("interval"):
            numbers |= {f"{name}_low": value[0], f"{name}_high": value[1]}
        elif isinstance(value, float):
            numbers[name] = value
    return numbers


def logged_words(best: Recommendation) -> dict[str, str]:
    """The advice and the warnings."""
    return {
        "advice": f"{'stop' if best.stop else 'go on'}: {best.reason}",
        "warnings": "; ".join(best.warnings) or "none",
    }


def fingerprint(study: Study) -> str:
    """What tells a study from others in the same tracker; trials do not change it."""
    return hashlib.sha256(as_json(study_record(study)).encode()).hexdigest()[:12]
