"""Truth: what would every learning rate have cost in one cell of a logged sweep?

The runs of a cell (one size, length, batch and recipe) differ in rate alone, and each loss carries
the noise of its seed. The truth is the bowl through them,

    loss(ℓ) = m + κ h_s(ℓ − ℓ*),        ℓ = ln η,

`laws.linex` fitted robustly. A loss counts less the higher it lies, because the bowl's shape errs
by a share of its height: its variance is σ² + (share · κ h)². Weak priors on the asymmetry and the
curvature stand in for what few rates cannot say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from horizon_bo.core.laws import linex
from horizon_bo.core.surrogate import AMPLITUDE
from horizon_bo.published.fits.robust import fit_curves

FloatArray = NDArray[np.float64]

#: The bowl's shape errs by this share of its height. Of 0.1, 0.2 and 0.3 the one whose optima lie
#: closest to the frozen truths of the twelve public cells.
SHAPE_ERROR = 0.2
#: Noise between seeds before a cell has been looked at, as a share of its loss, and how many runs
#: that belief is worth: measured 4e-4 to 2e-2.
_NOISE, _NOISE_RUNS = 2e-3, 1.0
#: No loss is known better than this share of it.
_LEAST_NOISE = 1e-4
_COEFFICIENTS = 4
#: What is believed of ln κ (of a loss of 1) and the asymmetry, and how firmly: frozen, so that a
#: case's truth does not move with what is learnt.
_BELIEF = np.array([-4.4, 0.75])
_BELIEF_SD = np.array([1.6, 0.3])
#: The same of the logs of α and β, about 0.30.
_EXPONENT = (-1.2, 0.4)
#: The noise enters the weights and is read off the residuals: so often until both agree.
_ROUNDS, _SETTLED = 20, 0.01
#: Most steps of one fit; a bowl without an optimum among its rates would take many more.
_STEPS = 50
#: Deviations beyond which a loss counts linearly (95 % efficient for normal noise).
_OUTLYING = 1.345
#: The optimum is looked for so far outside of the rates that were trained, in ln units.
_BEYOND = 1.0
#: No bowl is shallower or steeper than e^-15 and e^3 of the loss, or more askew than this.
_SHALLOWEST, _STEEPEST, _ASYMMETRY = 15.0, 3.0, (-1.0, 3.0)
_GRID = 41
_BOOTSTRAPS = 200
#: Error of a best loss against the law of losses over cells, as a share of it.
_LAW_ERROR = 5e-3


@dataclass(frozen=True)
class Bowl:
    """The smoothed losses of one cell.

    Args:
        minimum: Loss at the best rate, in loss units.
        log_curvature: Natural log of κ, in loss units per squared ln unit of rate.
        log_optimum: Natural log of the best rate.
        asymmetry: The skew s.
        scatter: Standard deviation of one run at the best rate, in loss units.
    """

    minimum: float
    log_curvature: float
    log_optimum: float
    asymmetry: float
    scatter: float

    def excess(self, log_rates: FloatArray) -> FloatArray:
        """Loss above the minimum, in loss units."""
        offset = np.asarray(log_rates, dtype=np.float64) - self.log_optimum
        return math.exp(self.log_curvature) * np.asarray(linex(offset, self.asymmetry))

    def spread(self, log_rates: FloatArray) -> FloatArray:
        """Standard deviation of a run about the bowl, in loss units."""
        return np.hypot(self.scatter, SHAPE_ERROR * self.excess(log_rates))


def smoothed(log_rates: FloatArray, losses: FloatArray) -> Bowl:
    """The bowl through the losses of a cell, of at least three distinct rates."""
    lowest = float(losses.min())
    start = Bowl(
        minimum=lowest,
        log_curvature=float(_BELIEF[0]) + math.log(lowest),
        log_optimum=float(log_rates[losses.argmin()]),
        asymmetry=float(_BELIEF[1]),
        scatter=_NOISE * lowest,
    )
    bowl = start
    for _ in range(_ROUNDS):
        last, bowl = bowl, _refitted(bowl, log_rates, losses, _NOISE * lowest)
        if abs(bowl.scatter / last.scatter - 1) < _SETTLED:
            break
    return bowl


def optimum_log_sd(bowl: Bowl, log_rates: FloatArray) -> float:
    """How uncertain the best rate is, in ln units.

    Losses are drawn about the bowl with its own spread, and what is believed of its shape from the
    priors; then it is smoothed again.
    """
    generator = np.random.default_rng(0)
    expected, spread = bowl.minimum + bowl.excess(log_rates), bowl.spread(log_rates)
    drawn = expected + spread * generator.standard_normal((_BOOTSTRAPS, len(log_rates)))
    beliefs = _BELIEF + _BELIEF_SD * generator.standard_normal((_BOOTSTRAPS, 2))
    return float(np.std(_coefficients(bowl, log_rates, drawn, beliefs)[:, 2]))


def truth_of(
    bowl: Bowl, log_rates: FloatArray, log_sd: float, loss_per_log_tokens: float
) -> dict[str, Any]:
    """The bowl in the shape of a case's `truth`: excess on a grid between the trained rates."""
    grid = np.linspace(log_rates.min(), log_rates.max(), _GRID)
    return {
        "learning_rate": np.exp(grid).tolist(),
        "excess": bowl.excess(grid).tolist(),
        "optimum": math.exp(bowl.log_optimum),
        "optimum_log_sd": log_sd,
        "minimum": bowl.minimum,
        "scatter": bowl.scatter,
        "loss_per_log_tokens": loss_per_log_tokens,
    }


