"""Decision: which learning rate to train the target with, and what that is expected to cost.

    regret(η) = mean over draws of  r / (1 + r/R),    r = κ h_s(ln η − ln η*)

R is what an e-fold of training tokens buys: a rate so bad that it loses more would be noticed
and restarted, which costs no more than that. Without this bound a few draws with a steep bowl
would rule the answer.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from horizon_bo.core.inference import Belief, TargetDraws
from horizon_bo.core.laws import clip_offset, linex
from horizon_bo.core.normal import probability
from horizon_bo.core.surrogate import CLIFF_WIDTH

_GRID = 257  # rates between the extreme quantiles of the optimum
#: How far beyond the 90 % interval these may lie, in widths of it: of a normal they are a half. A
#: few bowls that are flat (every loss the same) have their optimum anywhere, which is no rate.
_FAR = 4.0


@dataclass(frozen=True)
class Decision:
    """The best rate at the target and how sure it is; losses in units of the typical loss."""

    log_lr: float
    log_interval_50: tuple[float, float]
    log_interval_90: tuple[float, float]
    expected_regret: float
    predicted_loss: float
    divergence_probability: float
    token_slope: float  # loss that an e-fold of target tokens buys


def regret(draws: TargetDraws, log_lr: Float[np.ndarray, "rate"]) -> Float[np.ndarray, "rate draw"]:
    """Regret of each rate under each draw, bounded by what an e-fold of tokens buys."""
    offset = clip_offset(log_lr[..., None] - draws.log_optimum, draws.asymmetry)
    excess = draws.curvature * linex(offset, draws.asymmetry)
    return excess / (1 + excess / draws.token_slope.mean())


def decide(belief: Belief) -> Decision:
    """Choose the rate of least expected regret; before the first run, the prior's own centre."""
    return decide_on(belief.target, None if len(belief.runs) else belief.center.log_lr)


def decide_on(draws: TargetDraws, log_lr: float | None = None) -> Decision:
    """Choose the rate of least expected regret on draws of a loss curve.

    Args:
        draws: The curve.
        log_lr: The only rate to consider, natural log; `None` considers all.
    """
    grid = _rates(draws) if log_lr is None else np.array([log_lr])
    expected = regret(draws, grid).mean(-1)
    best = int(expected.argmin())
    log_lr = float(grid[best])
    bounds = np.quantile(draws.log_optimum, [0.05, 0.25, 0.75, 0.95]).tolist()
    hazard = probability((log_lr - draws.log_cliff) / CLIFF_WIDTH)
    return Decision(
        log_lr=log_lr,
        log_interval_50=(bounds[1], bounds[2]),
        log_interval_90=(bounds[0], bounds[3]),
        expected_regret=float(expected[best]),
        predicted_loss=float(draws.level.mean() + expected[best]),
        divergence_probability=float(hazard.mean()),
        token_slope=float(draws.token_slope.mean()),
    )


def _rates(draws: TargetDraws) -> Float[np.ndarray, "rate"]:
    """Rates to choose among: between the extreme quantiles of the optimum, unless those are far."""
    lowest, low, high, highest = np.quantile(draws.log_optimum, [0.001, 0.05, 0.95, 0.999])
    reach = _FAR * (high - low)
    return np.linspace(max(lowest, low - reach), min(highest, high + reach), _GRID)


def probability_within(belief: Belief, log_lr: float, tolerance: float) -> float:
    """Posterior probability that a rate's regret is at most `tolerance`, in typical losses."""
    return float((regret(belief.target, np.array([log_lr])) <= tolerance).mean())


def octaves(log_interval: tuple[float, float]) -> float:
    """Width of an interval of rates in factors of two."""
    return (log_interval[1] - log_interval[0]) / math.log(2)
