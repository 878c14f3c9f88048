"""Searches: how does a library that looks for the lowest loss in a box become a rival?

Such a library knows no target. Three jobs can be given to it, and all three recommend as its users
do, by the best rate at the dearest cell:

- `AtProxy`: tune the rate alone at one affordable cell;
- `Joint`: search rate, size, length and batch together, no run taking a third of the budget;
- `OnLadder`: tune the rate with the length as the fidelity, at one size.
"""

import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from benchmarks.rivals.protocol import INPUTS, Answer, Job, Point, best_at_largest
from benchmarks.rivals.proxy import (
    Ladder,
    ladder,
    most_expensive_run,
    nearest_rate,
    proxy_cell,
    runs_up_to,
)

#: What `Entry.given` says of the three jobs.
AT_PROXY = "Rate tuned at the dearest cell of which the budget buys 12 runs, and reused."
JOINT = "Rate, size, tokens and batch searched in logs, no run above a third of the budget."
ON_LADDER = (
    "Rate tuned at one size with tokens as the fidelity, up to the dearest cell of which the "
    "budget buys 6 runs; the best rate there."
)

#: Lowest and highest value of each input that is searched, in the input's unit.
Ranges = Mapping[str, tuple[float, float]]

#: Answers from rows bought before that one suggestion may take before the replay ends.
_MOST_REPEATS = 50


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and remarks of a library and of what it is built on."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def seed_globally(seed: int) -> None:
    """Seed the generators of the process, for libraries that draw from them."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


class Search(Protocol):
    """A library's loop of ask and tell over a box of positive inputs, all in logs."""

    def ask(self) -> Mapping[str, float]:
        """A place in the box, one value per input."""
        ...

    def tell(
        self, inputs: Mapping[str, float], loss: float, *, cost: float, diverged: bool
    ) -> None:
        """The outcome of the place asked last, which was really run at `inputs`.

        A diverged run comes with `Job.divergence_loss`; `cost` is in FLOPs.
        """
        ...


MakeSearch = Callable[[Job, Ranges], Search]


class AtProxy:
    """The rate is tuned at the proxy cell and reused at the target."""

    def __init__(self, job: Job, make: MakeSearch) -> None:
        self._job = job
        self._cell = proxy_cell(job)[0].cell
        self._search = make(job, {"learning_rate": job.ranges["learning_rate"]})
        self._runs: list[tuple[Point, float]] = []

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """The row of the proxy cell nearest to what the library asks; `None` once it is used up."""
        left = [point for point in affordable if point.cell == self._cell]
        if not left:
            return None
        rate = self._search.ask()["learning_rate"]
        return (
            replace(left[0], learning_rate=rate) if self._job.between else nearest_rate(left, rate)
        )

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Tell the library the rate that was really run."""
        inputs = {"learning_rate": point.learning_rate}
        self._search.tell(inputs, loss, cost=point.cost, diverged=diverged)
        if not diverged:
            self._runs.append((point, loss))

    def recommend(self) -> Answer:
        """The best rate of the proxy cell."""
        return best_at_largest(self._runs, self._job.center)


class Joint:
    """Every input that varies over the points is searched, dear runs excluded."""

    def __init__(self, job: Job, make: MakeSearch) -> None:
        self._job = job
        self._allowed = runs_up_to(job, most_expensive_run(job))
        self._ranges = replace(job, points=self._allowed).ranges
        self._search = make(job, self._ranges)
        self._runs: list[tuple[Point, float]] = []

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """The row nearest to what the library asks, of those not too dear; `None` without any."""
        allowed = set(self._allowed)
        left = [point for point in affordable if point in allowed]
        if not left:
            return None
        held = {name: getattr(self._allowed[0], name) for name in INPUTS}
        proposal = Point(**{**held, **self._search.ask()})
        if self._job.between and proposal.cost <= max(point.cost for point in left):
            return proposal
        asked = self._job.vector(proposal)
        return min(left, key=lambda point: math.dist(asked, self._job.vector(point)))

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Tell the library the run that was really made."""
        inputs = {name: getattr(point, name) for name in self._ranges}
        self._search.tell(inputs, loss, cost=point.cost, diverged=diverged)
        if not diverged:
            self._runs.append((point, loss))

    def recommend(self) -> Answer:
        """The best rate of the dearest cell that was tried at three rates."""
        return best_at_largest(self._runs, self._job.center)


class OnLadder:
    """The rate is tuned with training tokens as the fidelity; the longest cell counts."""

    def __init__(self, job: Job, make: MakeSearch) -> None:
        self._job = job
        self._ladder: Ladder = ladder(job)
        ranges = {"learning_rate": job.ranges["learning_rate"], "tokens": self._ladder.tokens}
        self._search = make(job, ranges)
        self._left = job.budget
        self._asked: Mapping[str, float] = {}
        self._runs: list[tuple[Point, float, bool]] = []

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """The row of the asked rung nearest to the asked rate.

        Of a rung that is used up the library is told the nearest run already made; a rung that the
        rest of the budget does not buy ends the replay.
        """
        for _ in range(_MOST_REPEATS):
            self._asked = self._search.ask()
            rung = self._ladder.rung(self._asked["tokens"])
            left = [point for point in affordable if point.cell == rung[0].cell]
            if left and self._job.between:
                return replace(left[0], learning_rate=self._asked["learning_rate"])
            if left:
                return nearest_rate(left, self._asked["learning_rate"])
            if not any(point.cell == rung[0].cell for point, _, _ in self._runs):
                return None
            if rung[0].cost > self._left:
                return None
            self._repeat(rung[0])
        return None

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Tell the library the rate that was really run, at the rung it asked for."""
        self._left -= point.cost
        self._runs.append((point, loss, diverged))
        inputs = {"learning_rate": point.learning_rate, "tokens": self._asked["tokens"]}
        self._search.tell(inputs, loss, cost=point.cost, diverged=diverged)

    def recommend(self) -> Answer:
        """The best rate of the longest cell that was tried at three rates."""
        finished = [(point, loss) for point, loss, diverged in self._runs if not diverged]
        return best_at_largest(finished, self._job.center)

    def _repeat(self, rung: Point) -> None:
        made = [run for run in self._runs if run[0].cell == rung.cell]
        nearest = nearest_rate([run[0] for run in made], self._asked["learning_rate"])
        point, loss, diverged = next(run for run in made if run[0] is nearest)
        inputs = {"learning_rate": point.learning_rate, "tokens": self._asked["tokens"]}
        self._search.tell(inputs, loss, cost=point.cost, diverged=diverged)
