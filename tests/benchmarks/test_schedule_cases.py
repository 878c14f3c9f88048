"""Cases of the horizon alone: the longest runs are hidden, and their truth is what they say."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.problems import worlds
from benchmarks.problems.schedule_cases import posed, truth
from horizon_bo.evaluation.cases import load_cases, load_problem


def test_the_truth_of_an_exact_cubic_is_that_cubic():
    rates = np.array([1e-4, 5e-4, 1e-3, 2e-3, 3e-3])
    u = np.log(rates / 1e-3)
    rows = pd.DataFrame({"learning_rate": rates, "tokens": 4e9, "loss": 3 + u**2 / 20 + u**3 / 99})
    shorter = pd.DataFrame({"learning_rate": [1e-3], "tokens": [2e9], "loss": [3.1]})
    found = truth(pd.concat([rows, shorter]), 4e9)
    assert found["optimum"] == pytest.approx(1e-3, rel=0.015)  # half a step of the grid
    assert found["minimum"] == pytest.approx(3.0, abs=1e-5)
    np.testing.assert_allclose(
        np.interp(u, np.log(np.array(found["learning_rate"]) / 1e-3), found["excess"]),
        u**2 / 20 + u**3 / 99,
        atol=1e-4,
    )
    assert found["loss_per_log_tokens"] == pytest.approx(0.1 / np.log(2), rel=1e-9)


def test_longer_cooldowns_want_higher_rates_and_hide_the_longest_runs(data_folder, tmp_path):
    worlds.write(tmp_path, list(posed(pd.read_csv(data_folder / "schedules.csv"))))
    cases = load_cases(tmp_path / "cases.json")
    assert [case.name for case in cases] == [
        f"schedule-wsd-linear-0.{tenths}" for tenths in (1, 2, 4, 6, 8, 9)
    ]
    optima = [case.truth["optimum"] for case in cases]
    assert optima == sorted(optima)
    assert 7e-4 < optima[0] < optima[-1] < 1.6e-3
    for case in cases:
        posing = load_problem(case, tmp_path)
        assert len(posing.pool) == 10
        assert max(trial.tokens for trial in posing.pool) < posing.target.tokens
        assert 0.05 < case.truth["loss_per_log_tokens"] < 0.15
