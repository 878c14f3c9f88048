"""Rivals keep to the protocol, whatever their libraries do; each runs where its library is."""

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.harness.methods import entries, missing
from benchmarks.rivals.protocol import Entry, Job, Point
from benchmarks.rivals.proxy import ladder, nearest_rate, proxy_cell
from benchmarks.rivals.searches import AtProxy, Joint, OnLadder
from horizon_bo.study.horizons import Horizon

TARGET = Horizon(params=1e9, tokens=2e10, batch_tokens=262_144)
RATES = np.geomspace(1e-4, 2.6e-2, 9)
POINTS = tuple(
    Point(learning_rate=float(rate), params=params, tokens=tokens, batch_tokens=batch)
    for params in (6e7, 1.2e8, 2.4e8)
    for tokens in (1e9, 3e9, 9e9)
    for batch in (131_072.0, 262_144.0)
    for rate in RATES
)
PENALTY = 5.0
#: Enough for a startup design and a few suggestions of the model, and quick enough for the slowest.
MOST_RUNS = 6


def loss_of(point: Point) -> float | None:
    """A law with its optimum at 3e-3 in the middle of the cells; `None` where the run diverges."""
    u = math.log(point.learning_rate / 3e-3) + 0.4 * math.log(point.params / 1.2e8)
    if u > 1.7:
        return None
    levels = 0.3 * (point.params / 1e9) ** -0.3 + 0.3 * (point.tokens / 2e10) ** -0.3
    return 1.6 + levels + 0.05 * u**2


def job(*, budget: float = 0.25, seed: int = 0, center: float | None = 1.5e-3) -> Job:
    """A job whose budget is in target runs."""
    return Job(
        target=TARGET,
        points=POINTS,
        budget=budget * TARGET.flops,
        prior_center=center,
        divergence_loss=PENALTY,
        seed=seed,
    )


def replayed(entry: Entry, given: Job) -> tuple[list[Point], list[float]]:
    """The proposals of a rival and its answers after each run, on the rows nearest to them."""
    rival = entry.make(given)
    left, rows = given.budget, list(given.points)
    asked, answers = [], [rival.recommend().learning_rate]
    while len(asked) < MOST_RUNS:
        affordable = [point for point in rows if point.cost <= left]
        proposal = rival.suggest(affordable) if affordable else None
        if proposal is None:
            break
        asked.append(proposal)
        place = given.vector(proposal)
        made = min(affordable, key=lambda point: math.dist(place, given.vector(point)))
        loss = loss_of(made)
        rival.observe(made, PENALTY if loss is None else loss, diverged=loss is None)
        answers.append(rival.recommend().learning_rate)
        rows.remove(made)
        left -= made.cost
    return asked, answers


def libraries() -> list[Any]:
    """Every rival that is built on a library which may be absent."""
    found = []
    for name, entry in entries().items():
        if entry.needs:
            lacking = ", ".join(missing(entry))
            mark = pytest.mark.skipif(bool(lacking), reason=f"{lacking} not installed here")
            slow = [pytest.mark.slow] if entry.slow else []
            found.append(pytest.param(entry, id=name, marks=[mark, *slow]))
    return found


LIBRARIES = libraries()


@pytest.mark.parametrize("entry", LIBRARIES)
def test_a_rival_proposes_runs_and_answers_inside_the_range_of_rates(entry: Entry):
    asked, answers = replayed(entry, job())
    low, high = job().ranges["learning_rate"]
    assert len(asked) >= 4
    for point in asked:
        assert low * 0.99 <= point.learning_rate <= high * 1.01
        assert point.cost <= job().budget
    assert all(low * 0.99 <= rate <= high * 1.01 for rate in answers)


@pytest.mark.parametrize("entry", LIBRARIES)
def test_the_same_seed_gives_the_same_proposals(entry: Entry):
    assert replayed(entry, job(seed=3)) == replayed(entry, job(seed=3))


