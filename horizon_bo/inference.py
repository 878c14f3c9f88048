"""Inference: which coefficients the runs leave credible, as a population of particles.

Sequential Monte Carlo from the prior to the posterior through tempered likelihoods: reweight,
resample, redraw the noise factors, move by differential evolution. Everything is one batch over
particles, seeded by the study alone, so the same study always gives the same belief.

Source: Del Moral, Doucet & Jasra (2006), J. R. Stat. Soc. B 68(3):411-436; ter Braak (2006),
Statistics and Computing 16(3):239-249.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from horizon_bo.mean import Prior
from horizon_bo.surrogate import (
    NOISE_FREEDOM,
    Fit,
    Runs,
    condition,
    draw_departures,
)

PARTICLES = 256
#: Each tempering step keeps this share of the particles effective.
_KEPT = 0.5
#: Moves after each tempering step, and at the end.
_MOVES, _LAST_MOVES = 3, 8
#: A difference step reaches 2.38/√(2d) of the population's spread (ter Braak, 2006).
_REACH = 2.38
_LONG_STEPS = 0.1  # share of moves that jump a whole difference, between modes
_BLUR = 1e-3


@dataclass(frozen=True)
class Posterior:
    """A population of coefficient sets, equally weighted, and how it came about.

    `z` are standard-normal coordinates (see `mean.coefficients`), `inflation` each run's latent
    factor on its noise variance.
    """

    z: Float[Tensor, "particle coordinate"]
    inflation: Float[Tensor, "particle run"]
    fit: Fit
    acceptance: float  # share of accepted moves in the last stage
    stages: int
    unique: float  # share of distinct ancestors that survived the last resampling


def sample(
    runs: Runs,
    priors: Mapping[str, Prior],
    generator: torch.Generator,
    particles: int = PARTICLES,
) -> Posterior:
    """Draw coefficient sets from their posterior given runs."""
    sources = int(runs.source.max()) if len(runs.source) else 0
    dimension = len(priors) + sources
    z = torch.randn(particles, dimension, dtype=torch.float64, generator=generator)
    inflation = torch.ones(particles, len(runs.loss), dtype=torch.float64)
    temperature, stages, acceptance, unique = 0.0, 0, 1.0, 1.0
    while temperature < 1:
        likelihood = condition(z, inflation, runs, priors, temperature).log_likelihood
        temperature, weights = _next_temperature(
            z, inflation, runs, priors, temperature, likelihood
        )
        chosen = _systematic(weights, generator)
        unique = len(chosen.unique()) / particles
        z, inflation = z[chosen], inflation[chosen]
        moves = _MOVES if temperature < 1 else _LAST_MOVES
        accepted = 0.0
        for _ in range(moves):
            inflation = _redraw_inflation(z, inflation, runs, priors, temperature, generator)
            z, rate = _move(z, inflation, runs, priors, temperature, generator)
            accepted += rate / moves
        stages, acceptance = stages + 1, accepted
    fit = condition(z, inflation, runs, priors)
    return Posterior(z, inflation, fit, acceptance, stages, unique)


def _next_temperature(
    z: Tensor,
    inflation: Tensor,
    runs: Runs,
    priors: Mapping[str, Prior],
    temperature: float,
    likelihood: Tensor,
) -> tuple[float, Tensor]:
    """The temperature at which `_KEPT` of the particles stay effective, and their weights."""

    def weights_at(t: float) -> Tensor:
        change = condition(z, inflation, runs, priors, t).log_likelihood - likelihood
        return torch.softmax(change.nan_to_num(nan=-torch.inf), 0)

    def effective(weights: Tensor) -> float:
        return float(1 / weights.square().sum() / len(weights))

    weights = weights_at(1.0)
    if effective(weights) >= _KEPT:
        return 1.0, weights
    low, high = math.log(max(temperature, 1e-9)), 0.0
    for _ in range(8 if temperature == 0 else 5):
        middle = (low + high) / 2
        weights = weights_at(math.exp(middle))
        low, high = (middle, high) if effective(weights) >= _KEPT else (low, middle)
    low = max(low, math.log(max(temperature, 1e-9)) + 1e-6)
    return math.exp(low), weights_at(math.exp(low))


def _systematic(weights: Tensor, generator: torch.Generator) -> Tensor:
    start = torch.rand((), dtype=weights.dtype, generator=generator)
    points = (start + torch.arange(len(weights), dtype=weights.dtype)) / len(weights)
    return torch.searchsorted(weights.cumsum(0), points).clamp_max(len(weights) - 1)


def _redraw_inflation(
    z: Tensor,
    inflation: Tensor,
    runs: Runs,
    priors: Mapping[str, Prior],
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """Gibbs step on the noise factors: Student-t noise as a scale mixture of normals.

    τᵢ | rest ~ InverseGamma((ν + t)/2, (ν + t rᵢ²/σᵢ²)/2)

    Source: Geweke (1993), Journal of Applied Econometrics 8(S1):S19-S40.
    """
    if not len(runs.loss):
        return inflation
    fit = condition(z, inflation, runs, priors, temperature)
    departures = draw_departures(fit, generator)[0]
    at_runs = departures[:, :, runs.cell].transpose(1, 2)
    excess = runs.loss.nan_to_num() - fit.expected(at_runs, runs)
    squares = torch.where(runs.diverged, 0.0, excess.square() / fit.features.variance)
    counted = torch.where(runs.diverged, 0.0, temperature)
    shape = (NOISE_FREEDOM + counted) / 2
    gamma = torch._standard_gamma(shape.expand_as(squares).contiguous(), generator=generator)
    return (NOISE_FREEDOM + temperature * squares) / 2 / gamma.clamp_min(1e-12)


def _move(
    z: Tensor,
    inflation: Tensor,
    runs: Runs,
    priors: Mapping[str, Prior],
    temperature: float,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """One Metropolis step of every particle along a difference of two others."""
    count, dimension = z.shape
    pair = torch.randint(1, count, (2, count), generator=generator) + torch.arange(count)
    difference = z[pair[0] % count] - z[pair[1] % count]
    uniform = torch.rand(3, count, 1, dtype=torch.float64, generator=generator)
    # Short steps move along a random half of the coordinates, which is accepted more often.
    keep = torch.rand(count, dimension, dtype=torch.float64, generator=generator) < uniform[0]
    reach = _REACH / (2 * keep.sum(-1, keepdim=True).clamp_min(1)).sqrt()
    reach = torch.where(uniform[1] < _LONG_STEPS, torch.ones_like(reach), reach)
    keep = keep | (uniform[1] < _LONG_STEPS)
    blur = _BLUR * torch.randn(count, dimension, dtype=torch.float64, generator=generator)
    proposal = z + torch.where(keep, reach * difference + blur, 0.0)
    before = condition(z, inflation, runs, priors, temperature).log_likelihood
    after = condition(proposal, inflation, runs, priors, temperature).log_likelihood
    gain = after - before + (z.square().sum(-1) - proposal.square().sum(-1)) / 2
    accepted = uniform[2].squeeze(-1).log() < gain
    return torch.where(accepted.unsqueeze(-1), proposal, z), float(accepted.double().mean())
