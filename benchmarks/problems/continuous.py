"""Continuous problems: what may be run when anything may be run?

A target of an emulator and what is on offer for it: any rate of its sweep, any size up to half of
the target's, any tokens up to half of its, down to runs of a ten-thousandth of its price. Every
seed is another world that the emulator thinks possible, another guess of the rate and other noise,
the same for every method. A run costs 6 · params · tokens. No run is more than eight times shorter
than the sweep's shortest: further down an emulator is a bare law, and a run a few dozen steps.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.emulators.emulator import Emulator, World
from benchmarks.rivals.protocol import Job, Point
from horizon_bo.evaluation.cases import Case
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace, training_flops
from horizon_bo.study.trials import LoggedRun, Study, Trial

#: The cheapest run on offer, in target runs, and the largest size and length, of the target's.
CHEAPEST, LARGEST = 1e-4, 0.5
#: Runs are at most so many times shorter than the sweep's shortest.
BEYOND = 8.0
#: Sizes are so many octaves apart for those who list them, tokens and rates likewise.
SIZE_OCTAVES, TOKEN_OCTAVES, RATE_OCTAVES = 1.0, 1.0, 0.5
#: Scatter of the guess about the best rate in ln η: a factor of three.
GUESS_SD = math.log(3.0)
#: A diverged run is reported as this many times the loss of the cheapest run's worst rate.
_PENALTY = 1.25


@dataclass(frozen=True)
class Target:
    """What is raced for: a run of a recipe whose emulator is known by name."""

    recipe: str
    params: float
    tokens: float
    batch_tokens: float | None = None

    @property
    def name(self) -> str:
        """Of results."""
        return f"{self.recipe.replace(' ', '-')}-{self.params:.3g}-{self.tokens:.3g}"


#: Large cells inside their sweeps, of recipes whose emulators were found good enough in cells left
#: out: bowls within twice their seed noise in four of five cells.
TARGETS = (
    Target("steplaw dense", 1.073741824e9, 5.69e10, 524_288),
    Target("steplaw dense", 5.3687296e8, 5.0e10, 524_288),
    Target("steplaw dense", 2.68304384e8, 8.0e10, 524_288),
    Target("steplaw experts", 1.24127027e9, 2.0e10, 524_288),
    Target("steplaw experts", 5.90436352e8, 2.0e10, 524_288),
    Target("stdlib standard", 221_184, 1.999872e6, 1024),
    Target("stdlib standard", 97_280, 3.999744e6, 1024),
    Target("stdlib µP", 395_264, 1.000448e6, 1024),
    Target("fantastic muon", 5.36870912e8, 1.073741824e10, None),
    Target("fantastic muon", 3.01989888e8, 2.4159e10, None),
)


@dataclass(frozen=True)
class Contest:
    """One target in one world."""

    target: Target
    emulator: Emulator
    seed: int

    @cached_property
    def world(self) -> World:
        """The truth."""
        return self.emulator.world(self.seed)

    @property
    def group(self) -> str:
        """Of recipes, whose targets are not independent."""
        return self.emulator.group

    @cached_property
    def horizon(self) -> Horizon:
        """The target run."""
        batch = self.target.batch_tokens
        return Horizon(params=self.target.params, tokens=self.target.tokens, batch_tokens=batch)

    @property
    def rates(self) -> tuple[float, float]:
        """Lowest and highest rate of the sweep."""
        log_rates = self.emulator.rows.inputs[:, 0]
        return math.exp(log_rates.min()), math.exp(log_rates.max())

    @cached_property
    def guess(self) -> float:
        """What somebody takes for the best rate, another for each target, kept inside the rates."""
        return guessed(self.truth["optimum"], self.target.name, self.seed, self.rates)

    @cached_property
    def space(self) -> SearchSpace:
        """The runs on offer, as our tuner is told."""
        units = self.emulator.units
        smallest = units.params * math.exp(self.emulator.rows.inputs[:, 1].min())
        smallest = min(smallest, LARGEST * self.target.params)
        shortest = CHEAPEST * self.target.params * self.target.tokens / smallest
        known = units.tokens * math.exp(self.emulator.rows.inputs[:, 2].min())
        shortest = min(max(shortest, known / BEYOND), LARGEST * self.target.tokens)
        sizes = _geometric(smallest, LARGEST * self.target.params, SIZE_OCTAVES)
        return SearchSpace(
            learning_rate=self.rates,
            scales=[Scale(params=size) for size in sizes],
            tokens=(shortest, LARGEST * self.target.tokens),
        )

    def study(self, budget: float) -> Study:
        """The empty study; nothing learnt from the sweep or its relatives gets a say."""
        return Study(
            optimizer=self.emulator.optimizer,
            parametrization=self.emulator.parametrization,
            experts=self.emulator.experts,
            target=self.horizon,
            space=self.space,
            budget=budget * self.horizon.flops,
            prior_center=self.guess,
            seed=self.seed,
            excluded_data=self.emulator.data,
        )

    def job(self, budget: float) -> Job:
        """The same for rivals: a lattice through the guess, and leave to run what lies between."""
        return Job(
            target=self.horizon,
            points=offered(self.space, self.guess, self.target.batch_tokens),
            budget=budget * self.horizon.flops,
            prior_center=self.guess,
            divergence_loss=_PENALTY * self._worst,
            seed=self.seed,
            between=True,
        )

    def made(self, study: Study, asked: Point) -> Trial | None:
        """The run that was asked for, kept inside what is on offer and can be paid."""
        space = self.space
        assert isinstance(space.tokens, tuple)
        low, high = space.learning_rate
        sizes = [scale.params for scale in space.scales]
        params = min(max(asked.params, sizes[0]), sizes[-1])
        tokens = min(max(asked.tokens, space.tokens[0]), space.tokens[1])
        tokens = min(tokens, study.affordable / training_flops(params, 1.0))
        if tokens < space.tokens[0] * (1 - 1e-9):
            return None
        rate = min(max(asked.learning_rate, low), high)
        batch = self.target.batch_tokens
        place = (rate, params, tokens, batch)
        repeat = sum(
            (t.learning_rate, t.params, t.tokens, t.batch_tokens) == place for t in study.trials
        )
        loss = self.world.run(*place, repeat)
        run = LoggedRun(
            learning_rate=rate,
            params=params,
            tokens=tokens,
            batch_tokens=batch,
            loss=loss,
            diverged=loss is None,
        )
        return study.trial_from(run, trial_id=len(study.trials), charged=True)

    @cached_property
    def _worst(self) -> float:
        """Expected loss of the cheapest run's worst rate."""
        space = self.space
        assert isinstance(space.tokens, tuple)
        cell = (space.scales[0].params, space.tokens[0], self.target.batch_tokens)
        return float(self.world.curve(self.rates, *cell)[1].max())

    @cached_property
    def truth(self) -> Mapping[str, Any]:
        """Excess loss over rates at the target, without noise."""
        cell = (self.target.params, self.target.tokens, self.target.batch_tokens)
        log_rates, losses = self.world.curve(self.rates, *cell)
        inputs = self.world.inputs([math.exp(log_rates[losses.argmin()])], *cell)
        slope = self.emulator.units.loss * self.emulator.law.tokens_buy(inputs)[0]
        return {
            "learning_rate": np.exp(log_rates).tolist(),
            "excess": (losses - losses.min()).tolist(),
            "optimum": math.exp(log_rates[losses.argmin()]),
            "minimum": float(losses.min()),
            "loss_per_log_tokens": float(slope),
        }

    @cached_property
    def case(self) -> Case:
        """What `evaluation.score` scores against."""
        return case_of(self.target.name, self.target.params, self.target.tokens, self.truth)


