"""Trials: which study does an Ax experiment hold?

Ax keeps the trials; the study is rebuilt from them whenever it is needed, so that nothing can
drift apart, before or after a reload. What a trial cannot say by its parameters, status and data
lies in its run metadata, under one key.

| Ax says | the study says |
| --- | --- |
| candidate, staged, running | pending |
| completed with a loss | completed; diverged where the loss is not finite |
| failed for a reason that begins with "diverged" | diverged |
| failed, abandoned, stopped early, completed without a loss | failed: no information |
| stale | failed, and free, since it never ran |

A run stopped early is no information because its loss was read before its schedule ended.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ax.core.base_trial import BaseTrial
from ax.core.experiment import Experiment
from ax.core.trial import Trial as AxTrial
from ax.core.trial_status import TrialStatus

from horizon_bo.errors import InvalidTrialError
from horizon_bo.study.horizons import training_flops
from horizon_bo.study.trials import Study, Trial

#: Where a trial's run metadata keep what Ax has no field for.
METADATA_KEY = "horizon_bo"
#: What may be kept there: the recipe, the batch, the compute a run really took in FLOP, whether
#: the budget pays for it, the loss with its standard error as they were reported, and the numbers
#: of the recipe.
METADATA = ("source", "schedule", "averaging", "batch_tokens", "flops", "charged", "loss", "inputs")
#: Ax's storage rounds data to this many decimals, and may lose the last bit of those.
STORED_DECIMALS = 10
#: A failed trial whose reason begins so has blown up.
DIVERGED = "diverged"

_NEEDED = ("learning_rate", "params", "tokens")
_PENDING = (TrialStatus.CANDIDATE, TrialStatus.STAGED, TrialStatus.RUNNING, TrialStatus.DISPATCHED)


def study_of_experiment(settings: Study, experiment: Experiment, metric: str) -> Study:
    """The study of an experiment: its settings, and a trial for each of Ax's, in order.

    Args:
        settings: The study without trials.
        experiment: The experiment.
        metric: Name of the loss.
    """
    losses = _losses(experiment, metric)
    trials = [
        _outcome(_run(settings, k, trial), trial, losses.get(index))
        for k, (index, trial) in enumerate(sorted(experiment.trials.items()))
    ]
    return replace(settings, trials=tuple(trials))


def _losses(experiment: Experiment, metric: str) -> dict[int, tuple[float, float]]:
    """Last loss of each trial and its standard error, NaN where unknown."""
    frame = experiment.lookup_data().df
    rows = frame[frame["metric_name"] == metric]
    return {
        int(index): (float(mean), float(sem))
        for index, mean, sem in zip(rows["trial_index"], rows["mean"], rows["sem"], strict=True)
    }


def _run(settings: Study, trial_id: int, trial: BaseTrial) -> Trial:
    """An Ax trial as a pending run."""
    arm = trial.arm if isinstance(trial, AxTrial) else None
    if arm is None:
        raise InvalidTrialError(
            f"trial {trial.index} of the experiment has {len(trial.arms)} arms, expected one "
            "training run; attach each run as a trial of its own"
        )
    return run_at(settings, trial_id, {**arm.parameters, **known_of(trial)})


def run_at(settings: Study, trial_id: int, told: Mapping[str, Any]) -> Trial:
    """The pending run that Ax parameters and metadata describe."""
    missing = [name for name in _NEEDED if told.get(name) is None]
    if missing:
        raise InvalidTrialError(
            f"trial {trial_id} of the experiment has no {missing[0]}, expected "
            f"{', '.join(_NEEDED)}; attach it with all of them"
        )
    target = settings.target
    params, tokens = told["params"], told["tokens"]
    scale = next((s for s in settings.space.scales if s.params == params), None)
    planned = scale.flops(tokens) if scale else training_flops(params, tokens)
    return Trial(
        id=trial_id,
        learning_rate=told["learning_rate"],
        params=params,
        tokens=tokens,
        batch_tokens=told.get("batch_tokens", target.batch_tokens),
        flops=told.get("flops", planned),
        schedule=told.get("schedule", target.schedule),
        averaging=told.get("averaging", target.averaging),
        source=told.get("source", settings.source),
        charged=told.get("charged", True),
        settings=scale.settings if scale else {},
        inputs=told.get("inputs", target.inputs),
    )


def known_of(trial: BaseTrial) -> Mapping[str, Any]:
    """What a trial's run metadata say beyond its parameters, checked by name."""
    told = trial.run_metadata.get(METADATA_KEY, {})
    unknown = sorted(set(told) - set(METADATA))
    if unknown:
        raise InvalidTrialError(
            f"run metadata of trial {trial.index} hold {unknown[0]!r} under {METADATA_KEY!r}, "
            f"expected {', '.join(METADATA)}; put your own metadata beside that key"
        )
    return told


def _outcome(run: Trial, trial: BaseTrial, loss: tuple[float, float] | None) -> Trial:
    if trial.status in _PENDING:
        return run
    if trial.status == TrialStatus.COMPLETED and loss is not None:
        mean, error = _as_reported(loss, known_of(trial).get("loss"))
        return run.completed(mean, error if math.isfinite(error) and error > 0 else None)
    reason = (trial.status_reason or "").strip().lower()
    blew_up = trial.status == TrialStatus.FAILED and reason.startswith(DIVERGED)
    ran = trial.status != TrialStatus.STALE
    return replace(run, status="diverged" if blew_up else "failed", charged=run.charged and ran)


def _as_reported(stored: tuple[float, float], reported: list[float] | None) -> tuple[float, float]:
    """The loss to the last bit where it was kept, else to what Ax keeps of it on disk."""
    if reported is not None and math.isclose(
        reported[0], stored[0], rel_tol=0.0, abs_tol=10.0**-STORED_DECIMALS
    ):
        return reported[0], reported[1]
    return round(stored[0], STORED_DECIMALS), round(stored[1], STORED_DECIMALS)
