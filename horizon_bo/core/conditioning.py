"""Conditioning: how likely are runs under coefficient sets, and how do cells depart from the law?

The surrogate given runs is one Gaussian process per coefficient set. What a set expects of runs
(`outlook`) is worked out once, then weighed with as many noises as the sampler tries (`weighed`).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from horizon_bo.core.arrays import (
    Array,
    cholesky_or_nan,
    lower_solved,
    upper_solved,
    with_diagonal,
)
from horizon_bo.core.normal import log_probability
from horizon_bo.core.points import Runs
from horizon_bo.core.priors import Coefficients, Priors, coefficients
from horizon_bo.core.surrogate import (
    AMPLITUDE,
    Features,
    cell_covariance,
    features,
    level_growth,
    level_mean,
)

_JITTER = 1e-10  # on covariances of quantities of order one
#: Variance added to a loss at power 1/2, in units of the loss squared: about that between seeds.
_BLUR = 1e-6
_LEAST_AMPLITUDE = 0.01  # tokens always buy something


@dataclass(frozen=True)
class Fit:
    """The Gaussian process conditioned on runs, one per coefficient set."""

    log_likelihood: Float[Array, "set"]
    root: Float[Array, "set 3 cell cell"]  # departures = root · whitened
    design: Float[Array, "set run 3*cell"] | None  # None where the runs were summarised
    factor: Float[Array, "set side side"]  # Cholesky factor, of run or of departure side
    half: Float[Array, "set side"]  # factor⁻¹ · data of that side
    coefficients: Coefficients
    features: Features

    @property
    def center(self) -> Float[Array, "set departure"]:
        """Posterior mean of the whitened departures."""
        whole = upper_solved(self.factor, self.half[..., None])
        return (whole if self.design is None else self.design.mT @ whole)[..., 0]

    @property
    def mean_departures(self) -> Float[Array, "set 3 cell"]:
        """Posterior mean of every cell's level, drift and curvature departures."""
        sets, effects, cells, _ = self.root.shape
        whitened = self.center.reshape(sets, effects, cells, 1)
        return (self.root @ whitened)[..., 0]

    def expected(
        self, departures: Float[Array, "set 3 run"], runs: Runs
    ) -> Float[Array, "set run"]:
        """Loss of each run without noise, given the departures of its cell."""
        level = level_mean(self.coefficients, runs.points.log_scales)
        return level + self.features.mean + (self.features.basis * departures).sum(-2)


@dataclass(frozen=True)
class Outlook:
    """What coefficient sets expect of runs, whatever the runs' noise: the dear half of a `Fit`."""

    coefficients: Coefficients
    features: Features
    root: Float[Array, "set 3 cell cell"]
    residual: Float[Array, "set run"]  # of each loss from the law's mean; 0 where it diverged
    log_events: Float[Array, "set run"]  # ln of the chance that a run diverged, or not, as it did


def outlook(z: Float[Array, "set coordinate"], runs: Runs, priors: Priors) -> Outlook:
    """Evaluate the law at runs, to be weighed by their noise (`weighed`)."""
    c = coefficients(z, priors)
    f = features(c, runs.points, runs.variance, runs.count)
    mean = f.mean + level_mean(c, runs.points.log_scales)
    residual = np.where(runs.diverged, 0.0, np.nan_to_num(runs.loss) - mean)
    events = log_probability(np.where(runs.diverged, f.divergence_score, -f.divergence_score))
    repeats = np.where(runs.diverged, runs.count, 1.0)
    return Outlook(c, f, cell_root(c, runs), residual, repeats * events)


def condition(
    z: Float[Array, "set coordinate"],
    noise_scale: Float[Array, "set run"],
    runs: Runs,
    priors: Priors,
    power: Float[Array, "run"] | float = 1.0,
) -> Fit:
    """Condition on runs, their noise variance inflated and blurred.

        p(y | z, τ) = ∫ p(v) Π N(yᵢ | μᵢ + φᵢ·L v, σᵢ² τᵢ + sᵢ²) dv,     departures = L v

    With M = φ L / √(σ²τ + s²), one row a run, the integral needs one Cholesky factor of I + M Mᵀ,
    or of I + Mᵀ M, whichever is smaller. The latter is summed from cell summaries.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.30, the
    marginal likelihood, here beside the events of runs that diverged or not.
    """
    return weighed(outlook(z, runs, priors), noise_scale, runs, power)


