"""Crowd view: what is drawn and printed is what the lines say."""

import numpy as np
import pytest

from benchmarks.report.crowd_view import at_hours, crowds, simulations, table


def run(workers: int, seed: int, *states: tuple[float, float]) -> list[dict]:
    """A simulation by hours and regret."""
    return [
        {
            "case": "c",
            "workers": workers,
            "seed": seed,
            "clock_h": clock,
            "busy_h": 2 * clock,
            "ended": k,
            "spent": 0.01 * k,
            "regret": regret,
            "overhead": 0.01 * k + regret,
        }
        for k, (clock, regret) in enumerate(states)
    ]


def test_the_latest_answer_counts_at_each_hour():
    runs = [run(1, 0, (0, 0.004), (2, 0.002)), run(1, 1, (0, 0.006), (1, 0.000))]
    means = at_hours(runs, np.array([0.0, 1.0, 1.9, 2.0, 9.0]), "regret")
    assert means == pytest.approx([0.005, 0.002, 0.002, 0.001, 0.001])


def test_the_table_holds_the_means_at_the_end_few_workers_first():
    runs = [
        run(1000, 0, (0, 0.004), (2, 0.003)),
        run(4, 0, (0, 0.004), (3, 0.002)),
        run(4, 1, (0, 0.004), (5, 0.001)),
    ]
    assert list(crowds(runs)) == [4, 1000]
    _, _, few, many = table(runs).splitlines()
    assert few == "| 4 | 4.0 | 8.0 | 1.0 | 1.0% | 1.5 | 1.1% |"
    assert many == "| 1,000 | 2.0 | 4.0 | 1.0 | 1.0% | 3.0 | 1.3% |"


def test_the_kept_simulations_are_whole_and_of_every_crowd():
    runs = simulations()
    assert all(run[-1]["final"] and not any(state["final"] for state in run[:-1]) for run in runs)
    assert list(crowds(runs)) == [1, 4, 16, 64, 256, 1000]
    assert len({len(part) for part in crowds(runs).values()}) == 1
