"""Revisions: how does somebody who was mistaken, or changed their mind, tell a tuner?

`HorizonTuner` takes these functions for methods of its own. Each is one event, as every other.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from horizon_bo.study import corrections
from horizon_bo.study.branches import run_of
from horizon_bo.study.extension import extended
from horizon_bo.study.horizons import Horizon, SearchSpace
from horizon_bo.study.outliers import far_losses
from horizon_bo.study.trials import Study, Suggestion, Trial


class Tuner(Protocol):
    """What revisions need of the tuner whose study they change."""

    @property
    def study(self) -> Study:
        """All that is known, as last read or written."""
        ...

    def record(self, kind: str, change: Callable[[Study], Study]) -> tuple[Trial, ...]:
        """Apply a change, durably; the trials it made or altered."""
        ...


def correct(
    tuner: Tuner,
    run: Suggestion | int,
    *,
    loss: float | None = None,
    diverged: bool = False,
    failed: bool = False,
    flops: float | None = None,
    reason: str | None = None,
) -> tuple[str, ...]:
    """Say again how a run ended that has ended, or what it took; the old value is kept.

    Args:
        tuner: Whose study it is.
        run: A run, or the id of its trial.
        loss: Final loss; NaN and infinity mean that it diverged.
        diverged: Training blew up.
        failed: The run says nothing.
        flops: Compute it really took, FLOP.
        reason: Why, for the history.

    Returns:
        Remarks worth showing, none in the ordinary case.
    """
    told = {"loss": loss, "diverged": diverged, "failed": failed, "flops": flops}
    correct = partial(corrections.correct, trial_id=_id(run), reason=reason, **told)
    altered = tuner.record("corrected", correct)
    return far_losses(tuner.study, altered)


def forget(
    tuner: Tuner,
    run: Suggestion | int | Sequence[int],
    *,
    reason: str | None = None,
    refund: bool = False,
) -> None:
    """Believe as if a run that has ended had said nothing; its compute stays charged.

    Args:
        tuner: Whose study it is.
        run: A run, the id of its trial, or several ids.
        reason: Why, for the history.
        refund: Charge its compute no longer.
    """
    ids = tuple(run) if isinstance(run, Sequence) else (_id(run),)
    tuner.record(
        "forgotten", lambda study: corrections.forget(study, ids, reason=reason, refund=refund)
    )


def withdraw(tuner: Tuner, run: Suggestion | int, *, reason: str | None = None) -> None:
    """Take back a pending run that will not be made: it costs nothing.

    Args:
        tuner: Whose study it is.
        run: The run, or its id.
        reason: Why, for the history.
    """
    tuner.record("withdrawn", lambda study: corrections.withdraw(study, _id(run), reason=reason))


def enqueue(
    tuner: Tuner,
    *,
    learning_rate: float,
    params: float,
    tokens: float,
    batch_tokens: float | None = None,
    schedule: str | None = None,
    averaging: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Suggestion:
    """Ask for a run of your own, which `suggest`, a loop or a worker hands out next.

    Args:
        tuner: Whose study it is.
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
    wanted = {"learning_rate": learning_rate, "params": params, "tokens": tokens}
    recipe = {"batch_tokens": batch_tokens, "schedule": schedule, "averaging": averaging}
    enqueue = partial(corrections.enqueue, settings=settings, **wanted, **recipe)
    (trial,) = tuner.record("enqueued", enqueue)
    return run_of(tuner.study, trial.id)


def extend(
    tuner: Tuner,
    *,
    budget: float | None = None,
    target: Horizon | None = None,
    space: SearchSpace | None = None,
    prior_center: float | None = None,
) -> None:
    """Change what the study asks; all that is believed is worked out anew from its runs.

    Args:
        tuner: Whose study it is.
        budget: Training compute to spend in all, FLOP, what is spent included.
        target: The run that will be trained once; no smaller than any run made.
        space: The small runs that may be made.
        prior_center: A guess of the optimal rate at the target.
    """
    given = {"budget": budget, "target": target, "space": space, "prior_center": prior_center}
    tuner.record("extended", partial(extended, **given))


def _id(run: Suggestion | int) -> int:
    return run.id if isinstance(run, Suggestion) else run
