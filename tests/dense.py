"""Dense: the surrogate's joint normal written out in full, for tests to compare with.

Nothing here shares code with the surrogate but the law and the priors, which have tests of their
own: slopes come from PyTorch's automatic differentiation, and no summaries are taken. Arrays come
and go; between, they are tensors.
"""

import math

import numpy as np
import torch
from scipy.special import log_ndtr

from horizon_bo.core.arrays import Array
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


def bowl_of(law: HorizonLaw, log_lr: Array, n: Array, d: Array, b: Array) -> Array:
    """Excess loss over the best rate of the same horizon."""
    offset = clip_offset(log_lr - law.log_optimal_lr(n, d, b), law.asymmetry)
    return law.curvature(n, d, b) * linex(offset, law.asymmetry)


#: The surrogate adds this to the variance of each departure; at 1e-7 the misfit feels it.
JITTER = 1e-10


def dense(
    z: np.ndarray, runs: Runs, jitter: float = JITTER
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For one coefficient set: basis, covariance of departures, mean and noise, from scratch.

    The basis is (1, d bowl/d ln η*, d bowl/d ln κ), by automatic differentiation. The covariance is
    that of each cell's (level, drift, curvature) with the next, 3·cells square.
    """
    c = coefficients(z[None], PRIORS)
    law = c.law.mapped(torch.tensor)
    log_lr, at_runs = torch.tensor(runs.points.log_lr), torch.tensor(runs.points.log_scales)
    optimum = torch.zeros(len(runs.loss), dtype=torch.float64, requires_grad=True)
    steeper = torch.zeros(len(runs.loss), dtype=torch.float64, requires_grad=True)
    shift = torch.tensor(c.source_offset[0, runs.points.source])
    bowl = steeper.exp() * bowl_of(law, log_lr - shift - optimum, *at_runs.unbind(-1))
    slopes = torch.autograd.grad(bowl.sum(), [optimum, steeper])
    bowl = bowl.detach()
    basis = torch.stack([torch.ones_like(bowl), *slopes], -1)

    at_cells = torch.tensor(runs.cells.log_scales)
    n, d, b = at_cells.unbind(-1)
    growth = [
        (-law.params_exponent * n).exp() - 1,
        (-law.tokens_exponent * d).exp() - 1,
    ]
    inputs = [(LEVEL_SD, torch.ones_like(n)), *((AMPLITUDE[1], fall) for fall in growth)]
    own, best = CRITICAL_EXPONENT * d, b - CRITICAL_EXPONENT * d
    inputs += [(BATCH_LEVEL_SD[0], b), (BATCH_LEVEL_SD[1], best**2 / 2 - own**2 / 2)]
    inputs += [
        (SOURCE_LEVEL_SD, torch.tensor(runs.cells.source == k).double())
        for k in range(1, 1 + int(runs.points.source.max()))
    ]
    level = sum(sd**2 * torch.outer(x, x) for sd, x in inputs)
    directions = zip(BEND_SD, (n, d, b - CRITICAL_EXPONENT * d), strict=True)
    bends = sum((sd / 2) ** 2 * torch.outer(x**2, x**2) for sd, x in directions)
    stretched = at_cells * torch.tensor(STRETCH, dtype=torch.float64)
    apart = (stretched[:, None] - stretched).square().sum(-1).sqrt()
    gap = apart * math.sqrt(3) / torch.tensor(c.length)
    matern = (1 + gap) * (-gap).exp()
    blocks = [
        level + float(c.misfit_sd[0]) ** 2 * matern,
        bends + float(c.drift_sd[0]) ** 2 * matern,
        CURVATURE_SD**2 * matern,
    ]
    departures = torch.block_diag(*blocks) + jitter * torch.eye(3 * len(n), dtype=torch.float64)

    n, d, b = at_runs.unbind(-1)
    mean = 1 + AMPLITUDE[0] * ((-law.params_exponent * n).exp() - 1)
    mean = mean + AMPLITUDE[0] * ((-law.tokens_exponent * d).exp() - 1) + bowl
    own, best = CRITICAL_EXPONENT * d, b - CRITICAL_EXPONENT * d
    mean = mean + BATCH_CURVATURE * (best**2 - own**2) / 2
    growth = float(c.noise_per_compute[0]) * (n + d)
    seeds = (float(c.noise_sd[0]) * growth.exp()) ** 2 / torch.tensor(runs.count)
    noise = seeds + LEAST_NOISE**2 + (float(c.bowl_error[0]) * bowl) ** 2
    noise = noise + torch.tensor(runs.variance)
    return basis.numpy(), departures.numpy(), mean.numpy(), noise.numpy()


def loading(basis: np.ndarray, runs: Runs) -> np.ndarray:
    """How each run's loss depends on the 3·cells departures."""
    cells = len(runs.cells)
    rows = np.zeros((len(runs.loss), 3, cells))
    rows[np.arange(len(runs.loss)), :, runs.cell] = basis
    return rows.reshape(len(runs.loss), 3 * cells)


def log_events(z: np.ndarray, runs: Runs) -> np.ndarray:
    """Natural log of the probability of each run's having diverged, or not, as it did."""
    c = coefficients(z[None], PRIORS)
    optimum = c.law.log_optimal_lr(*runs.points.log_scales.T)
    optimum = optimum + c.source_offset[0, runs.points.source]
    score = (runs.points.log_lr - optimum - c.cliff) / CLIFF_WIDTH
    times = np.where(runs.diverged, runs.count, 1.0)
    return times * log_ndtr(np.where(runs.diverged, score, -score))
