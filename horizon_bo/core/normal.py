"""Normal: how likely is a score, and what is left of a joint normal once some of it was seen?

    Var(a | b) = S_aa − S_ab (S_bb + R)⁻¹ S_ba,     E(a | b) = m_a + S_ab (S_bb + R)⁻¹ (b − m_b)

Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.23 and 2.24.
"""

import math

import numpy as np
from jaxtyping import Float, Int

from horizon_bo.core.arrays import Array, lower_solved, namespace


def given(
    covariance: Float[Array, "set all all"],
    seen: Int[Array, "seen"],
    noise: Float[Array, "set seen seen"],
) -> Float[Array, "set all all"]:
    """Covariance of all variables once some were seen with noise."""
    gram = covariance[:, seen[:, None], seen] + noise
    return remaining(covariance, covariance[:, seen], namespace(gram).linalg.cholesky(gram))


def remaining(
    own: Float[Array, "*batch a a"],
    cross: Float[Array, "*batch b a"],
    factor: Float[Array, "*#batch b b"],
) -> Float[Array, "*batch a a"]:
    """Covariance of `a` given `b`.

    Args:
        own: Covariance of `a`.
        cross: Covariance of `b` with `a`.
        factor: Cholesky factor of the covariance of `b`, noise included.
    """
    half = lower_solved(factor, cross)
    return own - half.mT @ half


_erfc = np.frompyfunc(math.erfc, 1, 1)
_FAR_BELOW = -30.0  # erfc leaves float64 at -38
#: Of so many scores SciPy's function, a fifth of the time, is worth the third of a second that it
#: takes to load: half of what a recommendation may take.
_MANY = 20_000


def probability(score: Float[Array, "*value"]) -> Float[Array, "*value"]:
    """Φ(x), the probability that a standard normal lies below each score."""
    if namespace(score) is not np:
        return namespace(score).special.ndtr(score)
    return np.asarray(_erfc(score / -math.sqrt(2)), dtype=float) / 2


def log_probability(score: Float[np.ndarray, "*value"]) -> Float[np.ndarray, "*value"]:
    """Ln Φ(x), by its series where Φ leaves float64.

    Source: Abramowitz & Stegun (1964), Handbook of Mathematical Functions, eq. 26.2.12.
    """
    if score.size > _MANY:
        from scipy.special import log_ndtr

        return log_ndtr(score)
    near = np.log(probability(np.maximum(score, _FAR_BELOW)))
    if not (far := score < _FAR_BELOW).any():
        return near
    low = np.minimum(score, _FAR_BELOW)
    x = 1 / low**2
    series = np.log1p(-x * (1 - 3 * x * (1 - 5 * x * (1 - 7 * x * (1 - 9 * x)))))
    return np.where(far, series - low**2 / 2 - np.log(-low * math.sqrt(2 * math.pi)), near)
