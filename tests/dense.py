"""Dense: the surrogate's joint normal written out in full, for tests to compare with.

Nothing here shares code with the surrogate but the law and the priors, which have tests of their
own: slopes come from automatic differentiation, and no summaries are taken.
"""

import math

import torch
from torch import Tensor

from horizon_bo.core.laws import HorizonLaw, clip_offset, linex
from horizon_bo.core.points import Runs
from horizon_bo.core.priors import coefficients
from horizon_bo.core.surrogate import (
    AMPLITUDE,
    BATCH_CURVATURE,
    BATCH_LEVEL_SD,
    BEND_SD,
    CLIFF_WIDTH,
    CRITICAL_EXPONENT,
    CURVATURE_SD,
    LEAST_NOISE,
    LEVEL_SD,
    SOURCE_LEVEL_SD,
    STRETCH,
)
from tests.priors import PRIORS


def bowl_of(law: HorizonLaw, log_lr: Tensor, n: Tensor, d: Tensor, b: Tensor) -> Tensor:
    """Excess loss over the best rate of the same horizon."""
    offset = clip_offset(log_lr - law.log_optimal_lr(n, d, b), law.asymmetry)
    return law.curvature(n, d, b) * linex(offset, law.asymmetry)


#: The surrogate adds this to the variance of each departure; at 1e-7 the misfit feels it.
JITTER = 1e-10


def dense(z: Tensor, runs: Runs, jitter: float = JITTER) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For one coefficient set: basis, covariance of departures, mean and noise, from scratch.

    The basis is (1, d bowl/d ln η*, d bowl/d ln κ), by automatic differentiation. The covariance is
    that of each cell's (level, drift, curvature) with the next, 3·cells square.
    """
    c = coefficients(z[None], PRIORS)
    law = c.law
    optimum = torch.zeros(len(runs.loss), dtype=torch.float64, requires_grad=True)
    steeper = torch.zeros(len(runs.loss), dtype=torch.float64, requires_grad=True)
    shift = c.source_offset[0, runs.points.source]
    bowl = steeper.exp() * bowl_of(
        law, runs.points.log_lr - shift - optimum, *runs.points.log_scales.unbind(-1)
    )
    slopes = torch.autograd.grad(bowl.sum(), [optimum, steeper])
    bowl = bowl.detach()
    basis = torch.stack([torch.ones_like(bowl), *slopes], -1)

    n, d, b = runs.cells.log_scales.unbind(-1)
    growth = [
        (-law.params_exponent * n).exp() - 1,
        (-law.tokens_exponent * d).exp() - 1,
    ]
    inputs = [(LEVEL_SD, torch.ones_like(n)), *((AMPLITUDE[1], fall) for fall in growth)]
    own, best = CRITICAL_EXPONENT * d, b - CRITICAL_EXPONENT * d
    inputs += [(BATCH_LEVEL_SD[0], b), (BATCH_LEVEL_SD[1], best**2 / 2 - own**2 / 2)]
    inputs += [
        (SOURCE_LEVEL_SD, (runs.cells.source == k).double())
        for k in range(1, 1 + int(runs.points.source.max()))
    ]
    level = sum(sd**2 * torch.outer(x, x) for sd, x in inputs)
    directions = zip(BEND_SD, (n, d, b - CRITICAL_EXPONENT * d), strict=True)
    bends = sum((sd / 2) ** 2 * torch.outer(x**2, x**2) for sd, x in directions)
    stretched = runs.cells.log_scales * torch.tensor(STRETCH, dtype=torch.float64)
    gap = (stretched[:, None] - stretched).square().sum(-1).sqrt() * math.sqrt(3) / c.length
    matern = (1 + gap) * (-gap).exp()
    blocks = [
        level + c.misfit_sd**2 * matern,
        bends + c.drift_sd**2 * matern,
        CURVATURE_SD**2 * matern,
    ]
    departures = torch.block_diag(*blocks) + jitter * torch.eye(3 * len(n), dtype=torch.float64)

    n, d, b = runs.points.log_scales.unbind(-1)
    mean = 1 + AMPLITUDE[0] * ((-law.params_exponent * n).exp() - 1)
    mean = mean + AMPLITUDE[0] * ((-law.tokens_exponent * d).exp() - 1) + bowl
    own, best = CRITICAL_EXPONENT * d, b - CRITICAL_EXPONENT * d
    mean = mean + BATCH_CURVATURE * (best**2 - own**2) / 2
    seeds = (c.noise_sd * (c.noise_per_compute * (n + d)).exp()) ** 2 / runs.count
    seeds = seeds + LEAST_NOISE**2
    return basis, departures, mean, seeds + (c.bowl_error * bowl) ** 2 + runs.variance


def loading(basis: Tensor, runs: Runs) -> Tensor:
    """How each run's loss depends on the 3·cells departures."""
    cells = len(runs.cells)
    rows = torch.zeros(len(runs.loss), 3, cells, dtype=torch.float64)
    rows[torch.arange(len(runs.loss)), :, runs.cell] = basis
    return rows.flatten(1)


def log_events(z: Tensor, runs: Runs) -> Tensor:
    """Natural log of the probability of each run's having diverged, or not, as it did."""
    c = coefficients(z[None], PRIORS)
    optimum = (
        c.law.log_optimal_lr(*runs.points.log_scales.unbind(-1))
        + c.source_offset[0, runs.points.source]
    )
    score = (runs.points.log_lr - optimum - c.cliff) / CLIFF_WIDTH
    times = torch.where(runs.diverged, runs.count, 1.0)
    return times * torch.special.log_ndtr(torch.where(runs.diverged, score, -score))
