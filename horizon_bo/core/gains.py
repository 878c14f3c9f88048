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

import torch
from jaxtyping import Float, Int
from torch import Tensor

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

    branches: Int[Tensor, "trunk branch"]  # positions among the candidates, `EMPTY` past the last
    kind: Int[Tensor, "trunk"]  # trunks of one kind differ in nothing but the rate
    cost: Float[Tensor, "trunk"]  # of a run in all, FLOP

    def __len__(self) -> int:
        return len(self.cost)

    def select(self, index: Tensor) -> "Trunks":
        """The trunks at an index or mask."""
        return Trunks(*(getattr(self, field.name)[index] for field in fields(self)))

    def among(self, candidates: Int[Tensor, "kept"]) -> "Trunks":
        """The same trunks where only some candidates are kept, in that order."""
        largest = int(torch.cat([self.branches.flatten(), candidates]).max())
        position = torch.full((1 + largest,), EMPTY, dtype=torch.long)
        position[candidates] = torch.arange(len(candidates))
        place = torch.where(self.branches == EMPTY, EMPTY, position[self.branches])
        return Trunks(place, self.kind, self.cost)

    def branches_of(self, trunk: int) -> Int[Tensor, "branch"]:
        """Positions among the candidates of the branches of one trunk."""
        return self.branches[trunk][self.branches[trunk] != EMPTY]

    @property
    def candidates(self) -> Int[Tensor, "kept"]:
        """Positions of all candidates that are a branch of some trunk, ascending."""
        return self.branches[self.branches != EMPTY].unique()


NO_TRUNKS = Trunks(
    torch.empty(0, 0, dtype=torch.long),
    torch.empty(0, dtype=torch.long),
    torch.empty(0, dtype=torch.float64),
)


def cautious_reduction(
    covariance: Float[Tensor, "set all all"],
    noise: Float[Tensor, "set run"],
    branches: Int[Tensor, "unit branch"],
    trunk: Int[Tensor, "branch"],
) -> Float[Tensor, "set unit"]:
    """Reduction of the variance of ln η* at the target by each unit, the lesser of the two.

    Args:
        covariance: Joint normal of (ln η* at the target, loss of each run).
        noise: Variance of each run's noise.
        branches: Positions among the runs of the branches of each unit, which is one trunk or two;
            `EMPTY` where it has fewer.
        trunk: Number of the trunk within a unit that each branch belongs to.
    """
    variance = noise[:, branches.clamp_min(0)]
    apart, tied = (noise_between(variance, trunk, share) for share in (0.0, SHARED_NOISE))
    return torch.minimum(
        variance_reduction(covariance, apart, branches),
        variance_reduction(covariance, tied, branches),
    )


def variance_reduction(
    covariance: Float[Tensor, "set all all"],
    between: Float[Tensor, "set unit run run"],
    runs: Int[Tensor, "unit run"],
) -> Float[Tensor, "set unit"]:
    """Reduction of the variance of ln η* by each set of runs, given the covariance of its noise."""
    held = runs != EMPTY
    place = 1 + runs.clamp_min(0)
    both = held.unsqueeze(-1) & held.unsqueeze(-2)
    gram = covariance[:, place.unsqueeze(-1), place.unsqueeze(-2)] + between
    gram = torch.where(both, gram, torch.eye(runs.shape[1], dtype=gram.dtype))
    effect = torch.where(held, covariance[:, 0, place], 0.0).unsqueeze(-1)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), effect, upper=False)
    return half.square().sum((-1, -2))


def noise_between(
    noise: Float[Tensor, "*batch branch"], trunk: Int[Tensor, "branch"], share: float
) -> Float[Tensor, "*batch branch branch"]:
    """Covariance of the noise of branches, those of one trunk sharing that much of it."""
    same = (trunk[:, None] == trunk).to(noise.dtype)
    correlation = share * same + (1 - share) * torch.eye(len(trunk), dtype=noise.dtype)
    sd = noise.sqrt()
    return correlation * sd.unsqueeze(-1) * sd.unsqueeze(-2)


def given_trunk(
    covariance: Float[Tensor, "set all all"],
    noise: Float[Tensor, "set run"],
    branches: Int[Tensor, "branch"],
) -> Float[Tensor, "set all all"]:
    """Condition the joint normal on the branches of one trunk, as cautiously as it was valued."""
    if len(branches) == 1:  # nothing to share
        return given(covariance, 1 + branches, noise[:, branches].unsqueeze(-1))
    one = torch.zeros_like(branches)
    apart, tied = (
        given(covariance, 1 + branches, noise_between(noise[:, branches], one, share))
        for share in (0.0, SHARED_NOISE)
    )
    more_left = tied[:, 0, 0] > apart[:, 0, 0]
    return torch.where(more_left[:, None, None], tied, apart)