def token_slope(best_losses: Mapping[tuple[float, float], float], at: tuple[float, float]) -> float:
    """What an e-fold of training tokens buys at a size and length, in loss units.

        L(N, D) = E + A (N/N*)^−α + C (D/D*)^−β,       −dL/d ln D = β C  at (N*, D*)

    Fitted to the lowest losses of the cells under weak priors of A, C, α and β, so that a
    single length gives a slope too.

    Args:
        best_losses: Lowest loss of each (params, tokens), that of `at` among them.
        at: The (params, tokens) in question.

    Source of the form: Hoffmann et al. (2022), arXiv:2203.15556, approach 3.
    """
    places = np.log(np.array(list(best_losses)) / np.array(at))
    unit = best_losses[at]
    losses = np.array(list(best_losses.values())) / unit
    location, spread = _EXPONENT
    center = np.array([1.0, AMPLITUDE[0], AMPLITUDE[0], location, location])
    scale = np.array([1.0, AMPLITUDE[1], AMPLITUDE[1], spread, spread])

    def residuals(z: FloatArray) -> FloatArray:
        whole, size, length, log_a, log_b = center + scale * z
        falls = np.exp(-np.exp([log_a, log_b]) * places) - 1
        return (whole + falls @ [size, length] - losses) / _LAW_ERROR

    # amplitudes stay above zero: tokens always buy something
    least = np.array([-np.inf, *((1e-3 - center[1:3]) / scale[1:3]), -4.0, -4.0])
    fit = least_squares(
        lambda z: np.concatenate([_softened(residuals(z)), z]),
        np.zeros(5),
        bounds=(least, [np.inf, np.inf, np.inf, 4.0, 4.0]),
    )
    _, _, length, _, log_b = center + scale * fit.x
    return float(math.exp(log_b) * length * unit)


def _refitted(bowl: Bowl, log_rates: FloatArray, losses: FloatArray, prior_noise: float) -> Bowl:
    """One round: the coefficients under the weights of the last one, then the noise."""
    row = _coefficients(bowl, log_rates, losses[None], _BELIEF[None])[0]
    minimum, log_curvature, log_optimum, asymmetry = map(float, row)
    found = Bowl(minimum, log_curvature, log_optimum, asymmetry, bowl.scatter)
    standard = (losses - found.minimum - found.excess(log_rates)) / found.spread(log_rates)
    # Huber's weights keep an outlier from passing for noise
    squares = float(np.sum(standard**2 * np.minimum(1, _OUTLYING / np.abs(standard + 1e-12))))
    freedom = max(len(losses) - _COEFFICIENTS, 0) + _NOISE_RUNS
    scatter = math.sqrt((_NOISE_RUNS * prior_noise**2 + squares * bowl.scatter**2) / freedom)
    return replace(found, scatter=max(scatter, _LEAST_NOISE * minimum))


def _coefficients(
    bowl: Bowl, log_rates: FloatArray, losses: FloatArray, beliefs: FloatArray
) -> FloatArray:
    """Minimum, ln curvature, ln optimum and asymmetry of least Huber error, from a first bowl.

    Args:
        bowl: Where to start; its spread gives the weights.
        log_rates: `(run,)`.
        losses: `(problem, run)`.
        beliefs: What is believed of the shape, `(problem, 2)`.
    """
    spread = bowl.spread(log_rates)
    log_unit = math.log(bowl.minimum)
    ends = (log_rates.min() - _BEYOND, log_rates.max() + _BEYOND)

    def standardised(theta: FloatArray) -> FloatArray:
        minimum, log_curvature, log_optimum, asymmetry = theta.T[..., None]
        loss = minimum + np.exp(log_curvature) * linex(log_rates - log_optimum, asymmetry)
        shape = theta[:, [1, 3]] - [log_unit, 0.0]
        return np.hstack([loss / spread, shape / _BELIEF_SD])

    start = [bowl.minimum, bowl.log_curvature, np.clip(bowl.log_optimum, *ends), bowl.asymmetry]
    bounds = np.array(
        [
            [0.1 * bowl.minimum, log_unit - _SHALLOWEST, ends[0], _ASYMMETRY[0]],
            [2.0 * bowl.minimum, log_unit + _STEEPEST, ends[1], _ASYMMETRY[1]],
        ]
    )
    found = fit_curves(
        standardised,
        np.tile(start, (len(losses), 1)),
        np.hstack([losses / spread, beliefs / _BELIEF_SD]),
        bounds,
        delta=_OUTLYING,
        iterations=_STEPS,
    )
    return found.coefficients


def _softened(standard: FloatArray) -> FloatArray:
    """Residuals whose squares grow linearly beyond one deviation (soft l1)."""
    return np.sign(standard) * np.sqrt(2 * (np.sqrt(1 + standard**2) - 1))