def guessed(optimum: float, name: str, seed: int, rates: tuple[float, float]) -> float:
    """What somebody takes for a target's best rate in one race, kept inside the rates."""
    drawn = np.random.default_rng([seed, zlib.crc32(name.encode())])
    error = GUESS_SD * drawn.standard_normal()
    return float(np.clip(optimum * math.exp(error), *rates))


def case_of(name: str, params: float, tokens: float, truth: Mapping[str, Any]) -> Case:
    """What `evaluation.score` scores the races of a target against."""
    return Case(name=name, sweep="", target_params=params, target_tokens=tokens, truth=truth)


def offered(
    space: SearchSpace, guess: float | None, batch_tokens: float | None
) -> tuple[Point, ...]:
    """A lattice of runs for those who list them: sizes, lengths, and rates through the guess."""
    assert isinstance(space.tokens, tuple)
    low, high = space.learning_rate
    center = guess or math.sqrt(low * high)
    steps = [math.log2(end / center) / RATE_OCTAVES for end in (low, high)]
    first, last = math.ceil(steps[0] - 1e-9), math.floor(steps[1] + 1e-9)
    rates = [center * 2 ** (RATE_OCTAVES * k) for k in range(first, last + 1)]
    return tuple(
        Point(
            learning_rate=rate,
            params=scale.params,
            tokens=tokens,
            batch_tokens=batch_tokens,
            flops=scale.flops(tokens),
        )
        for scale in space.scales
        for tokens in _geometric(*space.tokens, TOKEN_OCTAVES)
        for rate in rates
    )


def _geometric(low: float, high: float, octaves: float) -> list[float]:
    """Values from low to high, about that many octaves apart."""
    count = max(1, round(math.log2(high / low) / octaves)) if high > low else 0
    return [low * (high / low) ** (k / max(1, count)) for k in range(count + 1)]
