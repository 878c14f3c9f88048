"""Proxy: which cheap cell stands in for the target when a tool can only tune one training job?

A cell is a size, a length and a batch. People tune at the dearest cell they can run a dozen times
and reuse the rate; tools with a fidelity start shorter at the same size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.rivals.protocol import Job, Point

#: Runs that the budget must buy at a proxy: what tuners with one or two inputs are given.
PROXY_RUNS = 12
#: The same where most runs are shorter: two Hyperband brackets of three rungs cost about this.
LADDER_RUNS = 6
#: Runs that the budget must buy at the dearest cell of a joint search.
JOINT_RUNS = 3
#: A cell with fewer rates cannot be tuned.
FEWEST_RATES = 3
#: Hyperband's usual factor; ladders of more than two nearly always run their lowest rung.
HALVING = 3.0


def proxy_cell(job: Job, runs: int = PROXY_RUNS) -> tuple[Point, ...]:
    """The rows of the dearest cell of which the budget buys that many runs, else of the cheapest.

    A cell with fewer rows must be affordable whole. Of one size and length it is the cell whose
    batch is nearest the target's.
    """
    cells = _tunable_cells(job)
    paid = _paid(cells, job.budget, runs)
    return max(paid, key=_cost) if paid else min(cells, key=_cost)


@dataclass(frozen=True)
class Ladder:
    """Cells of one size and batch from short to long; the longest stands in for the target."""

    rungs: tuple[tuple[Point, ...], ...]

    @property
    def tokens(self) -> tuple[float, float]:
        """Shortest and longest fidelity, one to two halvings apart.

        A fidelity between two cells is run at the nearest, so the shortest need not exist.
        """
        lengths = [held[0].tokens for held in self.rungs]
        top = max(lengths)
        return (min(max(min(lengths), top / HALVING**2), top / HALVING), top)

    def rung(self, tokens: float) -> tuple[Point, ...]:
        """The rows of the cell whose length is nearest in logs."""
        return min(self.rungs, key=lambda held: abs(math.log(held[0].tokens / tokens)))


def ladder(job: Job) -> Ladder:
    """The dearest cell of which the budget buys a few runs, with the shorter ones of its size.

    Sizes with one length are left out where another has more. A budget too small for any ladder
    gets one of a single cell.
    """
    cells = _tunable_cells(job)
    shortest = {held[0].params: held[0].tokens for held in sorted(cells, key=_tokens, reverse=True)}
    above = [held for held in cells if held[0].tokens > shortest[held[0].params]]
    ladders = _paid(above, job.budget, LADDER_RUNS)
    top = (max(ladders, key=_cost) if ladders else proxy_cell(job, LADDER_RUNS))[0]
    same_size = [held for held in cells if held[0].params == top.params]
    return Ladder(tuple(held for held in same_size if held[0].tokens <= top.tokens))


def most_expensive_run(job: Job) -> float:
    """FLOPs that a user lets one run of a joint search take, so that the budget buys a few."""
    return max(job.budget / JOINT_RUNS, proxy_cell(job, JOINT_RUNS)[0].cost)


def runs_up_to(job: Job, flops: float) -> tuple[Point, ...]:
    """The rows that cost no more."""
    return tuple(point for point in job.points if point.cost <= flops)


def nearest_rate(points: Sequence[Point], learning_rate: float) -> Point:
    """The row whose rate is nearest in logs; the first of equals."""
    return min(points, key=lambda point: abs(math.log(point.learning_rate / learning_rate)))


def _paid(cells: Sequence[tuple[Point, ...]], budget: float, runs: int) -> list[tuple[Point, ...]]:
    """The cells of which a budget buys that many runs, or every row."""
    return [held for held in cells if min(runs, len(held)) * held[0].cost <= budget]


def _cost(held: tuple[Point, ...]) -> float:
    return held[0].cost


def _tokens(held: tuple[Point, ...]) -> float:
    return held[0].tokens


def _tunable_cells(job: Job) -> list[tuple[Point, ...]]:
    """The rows of every cell with enough rates, at the batch nearest the target's."""
    cells: dict[tuple[float, float, float | None], list[Point]] = {}
    for point in job.points:
        cells.setdefault(point.cell, []).append(point)
    enough = [c for c in cells.values() if len({p.learning_rate for p in c}) >= FEWEST_RATES]
    nearest: dict[tuple[float, float], tuple[Point, ...]] = {}
    for held in sorted(enough or cells.values(), key=lambda held: _batch_distance(job, held[0])):
        nearest.setdefault((held[0].params, held[0].tokens), tuple(held))
    return list(nearest.values())


def _batch_distance(job: Job, point: Point) -> float:
    if point.batch_tokens is None or job.target.batch_tokens is None:
        return 0.0
    return abs(math.log(point.batch_tokens / job.target.batch_tokens))
