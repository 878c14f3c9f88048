"""Figures: which numbers does each figure of a study show?

The page, the live page and `horizon_bo.report.plots` draw what these values hold and compute
nothing of their own; `series` computes them. Arrays are in linear values, one entry a point.
"""

from dataclasses import dataclass

import numpy as np

from horizon_bo.core.diagnostics import Health
from horizon_bo.core.policy import Recommendation
from horizon_bo.study.trials import Study


@dataclass(frozen=True)
class BowlFigure:
    """The target's loss above that of its best rate, against the rate; losses in loss units.

    Args:
        learning_rate: Rates, ascending, the recommended one among them.
        low: 5 % quantile of the excess loss.
        median: Its median.
        high: Its 95 % quantile.
        expected_regret: Mean excess, bounded by what an e-fold of tokens buys; its lowest value
            is the recommendation's expected regret.
        divergence: Probability that the target diverges at that rate.
    """

    learning_rate: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    expected_regret: np.ndarray
    divergence: np.ndarray


@dataclass(frozen=True)
class OptimumFigure:
    """The best rate along one quantity, all others being the target's.

    Args:
        along: `"tokens"` or `"params"`.
        at: Counts, ascending, the target's among them.
        low: 5 % quantile of the best rate.
        median: Its median.
        high: Its 95 % quantile.
        run_at: Each trial's own tokens or params.
        run_rate: Each trial's rate, moved so that it lies as far from the curve as it lay from the
            best rate of its own size, tokens, batch and recipe.
    """

    along: str
    at: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    run_at: np.ndarray
    run_rate: np.ndarray


@dataclass(frozen=True)
class RunsFigure:
    """Every trial of the study, in order, and what it told; NaN where there is nothing to say.

    Args:
        id: Position in the study.
        status: `pending`, `completed`, `diverged` or `failed`.
        recipe: Label of a recipe other than the study's own, and inputs that are otherwise than the
            target's; else empty.
        learning_rate: Peak rate.
        params: Count.
        tokens: Count.
        batch_tokens: Tokens per step, NaN where unknown.
        loss: Loss units.
        cost: Compute, in target runs.
        charged: Whether the cost counts against the budget.
        octaves_off: log₂ of the rate over the best rate of its own size, tokens, batch and recipe.
        excess: Loss above that of the best rate there, loss units; noise may make it negative.
        regret_removed: By how much the expected regret would be larger without the run, loss
            units; 0 for diverged runs, whose word on where training fails is not counted here.
        octaves_removed: By how much the 90 % interval would be wider without it.
    """

    id: np.ndarray
    status: np.ndarray
    recipe: np.ndarray
    learning_rate: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    batch_tokens: np.ndarray
    loss: np.ndarray
    cost: np.ndarray
    charged: np.ndarray
    octaves_off: np.ndarray
    excess: np.ndarray
    regret_removed: np.ndarray
    octaves_removed: np.ndarray


@dataclass(frozen=True)
class HistoryFigure:
    """What was believed after some first trials of the study; the last state is the present one.

    Args:
        trials: How many first trials a state knows.
        spent: Compute charged by then, in target runs.
        compute: Compute of all runs by then, logged ones that were free included, target runs.
        learning_rate: Recommended rate.
        low_90: Lower end of the 90 % interval.
        high_90: Its upper end.
        expected_regret: Loss units.
        octaves: Width of the 90 % interval in factors of two.
    """

    trials: np.ndarray
    spent: np.ndarray
    compute: np.ndarray
    learning_rate: np.ndarray
    low_90: np.ndarray
    high_90: np.ndarray
    expected_regret: np.ndarray
    octaves: np.ndarray


@dataclass(frozen=True)
class OpinionsFigure:
    """The best rate at the target by others.

    Args:
        name: A published law, or `"prior"`: the guess that the study started from.
        learning_rate: As given to the optimizer.
        low_90: Lower end of what it states as its interval, NaN where it states none.
        high_90: Upper end.
        expected_regret: What using that rate is expected to lose, loss units, by our belief.
        inside: Whether the target lies within the runs the law was fitted to.
        source: Where it is published, or the sources of the prior.
    """

    name: np.ndarray
    learning_rate: np.ndarray
    low_90: np.ndarray
    high_90: np.ndarray
    expected_regret: np.ndarray
    inside: np.ndarray
    source: np.ndarray


@dataclass(frozen=True)
class BatchFigure:
    """What each pair of batch and rate costs at the target, in target runs above the best pair.

    Args:
        batch_tokens: Tokens per step, ascending.
        low: 5 % quantile of the best rate at each.
        median: Its median.
        high: Its 95 % quantile.
        costs: Expected costs, ascending.
        low_rate: The lowest rate that costs no more than each, a row a cost; NaN where none does.
        high_rate: The highest such rate.
        best: Batch and rate that cost least.
        run_id: Trials of a known batch.
        run_batch: Their tokens per step.
        run_rate: Their rates, moved as those of `OptimumFigure`.
        run_status: How they ended.
    """

    batch_tokens: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    costs: np.ndarray
    low_rate: np.ndarray
    high_rate: np.ndarray
    best: tuple[float, float]
    run_id: np.ndarray
    run_batch: np.ndarray
    run_rate: np.ndarray
    run_status: np.ndarray


@dataclass(frozen=True)
class StudyFigures:
    """All figures of a study, its recommendation, and how well the inference did."""

    study: Study
    recommendation: Recommendation
    bowl: BowlFigure
    over_tokens: OptimumFigure
    over_params: OptimumFigure
    runs: RunsFigure
    batches: BatchFigure | None  # where runs or the question have several batches
    history: HistoryFigure
    opinions: OpinionsFigure
    health: Health
