"""Protocol: what is a rival told, and what must it answer?

A rival is a mutable object made for one replay: it proposes runs, is told their losses, and names a
rate for the target. It may propose any point; the harness makes the nearest row that is affordable
and was not bought before, and tells the rival what was really run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

from horizon_bo.study.horizons import Horizon, training_flops

#: The inputs of a run, in the order of every vector here.
INPUTS = ("learning_rate", "params", "tokens", "batch_tokens")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run that could be made; `batch_tokens` is `None` where the sweep does not say."""

    learning_rate: float
    params: float
    tokens: float
    batch_tokens: float | None = None
    flops: float | None = None

    @property
    def cost(self) -> float:
        """Training FLOPs, `6 · params · tokens` unless measured."""
        return training_flops(self.params, self.tokens, self.flops)

    @property
    def cell(self) -> tuple[float, float, float | None]:
        """Everything but the rate."""
        return (self.params, self.tokens, self.batch_tokens)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is known before the first run, the same for every rival.

    Args:
        target: The run the rate is wanted for; it is never made.
        points: All runs that could be made.
        budget: Training FLOPs that may be spent in all.
        prior_center: A guess of the best rate at the target; `None`: there is none.
        divergence_loss: The loss a user would report for a diverged run: worse than all others.
        seed: Seed of every random choice.
        between: Whether any rate, size and tokens between the points may be run, too.
    """

    target: Horizon
    points: tuple[Point, ...]
    budget: float
    prior_center: float | None
    divergence_loss: float
    seed: int
    between: bool = False

    @cached_property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Lowest and highest value of each input that varies over the points."""
        ranges = {}
        for name in INPUTS:
            values = [value for point in self.points if (value := getattr(point, name)) is not None]
            if values and min(values) < max(values):
                ranges[name] = (min(values), max(values))
        return MappingProxyType(ranges)

    @property
    def center(self) -> float:
        """The guess kept inside the range of rates, or the middle of that range without a guess."""
        low, high = self.ranges["learning_rate"]
        return min(max(self.prior_center or math.sqrt(low * high), low), high)

    def vector(self, point: Point) -> list[float]:
        """Place of a run in the unit cube of the inputs that vary, logs scaled by their ranges."""
        return [self.unit(name, getattr(point, name)) for name in self.ranges]

    def unit(self, name: str, value: float) -> float:
        """One input as a share of its range in logs; the target's may lie above 1."""
        low, high = self.ranges[name]
        return math.log(value / low) / math.log(high / low)

    def point(self, vector: Sequence[float]) -> Point:
        """The run at a place of the unit cube; inputs that do not vary are those of the points."""
        values = {name: getattr(self.points[0], name) for name in INPUTS}
        for name, share in zip(self.ranges, vector, strict=True):
            low, high = self.ranges[name]
            values[name] = low * (high / low) ** share
        return Point(**values)

    @property
    def target_vector(self) -> list[float]:
        """Place of the target in the same cube, without its rate: one entry per later input."""
        return [
            self.unit(name, getattr(self.target, name))
            for name in self.ranges
            if name != "learning_rate"
        ]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A rate for the target, and the 90 % interval of the best rate where the rival has one."""

    learning_rate: float
    interval_90: tuple[float, float] | None = None


class Rival(Protocol):
    """One way to choose runs and to read them, in the middle of a replay."""

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """A run to make, of the points still affordable or any other; `None` ends the replay."""
        ...

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Learn of a run that was made; a diverged one comes with `Job.divergence_loss`."""
        ...

    def recommend(self) -> Answer:
        """The rate to use at the target; before the first run `Job.center`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A rival on the list of the benchmark.

    Args:
        name: Its label in results.
        make: Builds it for a job; imports its library when called.
        needs: Distributions that must be installed, empty for the core environment.
        given: In a sentence or two, its set-up and what it was told.
        uses_center: Whether `Job.prior_center` changes what it does; one centre is replayed if not.
        slow: Whether a suggestion takes many seconds, so that it is replayed on fewer cases.
        in_sample: Sweeps (file stems) whose runs the rule was fitted to.
    """

    name: str
    make: Callable[[Job], Rival]
    given: str
    needs: tuple[str, ...] = ()
    uses_center: bool = True
    slow: bool = False
    in_sample: tuple[str, ...] = ()


def best_at_largest(runs: Sequence[tuple[Point, float]], center: float) -> Answer:
    """The rate of the lowest loss among the dearest cell that was tried at three rates or more.

    This is what a user of a tuner without a target does. With fewer runs it is the best of all.
    """
    if not runs:
        return Answer(learning_rate=center)
    cells: dict[tuple[float, float, float | None], list[tuple[Point, float]]] = {}
    for point, loss in runs:
        cells.setdefault(point.cell, []).append((point, loss))
    tried = [held for held in cells.values() if len({p.learning_rate for p, _ in held}) >= 3]
    held = max(tried, key=lambda held: held[0][0].cost) if tried else list(runs)
    return Answer(learning_rate=min(held, key=lambda run: run[1])[0].learning_rate)
