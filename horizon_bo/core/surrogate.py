"""Surrogate: what do coefficients say of the loss of any run, and of how runs go together?

    loss(x) = level(c) + κ h(u) − κ h'(u) δ(c) + κ h(u) ρ(c) + noise,   c = (n, d, b)

Each cell c (a size, horizon, batch and recipe) departs from the law in three ways: its level,
its optimum by δ (*drift*), its curvature by ρ. All three are Gaussian processes over cells, so
given the coefficients the loss is a Gaussian process too, and the runs of a cell enter only
through the 3×3 Gram matrix of their basis functions (1, −κh', κh): exact summaries, whatever
the number of runs.

The likelihood takes δ and ρ to first order and lets the cliff move with the law only, because that
is what keeps a Gaussian process and its exact summaries of cells. Draws at the target need no
such summary: there drift moves the whole bowl and its cliff, and ρ multiplies κ by exp ρ
(`inference.target_draws`). At the departures' usual sizes, 0.15 and 0.2, the two differ by a
second-order term of about a fiftieth of κ.

Noise is Student-t: each run has a latent factor on its variance. A diverged run is not a loss
but an event, with a hazard that rises through a cliff above the optimum.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float, Int

from horizon_bo.core.arrays import Array, namespace
from horizon_bo.core.laws import CRITICAL_EXPONENT, clip_offset, linex, linex_slope
from horizon_bo.core.points import Cells, Points
from horizon_bo.core.priors import Coefficients, Prior

#: Degrees of freedom of the noise; at 4 one run six deviations out moves nothing.
NOISE_FREEDOM = 4.0
#: No loss is known better than this share of it: logs keep four or five digits.
LEAST_NOISE = 1e-5
#: Scatter of ln κ between cells, beside the law's trend.
CURVATURE_SD = 0.2
#: Standard deviation of the optimum's bend: second derivative of ln LR* in ln N, ln D and ln of
#: the batch over its critical size. The published exponents in ln N differ by 0.2 between two
#: octaves of size; in ln B the rule goes from linear over square root to none, or back, within a
#: decade about the critical batch (McCandlish et al., 2018, arXiv:1812.06162).
BEND_SD = (0.06, 0.04, 0.15)
#: Departures of cells decorrelate this much faster in ln B than in ln N and ln D, since the
#: critical batch itself moves with the horizon.
STRETCH = (1.0, 1.0, 2.0)
#: Prior of the level's amplitudes in units of the loss: E + A + C, A and C. At 1B params and
#: 20B tokens the fits of Hoffmann et al. (2022) give A = 0.15 and C = 0.2.
LEVEL_SD = 1.0
AMPLITUDE = Prior(location=0.12, scale=0.10)
#: First and second order of the level in ln B, and another recipe's offset, in units of the loss.
BATCH_LEVEL_SD = (0.02, 0.01)
#: A batch is too large by the steps it wastes: D tokens do as D / (1 + B/B_crit), so the loss rises
#: by β C ln(1 + B/B_crit), whose second order in ln B is β C / 4 at the critical batch; β C is
#: about 0.04 of the loss. Source: McCandlish et al. (2018), arXiv:1812.06162, eq. 2.11.
BATCH_CURVATURE = 0.01
#: First and second order of the level in the coordinate of an input that varies, in units of the
#: loss: twice the weight decay, warm-up or 1 − β₂ costs 0.1 to 0.4 % and a sevenfold decay 0.3 %
#: in the one-at-a-time sweeps of Wen et al. (2025), arXiv:2509.02046.
INPUT_LEVEL_SD = (0.005, 0.003)
#: Departures of cells decorrelate this much faster along an input than in ln N and ln D: slower,
#: since size, length and data are the same.
INPUT_STRETCH = 0.5
SOURCE_LEVEL_SD = 1.0
#: Width of the cliff in ln η: the rate at which half of the runs diverge is ragged by this much.
CLIFF_WIDTH = 0.5
#: No level grows by more than e⁴ times its amplitude over the runs one can make.
_LARGEST_GROWTH = 4.0


def cell_covariance(
    c: Coefficients, left: Cells | Points, right: Cells | Points
) -> Float[Array, "*batch set 3 left right"]:
    """Covariance between cells of their level, drift and curvature departures.

    Matérn-3/2 in (n, d, b) and the inputs that vary, for all three; the level adds the integrated
    amplitudes of the law and of the inputs, the drift adds a bend, so that the optimum may leave
    its power law the further the cheaper.
    """
    here, there = left.log_scales, right.log_scales
    scaled = math.sqrt(3.0) * _distance(here, there) / c.length[:, None, None]
    matern = (1 + scaled) * namespace(scaled).exp(-scaled)
    level = (
        LEVEL_SD**2
        + _level_products(c, here, there)
        + SOURCE_LEVEL_SD**2 * _same_source(left.source, right.source)
        + c.misfit_sd[:, None, None] ** 2 * matern
    )
    bends = (_bend(here) @ _bend(there).mT)[..., None, :, :]
    drift = c.drift_sd[:, None, None] ** 2 * matern + bends
    return namespace(matern).stack([level, drift, CURVATURE_SD**2 * matern], -3)


def _distance(
    here: Float[Array, "*batch left scale"], there: Float[Array, "*#batch right scale"]
) -> Float[Array, "*batch 1 left right"]:
    """How far cells are from each other, in the units in which departures decorrelate."""
    stretch = (*STRETCH, *(INPUT_STRETCH,) * (here.shape[-1] - 3))
    squares = sum(
        (by * (here[..., :, None, k] - there[..., None, :, k])) ** 2 for k, by in enumerate(stretch)
    )
    xp = namespace(here)
    # a root of zero has no slope, as BoTorch would find
    return xp.where(squares > 0, xp.where(squares > 0, squares, 1.0) ** 0.5, 0.0)[..., None, :, :]


def loss_covariance(
    c: Coefficients,
    left: tuple[Float[Array, "*batch set 3 left"], Points],
    right: tuple[Float[Array, "*#batch set 3 right"], Points],
) -> Float[Array, "*batch set left right"]:
    """Covariance of losses by the departures of their cells, Σ_j φ_j K_j φ'_j.

    Args:
        c: Coefficient sets.
        left: Basis functions (see `Features`) and points of some runs.
        right: The same of others.
    """
    departures = cell_covariance(c, left[1], right[1])
    return (left[0][..., None] * departures * right[0][..., None, :]).sum(-3)


def _bend(cells: Float[Array, "*batch cell scale"]) -> Float[Array, "*batch cell 3"]:
    """Square of each direction in which ln LR* may bend, times half the bend's scale."""
    n, d, b = (cells[..., axis] for axis in range(3))
    directions = (n, d, b - CRITICAL_EXPONENT * d)
    bends = [sd / 2 * along**2 for sd, along in zip(BEND_SD, directions, strict=True)]
    return namespace(cells).stack(bends, -1)


