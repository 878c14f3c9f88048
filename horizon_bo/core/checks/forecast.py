"""Forecast: what is expected of runs that have not been made, and of the best rate among them?

A rung is one size, horizon and batch. Its departures from the law are drawn jointly with those of
all cells that have runs: the posterior is conditioned on the same runs once more, with rungs as
further cells. A loss that will be observed is

    level + κ h_s(ln η − ln η*) + noise,

noise being Student-t of the variance that the likelihood gives a run, model error included.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from horizon_bo.core.inference import Belief, TargetDraws
from horizon_bo.core.laws import clip_offset, linex
from horizon_bo.core.points import Cells, Points
from horizon_bo.core.priors import Coefficients
from horizon_bo.core.surrogate import (
    CLIFF_WIDTH,
    NOISE_FREEDOM,
    condition,
    draw_departures,
    features,
    level_mean,
    token_slope,
)

#: Draws of the rung's departures per coefficient set, as many as of the target's.
_DRAWS = 8


def rung_draws(
    belief: Belief, log_scales: Float[Tensor, "scale"], generator: torch.Generator
) -> TargetDraws:
    """Posterior draws of the loss curve at a rung of the study's own recipe."""
    return joint_draws(belief, log_scales.unsqueeze(0), generator)[0]


def joint_draws(
    belief: Belief, log_scales: Float[Tensor, "rung scale"], generator: torch.Generator
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
        torch.cat([runs.cells.log_scales, log_scales]),
        torch.cat([runs.cells.source, torch.zeros(count, dtype=torch.long)]),
    )
    fit = condition(
        posterior.z, posterior.noise_scale, replace(runs, cells=cells), posterior.priors
    )
    departures = draw_departures(fit, generator, _DRAWS)[..., known:]
    c, slope = fit.coefficients, token_slope(posterior.fit, runs)
    return [_curves(c, log_scales[k], departures[..., k], slope) for k in range(count)]


def _curves(
    c: Coefficients,
    log_scales: Float[Tensor, "scale"],
    departures: Float[Tensor, "draw set 3"],
    slope: Float[Tensor, "set"],
) -> TargetDraws:
    law, (level, drift, steeper) = c.law, departures.unbind(-1)
    here = log_scales.unsqueeze(0)
    optimum = c.log_optimal_lr(here).squeeze(-1) + drift
    return TargetDraws(
        log_optimum=optimum.reshape(-1),
        curvature=(law.curvature(*log_scales[:3]) * steeper.exp()).reshape(-1),
        asymmetry=torch.as_tensor(law.asymmetry).expand_as(drift).reshape(-1),
        level=(level_mean(c, here).squeeze(-1) + level).reshape(-1),
        token_slope=slope.expand_as(drift).reshape(-1),
        log_cliff=(optimum + c.cliff).reshape(-1),
    )


def predicted_losses(
    belief: Belief,
    draws: TargetDraws,
    log_lr: Float[Tensor, "run"],
    log_scales: Float[Tensor, "scale"],
    generator: torch.Generator,
) -> Float[Tensor, "draw run"]:
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
    half = torch.full_like(bowl, NOISE_FREEDOM / 2)
    gamma = torch.ops.aten._standard_gamma(half, generator=generator)
    scale = half / gamma * (NOISE_FREEDOM - 2) / NOISE_FREEDOM  # of mean 1
    normal = torch.randn(bowl.shape, dtype=bowl.dtype, generator=generator)
    noise = normal * (noise_variance(belief, log_lr, log_scales) * scale).sqrt()
    return draws.level[:, None] + bowl + noise


def noise_variance(
    belief: Belief, log_lr: Float[Tensor, "run"], log_scales: Float[Tensor, "scale"]
) -> Float[Tensor, "draw run"]:
    """Variance of runs' losses about their curve, model error included, under each draw.

    That of a Student-t is ν/(ν − 2) times its scale's square.
    """
    source = torch.zeros(len(log_lr), dtype=torch.long)
    points = Points(log_lr, log_scales.expand(len(log_lr), -1), source)
    square = features(belief.posterior.coefficients, points).variance
    return (square * NOISE_FREEDOM / (NOISE_FREEDOM - 2)).repeat(_DRAWS, 1)


def divergence_probability(
    draws: TargetDraws, log_lr: Float[Tensor, "run"]
) -> Float[Tensor, "run"]:
    """How likely runs at a rung blow up."""
    score = (log_lr - draws.log_cliff[:, None]) / CLIFF_WIDTH
    return torch.special.ndtr(score).mean(0)
