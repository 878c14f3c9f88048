"""Corrections: which study is it after somebody was mistaken, or wants a run of their own?

Pure functions. What a trial said before stays with it (`history.Change`); a study says of the loss
what one would that had been right from the start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from horizon_bo.errors import BudgetExhaustedError, InvalidTrialError, UnknownTrialError
from horizon_bo.study.branches import awaited
from horizon_bo.study.changes import require_one
from horizon_bo.study.history import Change, Kind
from horizon_bo.study.horizons import Scale, positive
from horizon_bo.study.quantities import quoted
from horizon_bo.study.trials import Study, Trial

#: Fields whose value before a change is kept.
_KEPT = (
    *("status", "loss", "loss_sd", "flops", "charged", "learning_rate", "params", "tokens"),
    *("batch_tokens", "schedule", "averaging", "source", "inputs"),
)


def correct(
    study: Study,
    trial_id: int,
    *,
    loss: float | None = None,
    diverged: bool = False,
    failed: bool = False,
    flops: float | None = None,
    reason: str | None = None,
) -> Study:
    """The study with another outcome of a trial that has ended, or another compute of it.

    One that was withdrawn or forgotten counts again, at what it had been charged.

    Args:
        study: The study.
        trial_id: Id of the trial.
        loss: Its final loss; one that is not finite means that it diverged.
        diverged: Training blew up.
        failed: The run says nothing about the loss.
        flops: Compute it really took, FLOP.
        reason: Why.
    """
    trial = after = _ended(study, trial_id, "report it with observe")
    told = {"loss": loss is not None, "diverged": diverged, "failed": failed}
    if any(told.values()) or flops is None:
        require_one(trial.id, told)
        left = _left_out(trial)
        was = {} if left is None else left.before
        blank = replace(trial, status="failed", loss=None, loss_sd=None)
        after = (
            replace(blank, status="diverged" if diverged else "failed")
            if loss is None
            else blank.completed(loss, was.get("loss_sd", trial.loss_sd))
        )
        after = replace(after, charged=was.get("charged", trial.charged))
    if flops is not None:
        name, todo = f"flops of trial {trial.id}", "give the compute of the run"
        after = replace(after, flops=positive(flops, name, InvalidTrialError, todo))
    return study.with_outcome(changed(trial, after, "corrected", reason))


def forget(
    study: Study, trial_ids: Sequence[int], *, reason: str | None = None, refund: bool = False
) -> Study:
    """The study as if these trials had said nothing; what they cost stays charged.

    Args:
        study: The study.
        trial_ids: Ids of trials that have ended.
        reason: Why.
        refund: Charge them no longer.
    """
    before = len(study.informing)
    for trial_id in trial_ids:
        trial = _ended(study, trial_id, "a run that will not be made is taken back by withdraw")
        charged = trial.charged and not refund
        after = replace(trial, status="failed", loss=None, loss_sd=None, charged=charged)
        study = study.with_outcome(changed(trial, after, "forgotten", reason))
    if before and not study.informing:
        raise InvalidTrialError(
            f"{_named(trial_ids)} would be forgotten, after which no run says anything, expected "
            "one to remain; correct what is wrong in them, or start another study"
        )
    return study


def withdraw(study: Study, trial_id: int, *, reason: str | None = None) -> Study:
    """The study with a pending run taken back: it will not be made and costs nothing."""
    _known(study, trial_id)
    trial = study.trials[trial_id]
    if trial.status != "pending" and trial.trunk is None:
        raise UnknownTrialError(
            f"trial {trial_id} is {trial.state}, expected a pending one; what a run that has ended "
            "said is taken out by forget"
        )
    read = awaited(study, trial_id, whole=True)
    branches = [trial for trial in study.trials if trial.trunk == trial_id]
    if len(branches) > len(read):
        raise UnknownTrialError(
            f"run {trial_id} has {len(branches) - len(read)} of its {len(branches)} branches "
            "reported, expected none, since its trunk was paid for; report the others as failed"
        )
    for pending in read:
        study = study.with_outcome(withdrawn(pending, reason))
    return study


def withdrawn(trial: Trial, reason: str | None) -> Trial:
    """A pending trial that will not be made and costs nothing."""
    after = replace(trial, status="failed", charged=False, queued=False)
    return changed(trial, after, "withdrawn", reason)


def enqueue(
    study: Study,
    *,
    learning_rate: float,
    params: float,
    tokens: float,
    batch_tokens: float | None = None,
    schedule: str | None = None,
    averaging: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Study:
    """The study with a run that somebody wants, to be handed out before any other.

    Args:
        study: The study.
        learning_rate: Peak learning rate, as given to the optimizer.
        params: Non-embedding parameters, a count.
        tokens: Training tokens, a count.
        batch_tokens: Tokens per step; `None` takes the target's.
        schedule: Learning-rate schedule; `None` means the target's.
        averaging: Weight averaging; `None` means the target's.
        settings: For a training command, beside those of the study's scale of that size.

    Raises:
        BudgetExhaustedError: It costs more than what is left of the budget.
    """
    target, todo = study.target, "name a run that can be made"
    size = positive(params, "params of the run", InvalidTrialError, todo)
    length = positive(tokens, "tokens of the run", InvalidTrialError, todo)
    known = next((s for s in study.space.scales if s.params == size), None)
    scale = known or Scale(params=size)
    flops = scale.flops(length)
    if flops > study.affordable:
        raise BudgetExhaustedError(
            f"the run costs {flops:.3g} FLOP and {study.remaining:.3g} FLOP of the budget are "
            "left, expected it to fit; extend the budget, or ask for a smaller run"
        )
    run = Trial(
        id=len(study.trials),
        learning_rate=learning_rate,
        params=size,
        tokens=length,
        batch_tokens=target.batch_tokens if batch_tokens is None else batch_tokens,
        flops=flops,
        schedule=schedule or target.schedule,
        averaging=averaging or target.averaging,
        source=study.source,
        settings={**scale.settings, **(settings or {})},
        queued=True,
        inputs=scale.inputs(target),
    )
    return study.with_trials(run)


def changed(trial: Trial, after: Trial, kind: Kind, reason: str | None) -> Trial:
    """The trial as it is after a change, with what it said before; itself where nothing changed."""
    before = {n: getattr(trial, n) for n in _KEPT if getattr(trial, n) != getattr(after, n)}
    if not before and (kind != "forgotten" or _left_out(trial) is not None):
        return trial
    change = Change(kind=kind, before=before, reason=reason)
    return replace(after, changes=(*trial.changes, change))


def _left_out(trial: Trial) -> Change | None:
    """The change by which a trial was forgotten or withdrawn, if that was the last."""
    last = trial.changes[-1] if trial.changes else None
    return last if last is not None and last.kind in ("forgotten", "withdrawn") else None


def _known(study: Study, trial_id: int) -> None:
    """Refuse an id that no trial has."""
    known = isinstance(trial_id, int) and not isinstance(trial_id, bool)
    if not known or not 0 <= trial_id < len(study.trials):
        last = len(study.trials) - 1
        ids = f"one of 0 to {last}" if last >= 0 else "a study with trials"
        raise UnknownTrialError(
            f"trial {quoted(trial_id)} is unknown, expected {ids}; trials lists what there is"
        )


def _ended(study: Study, trial_id: int, todo: str) -> Trial:
    """A trial that has ended, or an error that says what it is instead."""
    _known(study, trial_id)
    trial = study.trials[trial_id]
    if trial.status == "pending":
        raise UnknownTrialError(f"trial {trial_id} is pending, expected one that has ended; {todo}")
    return trial


def _named(trial_ids: Sequence[int]) -> str:
    ids = ", ".join(map(str, trial_ids[:10])) + (", …" if len(trial_ids) > 10 else "")
    return f"trial {ids}" if len(trial_ids) == 1 else f"trials {ids}"