def level_growth(
    c: Coefficients, cells: Float[Array, "*batch cell scale"]
) -> Float[Array, "*batch set 2 cell"]:
    """By how many amplitudes A and C the level of cells lies above the target's."""
    law, xp = c.law.unsqueeze(), namespace(cells)
    exponents = xp.stack([law.params_exponent, law.tokens_exponent], -2)
    exponent = -exponents * cells[..., :2].mT[..., None, :, :]
    return xp.expm1(xp.clip(exponent, None, _LARGEST_GROWTH))


def _level_products(
    c: Coefficients,
    left: Float[Array, "*batch left scale"],
    right: Float[Array, "*#batch right scale"],
) -> Float[Array, "*batch set left right"]:
    growth = level_growth(c, left).mT @ level_growth(c, right)
    slope, square = BATCH_LEVEL_SD
    here, there = left[..., 2:3], right[..., 2:3].mT
    bowls = batch_bowl(left)[..., None] * batch_bowl(right)[..., None, :]
    batch = slope**2 * (here * there) + square**2 * bowls
    if left.shape[-1] > 3:
        slope, square = INPUT_LEVEL_SD
        here, there = left[..., 3:], right[..., 3:].mT
        bends = (here**2 / 2) @ (there**2 / 2)
        batch = batch + slope**2 * (here @ there) + square**2 * bends
    return AMPLITUDE.scale**2 * growth + batch[..., None, :, :]


def batch_bowl(cells: Float[Array, "*batch cell scale"]) -> Float[Array, "*batch cell"]:
    """Half the square of ln B about a best batch that grows with tokens, less that of the target's.

        ½ (b − ρ d)² − ½ (ρ d)² = ½ b² − ρ b d

    How far the best batch is from the target's is the business of the level's slope in ln B.
    """
    b = cells[..., 2]
    return b * (b / 2 - CRITICAL_EXPONENT * cells[..., 1])


def level_mean(
    c: Coefficients, cells: Float[Array, "*batch cell scale"]
) -> Float[Array, "*batch set cell"]:
    """Prior mean of the loss at the best rate of each cell, in units of the typical loss."""
    of_batch = (BATCH_CURVATURE * batch_bowl(cells))[..., None, :]
    return 1.0 + AMPLITUDE.location * level_growth(c, cells).sum(-2) + of_batch


def _same_source(
    left: Int[Array, "left"], right: Int[Array, "right"]
) -> Float[Array, "left right"]:
    """1 where two cells share a recipe other than the study's own."""
    return namespace(left).where((left[:, None] == right) & (left[:, None] > 0), 1.0, 0.0)


@dataclass(frozen=True)
class Features:
    """Basis functions, mean, noise and cliff distance of runs under each coefficient set."""

    basis: Float[Array, "*batch set 3 run"]
    mean: Float[Array, "*batch set run"]  # of the bowl alone
    variance: Float[Array, "*batch set run"]
    divergence_score: Float[
        Array, "*batch set run"
    ]  # over the cliff, in its widths: P(diverged) = Φ(divergence_score)


def features(
    c: Coefficients,
    points: Points,
    variance: Float[Array, "run"] | float = 0.0,
    count: Float[Array, "run"] | float = 1.0,
) -> Features:
    """Evaluate the law at runs.

    Args:
        c: Coefficient sets.
        points: Where the runs lie.
        variance: Known part of the noise variance.
        count: Repeats that a loss is the mean of; the error of the bowl's shape stays.
    """
    law, xp = c.law.unsqueeze(), namespace(points.log_lr)
    n, d, b = (points.log_scales[..., None, :, axis] for axis in range(3))
    shift = c.source_offset[:, points.source]
    raw = points.log_lr[..., None, :] - c.log_optimal_lr(points.log_scales) - shift
    offset = clip_offset(raw, law.asymmetry)
    curvature = law.curvature(n, d, b)
    bowl = curvature * linex(offset, law.asymmetry)
    slope = curvature * linex_slope(offset, law.asymmetry)
    growth = xp.exp(c.noise_per_compute[:, None] * (n + d))
    seeds = (c.noise_sd[:, None] * growth) ** 2 / count
    noise = LEAST_NOISE**2 + seeds + (c.bowl_error[:, None] * bowl) ** 2
    return Features(
        basis=xp.stack([xp.ones_like(bowl), -slope, bowl], -2),
        mean=bowl,
        variance=noise + variance,
        divergence_score=(raw - c.cliff[:, None]) / CLIFF_WIDTH,
    )
