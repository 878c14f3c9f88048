"""Readout: what would somebody say who fits one scaling law to the runs by least squares?

This is the simple rival of the surrogate: one law, fitted robustly, its optimum read off at the
target, no account of how wrong it may be.

    loss = E + A e^{−a n} + B e^{−b d} + k/2 · (ℓ − c − γ_N n − γ_D d − γ_B b)²

with ℓ = ln η and n, d, b the logs of size, tokens and batch relative to the target, as in
`trials.log_inputs`. Terms of a dimension that does not vary over the runs are left out.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from horizon_bo.study.trials import Study, log_inputs

#: Residuals beyond this fraction of the typical loss count linearly, not squared: a few times the
#: seed noise of small runs.
_ROBUST_FRACTION = 0.01

#: Exponents of size and tokens to start the fit from: no drift, and the usual drift with size.
_STARTS = ((0.0, 0.0), (-0.5, 0.0), (-0.3, -0.3))

_MOST_EVALUATIONS = 300


@dataclass(frozen=True)
class Readout:
    """A rate without any claim about its quality; `None` means that nothing is claimed."""

    learning_rate: float
    interval_50: tuple[float, float] | None = None
    interval_90: tuple[float, float] | None = None
    expected_regret: float | None = None
    expected_overhead: float | None = None
    stop: bool = False


def law_readout(study: Study) -> Readout:
    """The optimal rate at the target by a least-squares law, or the best rate tried so far.

    With fewer runs than the law has coefficients, or fewer than three rates, the answer is the
    rate of the lowest loss; without any completed run it is the prior centre, or else the
    middle of the space.
    """
    low, high = map(math.log, study.space.learning_rate)
    done = [trial for trial in study.trials if trial.status == "completed"]
    if not done:
        return Readout(study.prior_center or math.exp((low + high) / 2))
    inputs = np.array([log_inputs(trial, study.target) for trial in done])
    losses = np.array([trial.loss for trial in done], dtype=np.float64)
    best = float(inputs[losses.argmin(), 0])
    varies = np.ptp(inputs[:, 1:], axis=0) > 0
    coefficients = 3 + 2 * varies[0] + 2 * varies[1] + varies.sum()
    enough = len(done) > coefficients and len(np.unique(inputs[:, 0])) >= 3
    center = _fitted_center(inputs, losses, best, varies) if enough else best
    return Readout(math.exp(min(max(center, low), high)))


def _fitted_center(
    inputs: np.ndarray, losses: np.ndarray, best: float, varies: np.ndarray
) -> float:
    """Coefficient c of the best of a few fits."""
    typical = float(np.median(losses))
    # E, ln A, a, ln B, b, ln k, c, γ_N, γ_D, γ_B: bounds wide enough never to matter for real runs
    lowest = np.array([0.0, -12.0, 0.0, -12.0, 0.0, -8.0, best - 4, -2.0, -2.0, -2.0])
    highest = np.array([1.0, 3.0, 2.0, 3.0, 2.0, 3.0, best + 4, 2.0, 2.0, 2.0])
    free = np.array([True, *[varies[0]] * 2, *[varies[1]] * 2, True, True, *varies])
    absent = np.array([0.0, -np.inf, 0.0, -np.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    def residuals(chosen: np.ndarray) -> np.ndarray:
        coefficients = absent.copy()
        coefficients[free] = chosen
        return _law(coefficients, inputs) - losses / typical

    fits = []
    for per_params, per_tokens in _STARTS:
        start = np.array([0.7, -2.0, 0.3, -2.0, 0.3, -3.0, best, per_params, per_tokens, 0.0])
        fits.append(
            least_squares(
                residuals,
                start[free],
                bounds=(lowest[free], highest[free]),
                loss="soft_l1",
                f_scale=_ROBUST_FRACTION,
                max_nfev=_MOST_EVALUATIONS,
            )
        )
    found = min(fits, key=lambda fit: fit.cost)
    return float(found.x[free[:6].sum()])  # c follows the coefficients before it that are free


def _law(coefficients: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    floor, log_a, a, log_b, b, log_k, center, *slopes = coefficients
    offset = inputs[:, 0] - center - inputs[:, 1:] @ np.array(slopes)
    size = np.exp(log_a - a * inputs[:, 1])
    length = np.exp(log_b - b * inputs[:, 2])
    return floor + size + length + 0.5 * np.exp(log_k) * offset**2
