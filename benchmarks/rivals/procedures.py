"""Procedures: how well does tuning by hand do, the way people do it today?

All of them run grids of learning rates in small cells and read a parabola in ln LR through each:

- `grid-law`: the cheapest cells in order of price, then a power law through the optima, read at the
  target. Source: the fitting paradigm as in Li et al. (2025), arXiv 2503.04715.
- `grid-law-spread`: the same in two or three cells, of all whose grids fit into the budget those
  that pin the law down best at the target.
- `token-horizon`: one cell, moved to the target by the joint law of Bjorck et al. (2025), arXiv
  2409.19913.
- `mutransfer`: one cell, its optimum reused unchanged. Source: Yang et al. (2021).
- `own-size`: one cell of the largest size on offer, as long as the budget pays, moved to the target
  by the same joint law.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from benchmarks.rivals.protocol import Answer, Entry, Job, Point, best_at_largest
from horizon_bo.published.fits.optimum import weighted_regression
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS, LearningRateLaw
from horizon_bo.published.transfer import transfer
from horizon_bo.study.horizons import Horizon

#: Rates of a grid are a factor of two apart, as people choose them.
LOG_SPACING = math.log(2)

#: Runs that a bowl takes where rates are freely chosen: two on either side of the best, and one
#: more where the guess was off.
BOWL_RUNS = 6

#: Two rates of a sweep that rounding has moved apart count as the wanted spacing still.
_SLACK = 0.9

#: What somebody who spreads grids expects: scatter of a cell's ln LR*, and size of the exponents.
OPTIMUM_SD, EXPONENT_SD = 0.2, 0.5

Cell = tuple[float, float, float | None]


@dataclass(frozen=True)
class Grid:
    """Rows of one cell at spaced rates, the one nearest to the guess first."""

    cell: Cell
    points: tuple[Point, ...]
    runs: int

    @property
    def cost(self) -> float:
        """Training FLOPs of the runs that will be made of it."""
        return sum(point.cost for point in self.points[: self.runs])

    @property
    def horizon(self) -> Horizon:
        """The cell as a horizon."""
        params, tokens, batch = self.cell
        return Horizon(params=params, tokens=tokens, batch_tokens=batch)


def grids(job: Job) -> list[Grid]:
    """A grid in every cell of the batch nearest to the target's, cheapest first."""
    batches = {point.batch_tokens for point in job.points}
    batch = min(
        batches, key=lambda b: abs(math.log((b or 1) / (job.target.batch_tokens or b or 1)))
    )
    cells: dict[Cell, list[Point]] = {}
    for point in job.points:
        if point.batch_tokens == batch:
            cells.setdefault(point.cell, []).append(point)
    found = []
    for cell, points in cells.items():
        spaced = _spaced(points, job.center)
        found.append(Grid(cell, spaced, BOWL_RUNS if job.between else len(spaced)))
    return sorted(found, key=lambda grid: grid.cost)


def _spaced(points: Sequence[Point], center: float) -> tuple[Point, ...]:
    """Points whose rates are a factor of two apart or more, going outwards from the guess."""
    away = lambda point: abs(math.log(point.learning_rate / center))  # noqa: E731
    kept: list[Point] = []
    for point in sorted(points, key=away):
        gaps = [abs(math.log(point.learning_rate / other.learning_rate)) for other in kept]
        if all(gap >= _SLACK * LOG_SPACING for gap in gaps):
            kept.append(point)
    return tuple(kept)


#: The grids to buy, in order.
Plan = Callable[[Job], Sequence[Grid]]

#: The target's rate, given the optima found so far: one (cell, rate) each.
Carry = Callable[[Job, Sequence[tuple[Horizon, float]]], float]


