"""Sampler: a population of coefficient sets, drawn from what the runs leave credible.

Sequential Monte Carlo from the prior to the posterior through losses that are blurred less and
less: reweight, resample, redraw the noise factors, and move: seven in ten by autoregression about
the population's normal fit, three in ten along a difference of two others. Everything is one batch
over particles, seeded by the study alone, so the same study always gives the same belief.

Blurred losses prefer whatever comes closest to them. Likelihoods raised to a power would prefer, up
to a third, whatever expects most noise, and where a guess is far off no particle found back.

Source: Del Moral, Doucet & Jasra (2006), J. R. Stat. Soc. B 68(3):411-436; Cotter et al. (2013),
Statistical Science 28(3):424-446; ter Braak (2006), Statistics and Computing 16(3):239-249.
"""

import math
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from horizon_bo.core.arrays import Array, lower_solved, softmax
from horizon_bo.core.conditioning import (
    Fit,
    Outlook,
    blur,
    condition,
    draw_departures,
    outlook,
    weighed,
)
from horizon_bo.core.points import Runs
from horizon_bo.core.priors import Coefficients, Priors
from horizon_bo.core.surrogate import NOISE_FREEDOM

PARTICLES = 256
#: Each step of the power keeps this share of the particles effective.
_KEPT = 0.2
#: Rounds of one redraw of the noise factors and `_MOVES` moves, after a step and at 1.
_ROUNDS, _LAST_ROUNDS, _MOVES = 1, 5, 5
_COLDEST = 1e-9  # power at which no data can be felt
_TRIALS = 12
_TOLERANCE = 0.2  # a step that keeps up to this much more is good enough
_USUAL_STEP = 0.9  # of ln power, once the first runs are felt
_FIRST_WAVE, _WAVE_GROWTH = 25, 4
#: A difference step reaches 2.38/√(2d) of the population's spread (ter Braak, 2006).
_REACH = 2.38
_DIFFERENTIAL = 0.3  # share of moves along a difference
_LONGEST_MEMORY = 0.95  # largest ρ of the autoregressive moves, drawn uniformly below
_WIDER = 1.2  # on the fitted covariance, so that its tails cover the posterior's
_BLUR = 1e-3
_LEAST_GAMMA = 1e-12  # no draw is divided by zero


@dataclass(frozen=True, eq=False)
class Posterior:
    """A population of coefficient sets, equally weighted, and how it came about.

    `z` are standard-normal coordinates (see `priors.coefficients`), `noise_scale` each run's latent
    factor on its noise variance.
    """

    z: Float[Array, "particle coordinate"]
    noise_scale: Float[Array, "particle run"]
    priors: Priors
    fit: Fit
    acceptance: float  # share of accepted moves in the last stage
    stages: int
    distinct: float  # share of distinct ancestors that survived the last resampling
    #: Ln of the probability of the runs, but for what is theirs alone; `nan` if not worked out.
    log_evidence: float = math.nan

    @property
    def coefficients(self) -> Coefficients:
        """The coefficient sets."""
        return self.fit.coefficients

    def some(self, count: int) -> Int[np.ndarray, "some"]:
        """Positions of that many particles, evenly spread."""
        return np.linspace(0, len(self.z) - 1, count).astype(int)

    def with_recipes(self, more: int) -> "Posterior":
        """The same with the offsets of recipes that no run has ended under, at their mean."""
        widened = lambda values: np.pad(values, ((0, 0), (0, more)))  # noqa: E731
        c = self.coefficients
        c = replace(c, source_offset=widened(c.source_offset))
        return replace(self, z=widened(self.z), fit=replace(self.fit, coefficients=c))


@dataclass(frozen=True)
class _Population:
    """Particles on their way from the prior to the posterior."""

    z: np.ndarray
    noise_scale: np.ndarray
    likelihood: np.ndarray


@dataclass
class _Progress:
    """How the annealing went so far."""

    stages: int = 0
    acceptance: float = 1.0
    distinct: float = 1.0
    log_evidence: float = 0.0


