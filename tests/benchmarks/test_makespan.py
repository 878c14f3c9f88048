"""Makespan: runs at once take the time of the longest chain, and nobody sees the future."""

import pytest

from benchmarks.harness.race import race_of
from benchmarks.measurements.makespan import flown
from benchmarks.rivals.protocol import Answer, Entry
from horizon_bo.evaluation.cases import problem_on
from horizon_bo.evaluation.replay import METHODS, replay
from tests.benchmarks.test_race import CASE, runs


class CheapestFirst:
    """Asks for the cheapest row left and remembers what it knew each time it was asked."""

    def __init__(self, job):
        self.job, self.heard, self.known_when_asked = job, 0, []

    def suggest(self, affordable):
        """The cheapest row."""
        self.known_when_asked.append(self.heard)
        return min(affordable, key=lambda point: point.cost)

    def observe(self, point, loss, *, diverged):
        """Count it."""
        self.heard += 1

    def recommend(self):
        """The guess, whatever came."""
        return Answer(learning_rate=self.job.center)


def flight(slots: int):
    problem = problem_on(CASE, runs())
    study = problem.study(budget=0.3, prior_center=2e-3, seed=0)
    race = race_of(Entry(name="cheapest", make=CheapestFirst, given=""), problem, study)
    return race.rival, list(flown(problem, race.method, study, slots))


def test_one_slot_is_the_replay():
    problem = problem_on(CASE, runs())
    study = problem.study(budget=0.3, prior_center=2e-3, seed=0)
    one_by_one = list(replay(problem, METHODS["random"], study))
    one_slot = list(flown(problem, METHODS["random"], study, 1))
    same = ("step", "row", "learning_rate", "final")
    assert [[s[n] for n in same] for s in one_slot] == [[s[n] for n in same] for s in one_by_one]
    assert one_slot[-1]["clock"] == pytest.approx(one_by_one[-1]["spent"])


def test_runs_at_once_end_with_the_longest_of_them():
    rival, states = flight(16)
    # four runs of 1/32, then of 1/16 as far as the budget of 0.3 goes: two of them
    assert rival.known_when_asked == [0] * 6
    assert states[-1]["clock"] == pytest.approx(1 / 16)
    assert states[-1]["spent"] == pytest.approx(4 / 32 + 2 / 16)


def test_a_free_slot_is_filled_knowing_only_the_runs_that_ended():
    rival, states = flight(2)
    assert rival.known_when_asked == [0, 0, 1, 2, 3, 4]
    assert states[-1]["clock"] == pytest.approx(1 / 32 + 1 / 32 + 1 / 16)