class Procedure:
    """Grids bought one after another, and a rule that carries their optima to the target."""

    def __init__(self, job: Job, plan: Plan, carry: Carry) -> None:
        self._job = job
        self._carry = carry
        self._planned = [point for grid in plan(job) for point in grid.points]
        self._runs: list[tuple[Point, float]] = []
        self._diverged: list[bool] = []

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """The next row of the plan that can be paid; `None` once there is none."""
        payable = set(affordable)
        while self._planned:
            point = self._planned.pop(0)
            if point in payable and not (self._job.between and self._bracketed(point)):
                return point
        return None

    def _bracketed(self, point: Point) -> bool:
        """Whether two rates lie between this one and the best of its cell already."""
        tried = [
            (failed, loss, run.learning_rate)
            for (run, loss), failed in zip(self._runs, self._diverged, strict=True)
            if run.cell == point.cell
        ]
        if not tried:
            return False
        best = min(tried)[2]
        low, high = sorted((best, point.learning_rate))
        return sum(low <= rate <= high and rate != best for _, _, rate in tried) >= 2

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Keep a run."""
        self._runs.append((point, loss))
        self._diverged.append(diverged)

    def recommend(self) -> Answer:
        """The optima carried to the target; without any, the best rate of the dearest cell."""
        optima = bowl_optima(self._runs, self._diverged)
        if not optima:
            return best_at_largest(self._runs, self._job.center)
        low, high = self._job.ranges["learning_rate"]
        rate = self._carry(self._job, optima)
        return Answer(learning_rate=min(max(rate, low), high))


def bowl_optima(
    runs: Sequence[tuple[Point, float]], diverged: Sequence[bool]
) -> list[tuple[Horizon, float]]:
    """Each cell's best rate, in the order of the cells, of those with rates on both sides of it.

    A diverged run counts as a rate on its side.
    """
    cells: dict[Cell, list[tuple[float, float, bool]]] = {}
    for (point, loss), failed in zip(runs, diverged, strict=True):
        row = (math.log(point.learning_rate), loss, failed)
        cells.setdefault(point.cell, []).append(row)
    optima = []
    for (params, tokens, _), rows in cells.items():
        log_rate = bowl_vertex(rows)
        if log_rate is not None:
            optima.append((Horizon(params=params, tokens=tokens), math.exp(log_rate)))
    return optima


def bowl_vertex(rows: Sequence[tuple[float, float, bool]]) -> float | None:
    """Vertex of the parabola through the lowest loss and the two rates on either side of it.

    It stays between the neighbours of the best rate; `None` where that is the last one tried.

    Args:
        rows: Ln of the rate, loss, and whether the run diverged, in any order.
    """
    rows = sorted(rows)
    best = min(range(len(rows)), key=lambda k: (rows[k][2], rows[k][1]))
    if best in (0, len(rows) - 1) or rows[best][2]:
        return None
    near = [row for row in rows[max(0, best - 2) : best + 3] if not row[2]]
    rate, loss = (np.array([row[k] for row in near]) for k in (0, 1))
    if len(near) < 3:
        return rows[best][0]
    bend, slope, _ = np.polyfit(rate - rows[best][0], loss, 2)
    if bend <= 0:
        return rows[best][0]
    vertex = rows[best][0] - slope / (2 * bend)
    return float(np.clip(vertex, rows[best - 1][0], rows[best + 1][0]))


def power_law(job: Job, optima: Sequence[tuple[Horizon, float]]) -> float:
    """The power law in size and tokens through the optima, at the target.

    Where they leave an exponent open, as a single cell does, it gets the smallest that fits.
    """
    log_rate = np.log([rate for _, rate in optima])
    x = _regressors(job, [horizon for horizon, _ in optima])
    return math.exp(weighted_regression(x, log_rate, np.ones((1, len(optima))))[0, 0])


def _regressors(job: Job, horizons: Sequence[Horizon]) -> np.ndarray:
    target = job.target
    size = [math.log(horizon.params / target.params) for horizon in horizons]
    length = [math.log(horizon.tokens / target.tokens) for horizon in horizons]
    return np.column_stack([np.ones(len(horizons)), size, length])


def unchanged(job: Job, optima: Sequence[tuple[Horizon, float]]) -> float:
    """The last optimum as it is."""
    return optima[-1][1]


def by_token_horizon(job: Job, optima: Sequence[tuple[Horizon, float]]) -> float:
    """The last optimum moved to the target's size and tokens."""
    horizon, rate = optima[-1]
    return transfer(rate, horizon, job.target, laws=("bjorck",)).learning_rate


