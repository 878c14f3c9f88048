"""Forecast: what is expected of runs that have not been made, and of the best rate among them?

A rung is one size, horizon and batch. Its departures from the law are drawn jointly with those of
all cells that have runs: the posterior is conditioned on the same runs once more, with rungs as
further cells. A loss that will be observed is

    level + κ h_s(ln η − ln η*) + noise,

noise being Student-t of the variance that the likelihood gives a run, model error included.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from horizon_bo.core.conditioning import condition, draw_departures, token_slope
from horizon_bo.core.inference import Belief, TargetDraws
from horizon_bo.core.laws import clip_offset, linex
from horizon_bo.core.normal import probability
from horizon_bo.core.points import Cells, Points
from horizon_bo.core.priors import Coefficients
from horizon_bo.core.surrogate import CLIFF_WIDTH, NOISE_FREEDOM, features, level_mean

#: Draws of the rung's departures per coefficient set, as many as of the target's.
_DRAWS = 8


def rung_draws(
    belief: Belief, log_scales: Float[np.ndarray, "scale"], generator: np.random.Generator
) -> TargetDraws:
    """Posterior draws of the loss curve at a rung of the study's own recipe."""
    return joint_draws(belief, log_scales[None], generator)[0]


def joint_draws(
    belief: Belief, log_scales: Float[np.ndarray, "rung scale"], generator: np.random.Generator
) -> list[TargetDraws]:
    """Posterior draws of the loss curves at some rungs, draw by draw from one and the same world.

    `level` is that of each rung, in units of the typical loss; what tokens buy is the target's.

    Args:
        belief: What the runs say.
        log_scales: The rungs, (ln N/N*, ln D/D*, ln B/B*) and the inputs that vary.
        generator: Of the departures.
    """
    runs, posterior = belief.runs, belief.posterior
    known, count = len(runs.cells), len(log_scales)
    cells = Cells(
        np.concat([runs.cells.log_scales, log_scales]),
        np.append(runs.cells.source, np.zeros(count, dtype=int)),
    )
    fit = condition(
        posterior.z, posterior.noise_scale, replace(runs, cells=cells), posterior.priors
    )
    departures = draw_departures(fit, generator, _DRAWS)[..., known:]
    c, slope = fit.coefficients, token_slope(posterior.fit, runs)
    return [_curves(c, log_scales[k], departures[..., k], slope) for k in range(count)]


def _curves(
    c: Coefficients,
    log_scales: Float[np.ndarray, "scale"],
    departures: Float[np.ndarray, "draw set 3"],
    slope: Float[np.ndarray, "set"],
) -> TargetDraws:
    law, (level, drift, steeper) = c.law, np.moveaxis(departures, -1, 0)
    here = log_scales[None]
    optimum = c.log_optimal_lr(here)[:, 0] + drift
    return TargetDraws(
        log_optimum=optimum.reshape(-1),
        curvature=(law.curvature(*log_scales[:3]) * np.exp(steeper)).reshape(-1),
        asymmetry=np.tile(law.asymmetry, len(drift)),
        level=(level_mean(c, here)[:, 0] + level).reshape(-1),
        token_slope=np.tile(slope, len(drift)),
        log_cliff=(optimum + c.cliff).reshape(-1),
    )


def predicted_losses(
    belief: Belief,
    draws: TargetDraws,
    log_lr: Float[np.ndarray, "run"],
    log_scales: Float[np.ndarray, "scale"],
    generator: np.random.Generator,
) -> Float[np.ndarray, "draw run"]:
    """Draws of the losses that runs at a rung will show, noise included, should none diverge.

    Args:
        belief: What the runs say.
        draws: `rung_draws` at that rung.
        log_lr: The rates.
        log_scales: The rung.
        generator: Of the noise.
    """
    offset = clip_offset(log_lr - draws.log_optimum[:, None], draws.asymmetry[:, None])
    bowl = draws.curvature[:, None] * linex(offset, draws.asymmetry[:, None])
    gamma = generator.standard_gamma(NOISE_FREEDOM / 2, bowl.shape)
    scale = (NOISE_FREEDOM - 2) / 2 / gamma  # of mean 1
    spread = np.sqrt(noise_variance(belief, log_lr, log_scales) * scale)
    noise = spread * generator.standard_normal(bowl.shape)
    return draws.level[:, None] + bowl + noise


def noise_variance(
    belief: Belief, log_lr: Float[np.ndarray, "run"], log_scales: Float[np.ndarray, "scale"]
) -> Float[np.ndarray, "draw run"]:
    """Variance of runs' losses about their curve, model error included, under each draw.

    That of a Student-t is ν/(ν − 2) times its scale's square.
    """
    count = len(log_lr)
    points = Points(log_lr, np.tile(log_scales, (count, 1)), np.zeros(count, dtype=int))
    square = features(belief.posterior.coefficients, points).variance
    return np.tile(square * NOISE_FREEDOM / (NOISE_FREEDOM - 2), (_DRAWS, 1))


def divergence_probability(
    draws: TargetDraws, log_lr: Float[np.ndarray, "run"]
) -> Float[np.ndarray, "run"]:
    """How likely runs at a rung blow up."""
    score = (log_lr - draws.log_cliff[:, None]) / CLIFF_WIDTH
    return probability(score).mean(0)