def sample(
    runs: Runs,
    priors: Priors,
    generator: np.random.Generator,
    particles: int = PARTICLES,
) -> Posterior:
    """Draw coefficient sets from their posterior given runs.

    Many runs enter in waves, each four times the size of the last, so that the long way from the
    prior is gone with few of them. The wave a run belongs to is drawn at random, and its noise
    factors start at draws of their prior.
    """
    sources = int(runs.points.source.max()) if len(runs) else 0
    z = _normal_points(particles, len(priors) + sources, generator)
    count = len(runs)
    order = generator.permutation(count)
    noise_scale = np.ones((particles, 0))
    progress, seen = _Progress(), 0
    while seen < count:
        wave = min(count, max(_FIRST_WAVE, seen * _WAVE_GROWTH))
        wave = count if count < 1.5 * wave else wave
        prior = np.full((particles, wave - seen), NOISE_FREEDOM / 2)
        noise_scale = np.concat([noise_scale, _inverse_gamma(prior, prior, generator)], 1)
        old = np.arange(wave) < seen
        part = runs.select(order[:wave])
        z, noise_scale = _anneal(z, noise_scale, part, old, priors, generator, progress)
        seen = wave
    noise_scale = noise_scale[:, order.argsort()]
    fit = condition(z, noise_scale, runs, priors)
    return Posterior(z, noise_scale, priors, fit, **asdict(progress))


def likeliest(
    runs: Runs, priors: Priors, generator: np.random.Generator, particles: int, populations: int
) -> Posterior:
    """The one of several populations that finds the runs likeliest.

    Under wide priors a population can settle in a lesser mode that it does not leave.
    """
    found = (sample(runs, priors, generator, particles) for _ in range(populations))
    return max(found, key=lambda posterior: posterior.log_evidence)


