"""Outliers: is a loss so far from all others that somebody should look at it at once?

It is recorded all the same: a number of a job in place of a loss and a mistyped digit are seen so,
before any model is asked.
"""

from collections.abc import Sequence

from horizon_bo.study.trials import Study, Trial

#: Beyond the highest or below the lowest other loss by this factor: a loss nobody has trained to.
_FAR = 2.0
#: The same where there are fewer than three others to tell what is ordinary.
_FAR_OF_FEW, _FEW = 10.0, 3
#: No loss per token or byte is this large, whatever its unit: most often a job's number.
_ABSURD = 1000.0


def far_apart(losses: Sequence[float]) -> tuple[float, float]:
    """Bounds beyond which losses are far from the others, on the side that fewer of them lie on.

    They lie beyond a gap: no loss within a factor above the lower half, or below the upper one.
    """
    ordered = sorted(losses)
    far = _FAR if len(ordered) > _FEW else _FAR_OF_FEW
    middle = (len(ordered) - 1) // 2
    below = (k for k in range(middle) if ordered[k] * far < ordered[k + 1])
    above = (k for k in range(middle, len(ordered) - 1) if ordered[k] * far < ordered[k + 1])
    low = max(below, default=-1) + 1
    return ordered[low], ordered[min(above, default=len(ordered) - 1)]


def far_losses(study: Study, trials: Sequence[Trial]) -> tuple[str, ...]:
    """A question about each of these trials whose loss is far from all others of the study."""
    asked = {trial.id for trial in trials}
    others = [t.loss for t in study.trials if t.loss is not None and t.id not in asked]
    far = _FAR if len(others) >= _FEW else _FAR_OF_FEW
    low, high = min(others, default=0.0) / far, max(others, default=_ABSURD / far) * far
    among = f", where all others are {low * far:g} to {high / far:g}" if others else ""
    return tuple(
        f"loss of trial {trial.id} is {trial.loss:g}{among}: recorded; is it the final loss, in "
        "the same unit?"
        for trial in trials
        if trial.loss is not None and not low <= trial.loss <= high
    )
