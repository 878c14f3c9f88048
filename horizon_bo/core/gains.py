"""Gains: what are the branches of a trunk worth, which are bought as one?

The worth of one trunk, or of two, is the joint reduction of the variance of ln η* at the target,

    Δ Var = aᵀ (S + R)⁻¹ a,    R_ij = σ_i σ_j (ρ + (1 − ρ) [i = j]) within a trunk, else 0

with a the covariance of the branches' losses with ln η*, S their own, and R that of their noise.
Branches of one trunk share its seed and most of its steps, so ρ > 0: a second branch is not a
second seed. But noise in common also cancels from differences, which can make a trunk worth more.
How much is in common is known poorly, and the likelihood takes runs as independent, so a trunk is
worth the lesser of the two: with ρ = `SHARED_NOISE`, and with ρ = 0. Either way it is worth no less
than any one of its branches.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from horizon_bo.core.arrays import Array, lower_solved, namespace
from horizon_bo.core.normal import given

#: Share of the noise variance that branches of one trunk have in common. Measured with 24 seeds of
#: a byte-level GPT of 25k parameters near its best rate, between branches an octave apart: 0.88
#: from 0.25M to 0.5M tokens and 0.34 from 0.5M to 1M; two octaves apart 0.04; each within 0.2.
SHARED_NOISE = 0.5
#: A place in a trunk that holds no branch.
EMPTY = -1


@dataclass(frozen=True)
class Trunks:
    """Runs that could be made and read at several branches, each one of the candidates."""

    branches: Int[Array, "trunk branch"]  # positions among the candidates, `EMPTY` past the last
    kind: Int[Array, "trunk"]  # trunks of one kind differ in nothing but the rate
    cost: Float[Array, "trunk"]  # of a run in all, FLOP

    def __len__(self) -> int:
        return len(self.cost)

    def select(self, index: Array) -> "Trunks":
        """The trunks at an index or mask."""
        return Trunks(*(getattr(self, field.name)[index] for field in fields(self)))

    def among(self, candidates: Int[Array, "kept"]) -> "Trunks":
        """The same trunks where only some candidates are kept, in that order."""
        largest = int(np.append(self.branches, candidates).max(initial=0))
        position = np.full(1 + largest, EMPTY)
        position[candidates] = np.arange(len(candidates))
        place = np.where(self.branches == EMPTY, EMPTY, position[self.branches])
        return Trunks(place, self.kind, self.cost)

    def branches_of(self, trunk: int) -> Int[Array, "branch"]:
        """Positions among the candidates of the branches of one trunk."""
        return self.branches[trunk][self.branches[trunk] != EMPTY]

    @property
    def candidates(self) -> Int[Array, "kept"]:
        """Positions of all candidates that are a branch of some trunk, ascending."""
        return np.unique(self.branches[self.branches != EMPTY])


NO_TRUNKS = Trunks(np.empty((0, 0), dtype=int), np.empty(0, dtype=int), np.empty(0))


def cautious_reduction(
    covariance: Float[Array, "set all all"],
    noise: Float[Array, "set run"],
    branches: Int[Array, "unit branch"],
    trunk: Int[Array, "branch"],
) -> Float[Array, "set unit"]:
    """Reduction of the variance of ln η* at the target by each unit, the lesser of the two.

    Args:
        covariance: Joint normal of (ln η* at the target, loss of each run).
        noise: Variance of each run's noise.
        branches: Positions among the runs of the branches of each unit, which is one trunk or two;
            `EMPTY` where it has fewer.
        trunk: Number of the trunk within a unit that each branch belongs to.
    """
    variance = noise[:, np.maximum(branches, 0)]
    apart, tied = (noise_between(variance, trunk, share) for share in (0.0, SHARED_NOISE))
    return np.minimum(
        variance_reduction(covariance, apart, branches),
        variance_reduction(covariance, tied, branches),
    )


def variance_reduction(
    covariance: Float[Array, "set all all"],
    between: Float[Array, "set unit run run"],
    runs: Int[Array, "unit run"],
) -> Float[Array, "set unit"]:
    """Reduction of the variance of ln η* by each set of runs, given the covariance of its noise."""
    xp, held = namespace(covariance), runs != EMPTY
    place = 1 + xp.clip(runs, 0, None)
    both = held[..., None] & held[..., None, :]
    gram = covariance[:, place[..., None], place[..., None, :]] + between
    gram = xp.where(both, gram, xp.eye(runs.shape[1], dtype=gram.dtype))
    effect = xp.where(held, covariance[:, 0, place], 0.0)[..., None]
    half = lower_solved(xp.linalg.cholesky(gram), effect)
    return (half**2).sum((-1, -2))


def noise_between(
    noise: Float[Array, "*batch branch"], trunk: Int[Array, "branch"], share: float
) -> Float[Array, "*batch branch branch"]:
    """Covariance of the noise of branches, those of one trunk sharing that much of it."""
    correlation = share * (trunk[:, None] == trunk) + (1 - share) * np.eye(len(trunk))
    sd = np.sqrt(noise)
    return correlation * sd[..., None] * sd[..., None, :]


def given_trunk(
    covariance: Float[Array, "set all all"],
    noise: Float[Array, "set run"],
    branches: Int[Array, "branch"],
) -> Float[Array, "set all all"]:
    """Condition the joint normal on the branches of one trunk, as cautiously as it was valued."""
    if len(branches) == 1:  # nothing to share
        return given(covariance, 1 + branches, noise[:, branches][..., None])
    one = np.zeros_like(branches)
    apart, tied = (
        given(covariance, 1 + branches, noise_between(noise[:, branches], one, share))
        for share in (0.0, SHARED_NOISE)
    )
    more_left = tied[:, 0, 0] > apart[:, 0, 0]
    return np.where(more_left[:, None, None], tied, apart)