def _anneal(
    z: np.ndarray,
    noise_scale: np.ndarray,
    runs: Runs,
    old: np.ndarray,
    priors: Priors,
    generator: np.random.Generator,
    progress: _Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Let the runs that are not `old` be felt, from power 0 to power 1."""
    power = _COLDEST
    start = np.where(old, 1.0, power)
    likelihood = condition(z, noise_scale, runs, priors, start).log_likelihood
    while power < 1:
        view = outlook(z, runs, priors)
        power, gain = _next_power(view, noise_scale, runs, old, power, likelihood)
        progress.log_evidence += float(np.logaddexp.reduce(gain)) - math.log(len(gain))
        chosen = _systematic(softmax(gain), generator)
        z, noise_scale = z[chosen], noise_scale[chosen]
        felt = np.where(old, 1.0, power)
        rounds = _ROUNDS if power < 1 else _LAST_ROUNDS
        rates = []
        for _ in range(rounds):
            view = outlook(z, runs, priors)
            noise_scale = _redraw_noise_scale(view, noise_scale, runs, felt, generator)
            likelihood = weighed(view, noise_scale, runs, felt).log_likelihood
            population = _Population(z, noise_scale, likelihood)
            for _ in range(_MOVES):
                population, rate = _move(population, runs, priors, felt, generator)
                rates.append(rate)
            z, likelihood = population.z, population.likelihood
        progress.stages += 1
        progress.acceptance = sum(rates) / len(rates)
        progress.distinct = len(np.unique(chosen)) / len(z)
    return z, noise_scale


def _normal_points(count: int, dimension: int, generator: np.random.Generator) -> np.ndarray:
    """A Latin hypercube of the standard normal: each coordinate covers the prior evenly.

    Source: McKay, Beckman & Conover (1979), Technometrics 21(2):239-245.
    """
    strata = generator.permuted(np.tile(np.arange(count), (dimension, 1)), axis=1).T
    shares = (strata + generator.random((count, dimension))) / count
    inverse = np.vectorize(NormalDist().inv_cdf, otypes=[float])
    return inverse(np.clip(shares, 1e-9, 1 - 1e-9))


def _next_power(
    view: Outlook,
    noise_scale: np.ndarray,
    runs: Runs,
    old: np.ndarray,
    power: float,
    now: np.ndarray,
) -> tuple[float, np.ndarray]:
    """The power at which about `_KEPT` of the particles stay effective, and ln of their weights.

    Found by steps in ln power that halve when they go too far; any share from `_KEPT` to
    `_TOLERANCE` more will do.
    """

    def gain_at(t: float) -> np.ndarray:
        fit = weighed(view, noise_scale, runs, np.where(old, 1.0, t))
        return np.nan_to_num(fit.log_likelihood - now, nan=-np.inf)

    low = math.log(power)
    step = _USUAL_STEP if power > _COLDEST else -low / 2
    gain = np.zeros(len(now))
    for _ in range(_TRIALS):
        trial = min(low + step, 0.0)
        candidate = gain_at(math.exp(trial))
        kept = float(1 / (softmax(candidate) ** 2).sum() / len(now))
        if kept < _KEPT:
            step = (trial - low) / 2
            continue
        low, gain = trial, candidate
        if trial == 0.0 or kept < _KEPT + _TOLERANCE:
            break
    return math.exp(low), gain


def _systematic(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    points = (generator.random() + np.arange(len(weights))) / len(weights)
    return np.minimum(np.searchsorted(weights.cumsum(), points), len(weights) - 1)


def _redraw_noise_scale(
    view: Outlook,
    noise_scale: np.ndarray,
    runs: Runs,
    felt: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw the noise factors anew: Student-t noise as a scale mixture of normals.

        τᵢ | rest ~ InverseGamma((ν + t)/2, (ν + t rᵢ²/σᵢ²)/2)

    with t = 1 where losses are not blurred. Elsewhere it is a proposal, once with the share of the
    noise in its sum with the blur as t, and once with 1, which finds outliers early.

    Source: Geweke (1993), Journal of Applied Econometrics 8(S1):S19-S40.
    """
    fit = weighed(view, noise_scale, runs, felt)
    departures = draw_departures(fit, generator)[0]
    at_runs = departures[:, :, runs.cell]
    excess = np.nan_to_num(runs.loss) - fit.expected(at_runs, runs)
    variance, blurred = fit.features.variance, blur(felt)
    squares = np.where(runs.diverged, 0.0, excess**2)
    counted = (~runs.diverged).astype(float)

    def likely(factor: np.ndarray) -> np.ndarray:
        """Ln of the density of loss and factor, but for a constant."""
        spread = variance * factor + blurred
        prior = (NOISE_FREEDOM / 2 + 1) * np.log(factor) + NOISE_FREEDOM / 2 / factor
        return -counted * (np.log(spread) + squares / spread) / 2 - prior

    for share in (variance / (variance + blurred), np.ones_like(variance)):
        shape = (NOISE_FREEDOM + share * counted) / 2
        rate = (NOISE_FREEDOM + share * squares / variance) / 2
        proposed = _inverse_gamma(shape, rate, generator)
        odds = (shape + 1) * np.log(proposed / noise_scale) + rate * (
            1 / proposed - 1 / noise_scale
        )
        gain = likely(proposed) - likely(noise_scale) + odds
        accepted = np.log(generator.random(gain.shape)) < gain
        noise_scale = np.where(accepted, proposed, noise_scale)
    return noise_scale


def _inverse_gamma(
    shape: np.ndarray, scale: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    return scale / np.maximum(generator.standard_gamma(shape), _LEAST_GAMMA)


def _move(
    population: _Population,
    runs: Runs,
    priors: Priors,
    felt: np.ndarray,
    generator: np.random.Generator,
) -> tuple[_Population, float]:
    """One Metropolis step of every particle, autoregressive about the population's normal fit.

        z' = m + ρ (z − m) + √(1 − ρ²) S^½ ξ

    leaves N(m, S) unchanged, so the acceptance compares the posterior with that normal only: it
    stays high in many dimensions where the posterior is nearly normal. Some particles step
    along a difference of two others instead, which does not mind if it is not.

    Source: Cotter et al. (2013), Statistical Science 28(3):424-446, with the fit as reference.
    """
    z = population.z
    count, dimension = z.shape
    normal = generator.standard_normal((2, count, dimension))
    uniform = generator.random((3, count, 1))
    center = z.mean(0)
    covariance = np.cov(z.T) * _WIDER + _BLUR * np.eye(dimension)
    factor = np.linalg.cholesky(covariance)
    keep = uniform[0] * _LONGEST_MEMORY
    fresh = center + keep * (z - center) + np.sqrt(1 - keep**2) * (normal[0] @ factor.T)

    pair = generator.integers(1, count, (2, count)) + np.arange(count)
    difference = z[pair[0] % count] - z[pair[1] % count]
    moving = generator.random((count, dimension)) < uniform[0]
    reach = _REACH / np.sqrt(2 * np.maximum(moving.sum(-1, keepdims=True), 1))
    stepped = z + np.where(moving, reach * difference + _BLUR * normal[1], 0.0)

    differential = uniform[1] < _DIFFERENTIAL
    proposal = np.where(differential, stepped, fresh)
    after = condition(proposal, population.noise_scale, runs, priors, felt).log_likelihood
    gain = after - population.likelihood + (z**2 - proposal**2).sum(-1) / 2
    whitened = lower_solved(factor, (np.stack([z, proposal]) - center).mT)
    squares = (whitened**2).sum(1)
    gain = gain + np.where(differential[:, 0], 0.0, (squares[1] - squares[0]) / 2)
    accepted = np.log(uniform[2, :, 0]) < np.nan_to_num(gain, nan=-np.inf)
    moved = _Population(
        np.where(accepted[:, None], proposal, z),
        population.noise_scale,
        np.where(accepted, after, population.likelihood),
    )
    return moved, float(accepted.mean())