@pytest.mark.parametrize("entry", LIBRARIES)
def test_a_rival_lives_through_runs_that_all_diverge(entry: Entry):
    given = job()
    rival = entry.make(given)
    rows = list(given.points)
    for _ in range(3):
        proposal = rival.suggest(rows)
        assert proposal is not None
        place = given.vector(proposal)
        made = min(rows, key=lambda point: math.dist(place, given.vector(point)))
        rival.observe(made, PENALTY, diverged=True)
        rows.remove(made)
    assert rival.recommend().learning_rate == given.center


class Recorder:
    """A search that asks what it is given and keeps what it is told."""

    def __init__(self, *asked: dict[str, float]) -> None:
        self.asked, self.told = list(asked), []

    def ask(self) -> dict[str, float]:
        """The next place of those given."""
        return self.asked.pop(0)

    def tell(self, inputs: dict[str, float], loss: float, *, cost: float, diverged: bool) -> None:
        """Keep it."""
        self.told.append((dict(inputs), loss))


def test_the_proxy_is_the_dearest_cell_that_the_budget_buys_a_dozen_times():
    given = job(budget=0.25)
    cell = proxy_cell(given)
    cheaper = [point for point in POINTS if 9 * point.cost <= given.budget]  # nine rates a cell
    assert cell[0].cost == max(point.cost for point in cheaper)
    assert cell[0].batch_tokens == TARGET.batch_tokens


def test_the_proxy_is_the_cheapest_cell_when_the_budget_buys_no_dozen():
    assert proxy_cell(job(budget=1e-4))[0].cell == (6e7, 1e9, 262_144.0)


def test_a_proxy_search_stays_in_its_cell_and_hears_of_the_rate_that_was_run():
    given = job()
    search = Recorder({"learning_rate": 2.2e-3}, {"learning_rate": 2.2e-3})
    rival = AtProxy(given, lambda job, ranges: search)
    cell = proxy_cell(given)
    first = rival.suggest(POINTS)
    assert first == nearest_rate(cell, 2.2e-3)
    rival.observe(first, 2.5, diverged=False)
    second = rival.suggest([point for point in POINTS if point != first])
    assert second.cell == first.cell
    assert second.learning_rate != first.learning_rate
    assert search.told == [({"learning_rate": first.learning_rate}, 2.5)]
    assert rival.suggest([point for point in POINTS if point.cell != first.cell]) is None


def test_a_joint_search_makes_no_run_above_a_third_of_the_budget():
    given = job(budget=0.03)
    corner = {"learning_rate": 1e-3, "params": 2.4e8, "tokens": 9e9, "batch_tokens": 262_144.0}
    proposal = Joint(given, lambda job, ranges: Recorder(corner)).suggest(POINTS)
    assert proposal.cost <= given.budget / 3


def test_a_rung_that_is_used_up_is_answered_from_its_nearest_run():
    given = job()
    rungs = ladder(given)
    top, bottom = rungs.tokens[1], rungs.rung(rungs.tokens[0])
    low = {"learning_rate": 1e-3, "tokens": rungs.tokens[0]}
    search = Recorder(low, low, {"learning_rate": 1e-3, "tokens": top})
    rival = OnLadder(given, lambda job, ranges: search)
    made = rival.suggest(POINTS)
    assert made.cell == bottom[0].cell
    rival.observe(made, 2.9, diverged=False)
    proposal = rival.suggest([point for point in POINTS if point.cell != made.cell])
    assert proposal.tokens == top
    assert search.told[1] == search.told[0]


def test_a_ladder_spans_one_to_two_halvings_at_one_size():
    rungs = ladder(job())
    low, high = rungs.tokens
    assert 3 <= high / low <= 9 * (1 + 1e-12)
    assert len({held[0].params for held in rungs.rungs}) == 1
    assert len(rungs.rungs) >= 2
