"""Curves: what is the loss of a run under way, as curves and ends of other runs foretell it?

The log of the loss at tokens t of a run of size N and length D, whose rate is e^x times its best
one, is a Gaussian process over (ln N, ln s, u, x). Here s = t − w/2 are the tokens seen, as if all
at the peak rate, of a run that warms up over w, and u = t/D is the share of its schedule. The mean
is a power law that bends, lower where the rate has come down:

    c0 + c1 ln N + c2 ln s + c3 x + (c4 + c5 x)(1 − u²) + bends

Departures from it, levels of the runs and noise of their points are as large as is likeliest. A run
that has ended without a curve is one point, at u = 1.

Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.25 and 2.26
(the prediction) and 2.30 (the likelihood). Here the mean's coefficients have priors of their own.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float

from horizon_bo.core.arrays import lower_solved

#: Prior means and spreads of the coefficients of 1, n, s, x, 1 − u², (1 − u²)x, and of the bends
#: n², s², x², nx, sx, with n = ln N and s = ln s relative to the target. Loss falls by some 6 % an
#: e-fold of size and 8 % of tokens, and bends by a² f(1 − f)/2, some 0.01: exponents a near 0.3 of
#: reducible shares f near a quarter, as Hoffmann et al. (2022), arXiv:2203.15556, find them. A run
#: that has not cooled down lies 2 % above one that has at a fifth of the best rate, 6 % at it and
#: 9 % at three times it: 124M parameters on 5B tokens of Schaipp et al. (2025), arXiv:2501.18965.
#: Spreads as wide as the means, as recipes differ.
_MEAN = np.array([1.0, -0.06, -0.08, 0, 0.06, 0.026, 0.005, 0.01, 0.02, 0, 0])
_SD = np.array([1.0, 0.05, 0.15, 0.02, 0.03, 0.02, 0.01, 0.015, 0.02, 0.01, 0.01])
#: Over which departures from the mean are alike: nepers of size and tokens, share, nepers of rate.
_LENGTHS = np.array([3.0, 3.0, 0.4, 3.0])
#: Spreads to choose among, shares of the loss: of departures, of a run's level, of a point.
_SPREADS = tuple(product((0.01, 0.02, 0.04, 0.08), (0.003, 0.01, 0.03), (0.003, 0.01, 0.03)))
#: Width over which points of a curve are smoothed, in nepers of tokens, and what keeps a fit to a
#: few points far off from being singular.
_WIDTH, _RIDGE = 0.1, 1e-9


@dataclass(frozen=True)
class Curve:
    """A run's loss as it went on; NaN and infinity are losses that were lost."""

    tokens: Float[np.ndarray, "point"]
    losses: Float[np.ndarray, "point"]

    def log_losses(self, tokens: Float[np.ndarray, "place"]) -> Float[np.ndarray, "place"]:
        """Log of the loss at some tokens, from lines through the points about them."""
        told = np.isfinite(self.losses) & (self.losses > 0)
        log_tokens, log_losses = np.log(self.tokens[told]), np.log(self.losses[told])
        found = []
        for place in np.log(tokens):
            away = log_tokens - place
            width = max(_WIDTH, *np.sort(abs(away))[:2])  # two points make a line
            weight = np.exp(-(away**2) / 2 / width**2)
            design = np.stack([np.ones_like(away), away], axis=1)
            square = design.T @ (weight[:, None] * design) + _RIDGE * np.eye(2)
            found.append(np.linalg.solve(square, design.T @ (weight * log_losses))[0])
        return np.array(found)


@dataclass(frozen=True)
class Points:
    """Points of runs' curves.

    Args:
        places: (ln N, ln s) relative to the target, u and x, a row each.
        runs: Whose they are, by number.
        log_losses: Natural log of their losses.
    """

    places: Float[np.ndarray, "point 4"]
    runs: Float[np.ndarray, "point"]
    log_losses: Float[np.ndarray, "point"]


@dataclass(frozen=True)
class CurveProcess:
    """The Gaussian process, given points.

    Args:
        points: What is known.
        spreads: Of departures, of a run's level and of a point, shares of the loss.
    """

    points: Points
    spreads: tuple[float, float, float]

    @cached_property
    def log_likelihood(self) -> float:
        """Of the points, up to a constant."""
        return float(-(self._half**2).sum() / 2 - np.log(np.diag(self._factor)).sum())

    def at(
        self, places: Float[np.ndarray, "place 4"]
    ) -> tuple[Float[np.ndarray, "place"], Float[np.ndarray, "place"]]:
        """Mean and standard deviation of the log loss of another run at each place."""
        cross = self._shared(places, self.points.places)
        told = lower_solved(self._factor, cross.T)
        mean = _basis(places) @ _MEAN + (self._half.T @ told)[0]
        departure, level, noise = self.spreads
        own = _basis(places) ** 2 @ _SD**2 + departure**2 + level**2 + noise**2
        return mean, np.sqrt(own - (told**2).sum(0))

    @cached_property
    def _half(self) -> Float[np.ndarray, "point 1"]:
        residual = self.points.log_losses - _basis(self.points.places) @ _MEAN
        return lower_solved(self._factor, residual[:, None])

    @cached_property
    def _factor(self) -> Float[np.ndarray, "point point"]:
        places, runs = self.points.places, self.points.runs
        _, level, noise = self.spreads
        own = level**2 * (runs[:, None] == runs) + noise**2 * np.eye(len(runs))
        return np.linalg.cholesky(self._shared(places, places) + own)

    def _shared(
        self, left: Float[np.ndarray, "left 4"], right: Float[np.ndarray, "right 4"]
    ) -> Float[np.ndarray, "left right"]:
        """Covariance of two runs' log losses."""
        apart = (left[:, None] - right) / _LENGTHS
        alike = self.spreads[0] ** 2 * np.exp(-(apart**2).sum(-1) / 2)
        return (_basis(left) * _SD**2) @ _basis(right).T + alike


def likeliest(points: Points) -> CurveProcess:
    """The process at those spreads that make the points likeliest."""
    found = [CurveProcess(points, spreads) for spreads in _SPREADS]
    return max(found, key=lambda process: process.log_likelihood)


def _basis(places: Float[np.ndarray, "place 4"]) -> Float[np.ndarray, "place term"]:
    n, s, u, x = places.T
    hot = 1 - u * u
    return np.stack([np.ones_like(n), n, s, x, hot, hot * x, n * n, s * s, x * x, n * x, s * x], 1)