def weighed(
    view: Outlook,
    noise_scale: Float[Array, "set run"],
    runs: Runs,
    power: Float[Array, "run"] | float = 1.0,
) -> Fit:
    """`condition` where the law has been evaluated."""
    f, root, residual = view.features, view.root, view.residual
    spread = f.variance * noise_scale + blur(power)
    weight = np.where(runs.diverged, 0.0, 1 / spread)
    if len(runs.loss) <= root.shape[1] * root.shape[2]:
        design, factor, half, squares = _by_runs(f.basis, weight, residual, root, runs.cell)
    else:
        design, factor, half, squares = _by_cells(f.basis, weight, residual, root, runs.cell)
    log_det = 2 * np.log(np.linalg.diagonal(factor)).sum(-1)
    normaliser = np.where(runs.diverged, 0.0, np.log(2 * math.pi * spread))
    scores = (event_weight(power) * view.log_events - normaliser / 2).sum(-1)
    # a set so extreme that float64 cannot factor its covariance explains nothing
    possible = scores - (squares + log_det) / 2
    log_likelihood = np.nan_to_num(possible, nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
    return Fit(log_likelihood, root, design, factor, half, view.coefficients, f)


def blur(power: Float[Array, "run"] | float) -> Float[Array, "run"] | float:
    """Variance added to losses so that they are felt to a power: infinite at 0, none at 1."""
    return _BLUR * (1 / power - 1)


def event_weight(power: Float[Array, "run"] | float) -> Float[Array, "run"] | float:
    """Share at which it counts whether a run diverged, as its loss is felt to a power."""
    return power**0.25


def cell_root(c: Coefficients, runs: Runs) -> Float[Array, "set 3 cell cell"]:
    """Cholesky factor of the prior covariance of the cells' departures."""
    covariance = cell_covariance(c, runs.cells, runs.cells)
    return cholesky_or_nan(with_diagonal(covariance, _JITTER))


def _by_runs(
    basis: np.ndarray, weight: np.ndarray, residual: np.ndarray, root: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    scale, (sets, runs) = np.sqrt(weight), weight.shape
    told = root.mT[..., cell] * (basis * scale[:, None])[:, :, None]  # set 3 cell run
    design = told.reshape(sets, 3 * root.shape[-1], runs).mT
    factor = cholesky_or_nan(with_diagonal(design @ design.mT, 1.0))
    half = lower_solved(factor, (residual * scale)[..., None])[..., 0]
    return design, factor, half, (half**2).sum(-1)


def _by_cells(
    basis: np.ndarray, weight: np.ndarray, residual: np.ndarray, root: np.ndarray, cell: np.ndarray
) -> tuple[None, np.ndarray, np.ndarray, np.ndarray]:
    sets, effects, cells, _ = root.shape
    weighted = basis * weight[:, None]
    member = (cell[:, None] == np.arange(cells)).astype(float)
    squares = (weighted[:, :, None] * basis[:, None]).reshape(-1, len(cell)) @ member
    gram = squares.reshape(sets, effects, effects, cells, 1)
    linear = (weighted * residual[:, None]).reshape(-1, len(cell)) @ member
    moment = (root.mT @ linear.reshape(sets, effects, cells, 1)).reshape(sets, -1, 1)
    blocks = root.mT[:, :, None] @ (gram * root[:, None])
    precision = blocks.swapaxes(2, 3).reshape(sets, effects * cells, effects * cells)
    factor = cholesky_or_nan(with_diagonal(precision, 1.0))
    half = lower_solved(factor, moment)[..., 0]
    return None, factor, half, (weight * residual**2).sum(-1) - (half**2).sum(-1)


def draw_departures(
    fit: Fit, generator: np.random.Generator, draws: int = 1
) -> Float[Array, "draw set 3 cell"]:
    """Posterior draws of every cell's level, drift and curvature departures.

    From the factor on the departure side directly; on the run side by Matheron's rule, a prior
    draw corrected by what it misses of the data.

    Source: Wilson et al. (2020), arXiv:2002.09309, eq. 10.
    """
    sets, effects, cells, _ = fit.root.shape
    normal = lambda size: generator.standard_normal((draws, sets, size, 1))  # noqa: E731
    prior = normal(effects * cells)
    if fit.design is None:
        step = upper_solved(fit.factor, prior)
    else:
        missed = fit.design @ prior + normal(fit.design.shape[1])
        outer = upper_solved(fit.factor, lower_solved(fit.factor, missed))
        step = prior - fit.design.mT @ outer
    whitened = fit.center + step[..., 0]
    return (fit.root @ whitened.reshape(draws, sets, effects, cells, 1))[..., 0]


def token_slope(fit: Fit, runs: Runs) -> Float[Array, "set"]:
    """Loss that an e-fold of tokens buys at the target, β C, in units of the typical loss.

    C is a linear amplitude that was integrated out; here is its posterior mean, E[C | v], with v
    the whitened level departures.
    """
    c, cells = fit.coefficients, len(runs.cells)
    growth = level_growth(c, runs.cells.log_scales)[:, 1]
    weights = lower_solved(fit.root[:, 0], growth[..., None])[..., 0]
    change = AMPLITUDE.scale**2 * (weights * fit.center[:, :cells]).sum(-1)
    return c.law.tokens_exponent * np.maximum(AMPLITUDE.location + change, _LEAST_AMPLITUDE)
