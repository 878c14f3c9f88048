"""Posterior: which coefficients are credible, given a log density that takes many at once?"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Log densities `(point,)` of points `(point, coordinate)`; −inf outside the support.
LogDensity = Callable[[FloatArray], FloatArray]

#: Walkers per coordinate, and at least this many.
_WALKERS_EACH, _FEWEST_WALKERS = 4, 32

#: Sweeps before the first draw is kept, and between draws that are kept.
_BURN_IN, _THIN = 600, 8

#: Every so many sweeps a jump goes all the way, so that walkers cross between modes.
_LONG_JUMP_EVERY = 10

#: Spread of the jitter that keeps the chain irreducible.
_JITTER = 1e-5


def sample_posterior(
    log_density: LogDensity,
    start: FloatArray,
    covariance: FloatArray,
    draws: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Draws from a density by a population of walkers that jump along each other's differences.

        x_i ← x_i + γ (x_a − x_b) + ε,   γ = 2.38 / √(2 d)

    Source: ter Braak (2006), Statistics and Computing 16:239-249.

    Args:
        log_density: The density to draw from.
        start: Where the walkers begin, with `covariance` as their spread.
        covariance: A guess, for instance the inverse curvature at the mode.
        draws: Draws to return.
        rng: Source of randomness.
    """
    dimension = start.size
    count = max(_WALKERS_EACH * dimension, _FEWEST_WALKERS)
    count += count % 2
    walkers = rng.multivariate_normal(start, covariance, size=count, method="eigh")
    density = log_density(walkers)
    lost = ~np.isfinite(density)
    walkers[lost], density[lost] = start, log_density(start[None])[0]
    kept: list[FloatArray] = []
    sweeps = _BURN_IN + _THIN * -(-draws // count)
    for sweep in range(sweeps):
        reach = 1.0 if sweep % _LONG_JUMP_EVERY == 0 else 2.38 / np.sqrt(2.0 * dimension)
        for half in (np.arange(count // 2), np.arange(count // 2, count)):
            others = np.setdiff1d(np.arange(count), half)
            _jump(walkers, density, half, others, reach, log_density, rng)
        if sweep >= _BURN_IN and (sweep - _BURN_IN) % _THIN == 0:
            kept.append(walkers.copy())
    return np.concatenate(kept)[:draws]


def _jump(
    walkers: FloatArray,
    density: FloatArray,
    movers: NDArray[np.int64],
    others: NDArray[np.int64],
    reach: float,
    log_density: LogDensity,
    rng: np.random.Generator,
) -> None:
    """Move half of the walkers along differences within the other half, in place."""
    first = rng.integers(others.size, size=movers.size)
    second = (first + rng.integers(1, others.size, size=movers.size)) % others.size
    jump = reach * (walkers[others[first]] - walkers[others[second]])
    trial = walkers[movers] + jump + _JITTER * rng.standard_normal(jump.shape)
    new = log_density(trial)
    accepted = np.log(rng.random(movers.size)) < new - density[movers]
    walkers[movers[accepted]] = trial[accepted]
    density[movers[accepted]] = new[accepted]