def by_law(law: LearningRateLaw) -> Carry:
    """The last optimum moved by the ratio of a published law's rates there and at the target."""

    def carried(job: Job, optima: Sequence[tuple[Horizon, float]]) -> float:
        horizon, rate = optima[-1]
        return rate * law.learning_rate(job.target) / law.learning_rate(horizon)

    return carried


def spread(job: Job) -> Sequence[Grid]:
    """The two or three grids within the budget whose law has the least variance at the target.

    Falls back on the cheapest ones where two are too many.
    """
    candidates = grids(job)
    payable = [
        some
        for count in (2, 3)
        for some in combinations(candidates, count)
        if sum(grid.cost for grid in some) <= job.budget
    ]
    spreads = lambda some: law_variance(job, [grid.horizon for grid in some])  # noqa: E731
    return min(payable, key=spreads, default=candidates)


def law_variance(job: Job, horizons: Sequence[Horizon]) -> float:
    """Variance of ln LR* at the target by a power law through optima at these cells."""
    x = _regressors(job, horizons)
    free = np.diag([0.0, EXPONENT_SD**-2, EXPONENT_SD**-2])
    return float(np.linalg.solve(x.T @ x / OPTIMUM_SD**2 + free, np.eye(3)[0])[0])


def cheapest(job: Job) -> Sequence[Grid]:
    """The cheapest grid alone."""
    return grids(job)[:1]


def dearest(job: Job) -> Sequence[Grid]:
    """The dearest grid that the budget pays, or the cheapest one."""
    found = grids(job)
    return ([grid for grid in found if grid.cost <= job.budget] or found[:1])[-1:]


def longest_of_largest(job: Job) -> Sequence[Grid]:
    """The dearest grid of the largest size that the budget pays, or that size's cheapest one."""
    largest = max(point.params for point in job.points)
    found = [grid for grid in grids(job) if grid.horizon.params == largest]
    return ([grid for grid in found if grid.cost <= job.budget] or found[:1])[-1:]


def _entry(name: str, plan: Plan, carry: Carry, given: str) -> Entry:
    shared = "rates a factor of two apart around the guess, at the batch nearest to the target's"
    return Entry(
        name=name, make=lambda job: Procedure(job, plan, carry), given=f"{given}; {shared}"
    )


ENTRIES = (
    _entry("grid-law", grids, power_law, "Grids in the cheapest cells, a power law through optima"),
    _entry(
        "grid-law-spread",
        spread,
        power_law,
        "Grids in two or three cells, those within the budget that pin a power law down best",
    ),
    _entry("token-horizon", cheapest, by_token_horizon, "Cheapest cell's optimum, Bjorck's law"),
    _entry(
        "token-horizon-large",
        dearest,
        by_token_horizon,
        "Optimum of the dearest cell whose grid fits the budget, Bjorck's law",
    ),
    _entry(
        "deepseek-checked",
        dearest,
        by_law(LEARNING_RATE_LAWS["deepseek"]),
        "Optimum of the dearest cell whose grid fits the budget, moved by DeepSeek's law",
    ),
    _entry(
        "own-size",
        longest_of_largest,
        by_token_horizon,
        "Optimum of the largest size on offer, as long as the budget pays, Bjorck's law",
    ),
    _entry("mutransfer", cheapest, unchanged, "Cheapest cell's optimum reused"),
    _entry(
        "mutransfer-large",
        dearest,
        unchanged,
        "Optimum of the dearest cell whose grid fits the budget, reused",
    ),
)
