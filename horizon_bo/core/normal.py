"""Normal: what is left of a joint normal once some of its variables have been seen?

    Var(a | b) = S_aa − S_ab (S_bb + R)⁻¹ S_ba,     E(a | b) = m_a + S_ab (S_bb + R)⁻¹ (b − m_b)

Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.23 and 2.24.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def given(
    covariance: Float[Tensor, "set all all"],
    seen: Int[Tensor, "seen"],
    noise: Float[Tensor, "set seen seen"],
) -> Float[Tensor, "set all all"]:
    """Covariance of all variables once some were seen with noise."""
    gram = covariance[:, seen[:, None], seen] + noise
    return remaining(covariance, covariance[:, seen], torch.linalg.cholesky(gram))


def remaining(
    own: Float[Tensor, "*batch a a"],
    cross: Float[Tensor, "*batch b a"],
    factor: Float[Tensor, "*#batch b b"],
) -> Float[Tensor, "*batch a a"]:
    """Covariance of `a` given `b`.

    Args:
        own: Covariance of `a`.
        cross: Covariance of `b` with `a`.
        factor: Cholesky factor of the covariance of `b`, noise included.
    """
    half = torch.linalg.solve_triangular(factor, cross, upper=False)
    return own - half.mT @ half
