"""Robust: which coefficients bring a curve closest to many noisy points, for many problems at once?

Problems are rows of a batch: starts of one fit, or bootstrap resamples of it, which share their
points and differ in weights or in what was observed. One Levenberg-Marquardt loop serves them all.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Log losses at every point: coefficients `(problem, coefficient)` to values `(problem, point)`.
Curve = Callable[[FloatArray], FloatArray]

#: Residual beyond which a point counts linearly, in log loss. Source: Hoffmann et al. (2022).
HUBER_DELTA = 1e-3

#: Step of the forward difference, relative to the coefficient's size (at least 1).
_STEP = 1e-7

#: A problem is solved when a step lowers its objective by less than this fraction...
_TOLERANCE = 1e-8

#: ...or when damping this strong still finds nothing lower.
_MOST_DAMPING = 1e8

#: Numbers in one array of `(problem, coefficient, point)`: what fits into a processor's cache.
_CHUNK = 250_000


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Coefficients `(problem, coefficient)` and mean Huber losses `(problem,)`."""

    coefficients: FloatArray
    objective: FloatArray


def huber(residual: FloatArray, delta: float = HUBER_DELTA) -> FloatArray:
    """Quadratic within `delta`, linear beyond: `r²/2` or `δ(|r| − δ/2)`."""
    size = np.abs(residual)
    inside = np.minimum(size, delta)
    return inside * (size - 0.5 * inside)


def fit_curves(
    curve: Curve,
    starts: FloatArray,
    log_loss: FloatArray,
    bounds: FloatArray,
    weights: FloatArray | None = None,
    delta: float = HUBER_DELTA,
    iterations: int = 200,
) -> Solution:
    """Minimise the weighted mean Huber loss of log-loss residuals, from each start.

    Args:
        curve: The law.
        starts: `(problem, coefficient)`.
        log_loss: Observed, `(point,)`, or a row for each problem.
        bounds: Lowest and highest coefficient, `(2, coefficient)`.
        weights: `(problem, point)`; `None` weighs all points alike.
        delta: Residual where points begin to count linearly.
        iterations: Most steps of one problem; few are enough to tell good starts from bad.
    """
    observed = np.broadcast_to(log_loss, (len(starts), log_loss.shape[-1]))
    size = max(1, _CHUNK // (starts.shape[1] * observed.shape[1]))
    parts = []
    for low in range(0, len(starts), size):
        chosen = slice(low, low + size)
        part = None if weights is None else weights[chosen]
        seen = observed[chosen]
        parts.append(_descend(curve, starts[chosen], seen, bounds, part, delta, iterations))
    return Solution(
        coefficients=np.concatenate([part.coefficients for part in parts]),
        objective=np.concatenate([part.objective for part in parts]),
    )


def _descend(
    curve: Curve,
    starts: FloatArray,
    log_loss: FloatArray,
    bounds: FloatArray,
    weights: FloatArray | None,
    delta: float,
    iterations: int,
) -> Solution:
    theta = np.clip(starts, *bounds)
    weight = np.ones(log_loss.shape) if weights is None else weights
    weight = weight / weight.sum(-1, keepdims=True)
    value = curve(theta)
    objective = _mean(value - log_loss, weight, delta)
    damping = np.full(len(theta), 1e-2)
    active = moved = np.arange(len(theta))
    normal = np.empty((*theta.shape, theta.shape[1]))
    gradient = np.empty_like(theta)
    for _ in range(iterations):
        # a problem whose step was refused stands where its slopes are known
        if moved.size:
            slopes = derivatives(curve, theta[moved], value[moved])
            residual = value[moved] - log_loss[moved]
            normal[moved], gradient[moved] = _squares(slopes, residual, weight[moved], delta)
        trial = np.clip(theta[active] + _step(normal, gradient, damping, active), *bounds)
        new_value = curve(trial)
        new = _mean(new_value - log_loss[active], weight[active], delta)
        better = new < objective[active]
        fall = objective[active] - new
        solved = better & (fall <= _TOLERANCE * objective[active])
        chosen = active[better]
        theta[chosen], value[chosen] = trial[better], new_value[better]
        objective[chosen] = new[better]
        damping[active] *= np.where(better, 0.2, 5.0)
        goes_on = ~(solved | (damping[active] > _MOST_DAMPING))
        active, moved = active[goes_on], active[goes_on & better]
        if not active.size:
            break
    return Solution(coefficients=theta, objective=objective)


def _mean(residual: FloatArray, weight: FloatArray, delta: float) -> FloatArray:
    value = np.einsum("pr,pr->p", weight, huber(residual, delta))
    return np.where(np.isfinite(value), value, np.inf)


def _squares(
    jacobian: FloatArray, residual: FloatArray, weight: FloatArray, delta: float
) -> tuple[FloatArray, FloatArray]:
    """Gauss and Newton's normal matrices and gradients, with Huber's weights."""
    pull = weight * np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300))
    slope = jacobian * pull[:, None, :]
    return slope @ jacobian.transpose(0, 2, 1), np.einsum("pkr,pr->pk", slope, residual)


def _step(
    normal: FloatArray, gradient: FloatArray, damping: FloatArray, chosen: NDArray[np.int64]
) -> FloatArray:
    """One damped Gauss-Newton step of the chosen problems."""
    diagonal = np.einsum("pkk->pk", normal[chosen])
    # A coefficient without any effect keeps a unit pivot and stays where it is.
    floor = np.where(diagonal > 0.0, diagonal, 1.0)
    more = np.einsum("pk,kl->pkl", damping[chosen, None] * floor, np.eye(normal.shape[-1]))
    return -np.linalg.solve(normal[chosen] + more, gradient[chosen, :, None])[..., 0]


def derivatives(curve: Curve, theta: FloatArray, here: FloatArray) -> FloatArray:
    """Derivatives of the log losses, `(problem, coefficient, point)`, by forward difference.

    `here` are the log losses at `theta`.
    """
    jacobian = np.empty((*theta.shape, here.shape[1]))
    for index in range(theta.shape[1]):
        step = _STEP * np.maximum(np.abs(theta[:, index]), 1.0)
        moved = theta.copy()
        moved[:, index] += step
        jacobian[:, index] = (curve(moved) - here) / step[:, None]
    return np.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0)
