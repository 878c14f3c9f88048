"""Blocks: what are several readings worth that are bought as one?

The worth of a block is the joint fall of the variance of ln η* at the target,

    Δ Var = aᵀ (S + R)⁻¹ a,    R_ij = σ_i σ_j (ρ + (1 − ρ) [i = j]) within a trunk, else 0

with a the covariance of its losses with ln η*, S their own, and R that of their noise. Readings of
one trunk share its seed and most of its steps, so ρ > 0: a second reading is not a second seed. But
noise in common also cancels from differences, which can make a block worth more. How much is in
common is known poorly, and the likelihood takes runs as independent, so a block is worth the
lesser of the two: with ρ = `SHARED_NOISE`, and with ρ = 0. Either way it is worth no less than any
one of its readings.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: Share of the noise variance that readings of one trunk have in common. Measured with 24 seeds of
#: a byte-level GPT of 25k parameters near its best rate, between branches an octave apart: 0.88
#: from 0.25M to 0.5M tokens and 0.34 from 0.5M to 1M; two octaves apart 0.04; each within 0.2.
SHARED_NOISE = 0.5
#: A place in a block that holds no reading.
EMPTY = -1


@dataclass(frozen=True)
class Trunks:
    """Runs that could be made and read at several horizons."""

    members: Int[Tensor, "trunk reading"]  # positions among the candidates, `EMPTY` past the last
    shape: Int[Tensor, "trunk"]  # trunks of one shape differ in nothing but the rate
    family: Int[Tensor, "trunk"]  # trunks of one family differ in rate and horizons only
    cost: Float[Tensor, "trunk"]  # of a run in all, FLOP

    def __len__(self) -> int:
        return len(self.cost)

    def select(self, index: Tensor) -> "Trunks":
        """The trunks at an index or mask."""
        return Trunks(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def among(self, candidates: Int[Tensor, "kept"]) -> "Trunks":
        """The same trunks where only some candidates are kept, in that order."""
        largest = int(torch.cat([self.members.flatten(), candidates]).max())
        position = torch.full((1 + largest,), EMPTY, dtype=torch.long)
        position[candidates] = torch.arange(len(candidates))
        place = torch.where(self.members == EMPTY, EMPTY, position[self.members])
        return Trunks(place, self.shape, self.family, self.cost)

    @property
    def readings(self) -> Int[Tensor, "kept"]:
        """Positions of all candidates that are a reading of some trunk, ascending."""
        return self.members[self.members != EMPTY].unique()


NO_TRUNKS = Trunks(
    torch.empty(0, 0, dtype=torch.long),
    torch.empty(0, dtype=torch.long),
    torch.empty(0, dtype=torch.long),
    torch.empty(0, dtype=torch.float64),
)


def cautious_reduction(
    covariance: Float[Tensor, "set all all"],
    noise: Float[Tensor, "set run"],
    members: Int[Tensor, "block reading"],
    trunk: Int[Tensor, "reading"],
) -> Float[Tensor, "set block"]:
    """Fall of the variance of ln η* at the target by each block, the cautious of two.

    Args:
        covariance: Joint normal of (ln η* at the target, loss of each run).
        noise: Variance of each run's noise.
        members: Positions of a block's readings among the runs, `EMPTY` where it has fewer.
        trunk: Number of the trunk within a block that each reading belongs to.
    """
    variance = noise[:, members.clamp_min(0)]
    apart, tied = (noise_between(variance, trunk, share) for share in (0.0, SHARED_NOISE))
    return torch.minimum(
        variance_reduction(covariance, apart, members),
        variance_reduction(covariance, tied, members),
    )


def variance_reduction(
    covariance: Float[Tensor, "set all all"],
    between: Float[Tensor, "set block reading reading"],
    members: Int[Tensor, "block reading"],
) -> Float[Tensor, "set block"]:
    """Fall of the variance of ln η* by each block, given the covariance of its noise."""
    held = members != EMPTY
    place = 1 + members.clamp_min(0)
    both = held.unsqueeze(-1) & held.unsqueeze(-2)
    gram = covariance[:, place.unsqueeze(-1), place.unsqueeze(-2)] + between
    gram = torch.where(both, gram, torch.eye(members.shape[1], dtype=gram.dtype))
    effect = torch.where(held, covariance[:, 0, place], 0.0).unsqueeze(-1)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), effect, upper=False)
    return half.square().sum((-1, -2))


def noise_between(
    noise: Float[Tensor, "*batch reading"], trunk: Int[Tensor, "reading"], share: float
) -> Float[Tensor, "*batch reading reading"]:
    """Covariance of the noise of readings, those of one trunk sharing that much of it."""
    same = (trunk[:, None] == trunk).to(noise.dtype)
    correlation = share * same + (1 - share) * torch.eye(len(trunk), dtype=noise.dtype)
    sd = noise.sqrt()
    return correlation * sd.unsqueeze(-1) * sd.unsqueeze(-2)


def given_trunk(
    covariance: Float[Tensor, "set all all"],
    noise: Float[Tensor, "set run"],
    readings: Int[Tensor, "reading"],
) -> Float[Tensor, "set all all"]:
    """Condition the joint normal on the readings of one trunk, as cautiously as it was valued."""
    apart, tied = (_given(covariance, noise, readings, share) for share in (0.0, SHARED_NOISE))
    more_left = tied[:, 0, 0] > apart[:, 0, 0]
    return torch.where(more_left[:, None, None], tied, apart)


def _given(covariance: Tensor, noise: Tensor, readings: Tensor, share: float) -> Tensor:
    gram = covariance[:, 1 + readings[:, None], 1 + readings]
    gram = gram + noise_between(noise[:, readings], torch.zeros_like(readings), share)
    cross = covariance[:, 1 + readings]
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), cross, upper=False)
    return covariance - half.mT @ half
