"""Law: what do a sweep's losses look like on the whole, before they depart from it?

    L = E + A e^(−a n) + C e^(−c d) + q/2 (b − b₀ − b₁ d)² + κ h(ℓ − ℓ*),
    ℓ* and ln κ linear in (n, d, b)

with ℓ = ln η and n, d, b the logs of size, tokens and batch. The bowl is not the tuner's: below the
optimum it turns from a parabola into a line, as losses of too low a rate do, above it a cubic is
added,

    h(u) = w² (√(1 + (u/w)²) − 1)  for u < 0,       h(u) = u²/2 + r u³/6  for u > 0.

Fitted by robust least squares under weak priors, so that small sweeps have a fit too. What it
misses is kept: `departures` models the rest.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from benchmarks.emulators.rows import FloatArray, Rows

#: Coefficients with what is believed of them, mean and standard deviation, in logs and relative
#: losses: broad around what public fits have found. The optimum's mean is the sweep's middle.
BELIEFS: dict[str, tuple[float, float]] = {
    "floor": (0.7, 0.5),
    "log_params_amplitude": (-2.0, 1.0),
    "log_params_exponent": (-1.2, 0.5),
    "log_tokens_amplitude": (-2.0, 1.0),
    "log_tokens_exponent": (-1.2, 0.5),
    "log_batch_curvature": (-5.0, 1.5),
    "best_batch": (0.0, 1.0),
    "best_batch_per_tokens": (0.4, 0.2),
    "log_optimum": (0.0, 3.0),
    "optimum_per_params": (-0.4, 0.4),
    "optimum_per_tokens": (0.0, 0.4),
    "optimum_per_batch": (0.4, 0.3),
    "log_curvature": (-4.0, 2.0),
    "curvature_per_params": (0.0, 0.3),
    "curvature_per_tokens": (-0.2, 0.3),
    "curvature_per_batch": (0.0, 0.3),
    "log_width": (0.7, 0.7),
    "log_steepening": (-0.7, 1.0),
}
NAMES = tuple(BELIEFS)
#: Spread of a row about the law: a floor, and a share of its height above the cell's lowest.
_LEAST_SPREAD, _SHAPE_ERROR = 2e-3, 0.15
#: No growth beyond e⁶: far below a sweep's shortest runs the law is not to be believed anyway.
_LARGEST_GROWTH = 6.0


@dataclass(frozen=True)
class Law:
    """The coefficients of one sweep, by the names of `BELIEFS`."""

    coefficients: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.coefficients[name]

    def loss(self, inputs: FloatArray) -> FloatArray:
        """Relative loss of runs `(run, 4)`."""
        return self.level(inputs) + self.curvature(inputs) * self.bowl(self.offset(inputs))

    def level(self, inputs: FloatArray) -> FloatArray:
        """Relative loss at the best rate."""
        _, n, d, b = inputs.T
        size = np.exp(self["log_params_amplitude"] + _held(-self._exponent("params") * n))
        length = np.exp(self["log_tokens_amplitude"] + _held(-self._exponent("tokens") * d))
        off_batch = b - self["best_batch"] - self["best_batch_per_tokens"] * d
        batch = 0.5 * math.exp(self["log_batch_curvature"]) * off_batch**2
        return self["floor"] + size + length + (batch if b.any() else 0.0)

    def tokens_buy(self, inputs: FloatArray) -> FloatArray:
        """Relative loss that an e-fold of tokens buys at the best rate and batch."""
        exponent = self._exponent("tokens")
        return exponent * np.exp(self["log_tokens_amplitude"] + _held(-exponent * inputs[:, 2]))

    def offset(self, inputs: FloatArray) -> FloatArray:
        """Ln of each rate over the law's best one."""
        return inputs[:, 0] - self["log_optimum"] - inputs[:, 1:] @ self._slopes("optimum")

    def curvature(self, inputs: FloatArray) -> FloatArray:
        """Second derivative of the relative loss in ln rate at the optimum."""
        return np.exp(self["log_curvature"] + _held(inputs[:, 1:] @ self._slopes("curvature")))

    def bowl(self, offset: FloatArray) -> FloatArray:
        """Height above the optimum in units of the curvature."""
        width, below = math.exp(self["log_width"]), np.minimum(offset, 0.0)
        above = np.maximum(offset, 0.0)
        low = width**2 * (np.sqrt(1 + (below / width) ** 2) - 1)
        return low + above**2 / 2 + math.exp(self["log_steepening"]) * above**3 / 6

    def _exponent(self, name: str) -> float:
        return math.exp(self[f"log_{name}_exponent"])

    def _slopes(self, name: str) -> FloatArray:
        return np.array([self[f"{name}_per_{by}"] for by in ("params", "tokens", "batch")])


def _held(growth: FloatArray) -> FloatArray:
    return np.clip(growth, -_LARGEST_GROWTH, _LARGEST_GROWTH)


def fitted(rows: Rows) -> Law:
    """The law through the finished runs of a sweep."""
    done = rows.finished
    location = np.array([mean for mean, _ in BELIEFS.values()])
    scale = np.array([sd for _, sd in BELIEFS.values()])
    location[NAMES.index("log_optimum")] = np.median(lowest_rates(done))
    spread = np.hypot(_LEAST_SPREAD, _SHAPE_ERROR * heights(done))

    def residuals(theta: FloatArray) -> FloatArray:
        standard = (_law(theta).loss(done.inputs) - done.loss) / spread
        return np.concatenate([_softened(standard), (theta - location) / scale])

    bounds = (location - 8 * scale, location + 8 * scale)
    fit = least_squares(residuals, location, bounds=bounds, x_scale=scale, max_nfev=300)
    return _law(fit.x)


def heights(done: Rows) -> FloatArray:
    """Relative loss of each finished run above the lowest of its cell."""
    labels = done.labels()
    lowest = np.full(labels.max() + 1, np.inf)
    np.minimum.at(lowest, labels, done.loss)
    return done.loss - lowest[labels]


def lowest_rates(done: Rows) -> FloatArray:
    """Ln rate of the lowest loss of each cell."""
    return done.inputs[heights(done) == 0, 0]


def _law(theta: FloatArray) -> Law:
    return Law(dict(zip(NAMES, map(float, theta), strict=True)))


def _softened(standard: FloatArray) -> FloatArray:
    """Residuals whose squares grow linearly beyond one deviation (soft l1)."""
    return np.sign(standard) * np.sqrt(2 * (np.sqrt(1 + standard**2) - 1))
