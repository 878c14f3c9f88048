"""Score: regret against the truth, calibration, and the state a budget is scored at."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from horizon_bo.errors import InvalidTableError
from horizon_bo.evaluation.cases import Case
from horizon_bo.evaluation.score import (
    ALL_CENTERS,
    AT_STOP,
    finished,
    group_of,
    hit_rate_range,
    outcome,
    score_rows,
    states_at,
    winkler,
)
from horizon_bo.evaluation.score_view import draw_scores, print_scores

TRUTH = {
    "learning_rate": [1e-3, 2e-3, 4e-3],
    "excess": [0.02, 0.0, 0.04],
    "optimum": 2e-3,
    "loss_per_log_tokens": 0.1,
}


def case_of(name: str = "same-1M", params: float = 1e6) -> Case:
    return Case(name=name, sweep="", target_params=params, target_tokens=1e9, truth=TRUTH)


def line(**changes) -> dict:
    given_ = {
        "case": "same-1M",
        "target_params": 1e6,
        "target_tokens": 1e9,
        "prior_center": 1e-3,
        "method": "horizon",
        "seed": 0,
        "budget": 0.1,
        "step": 0,
        "spent": 0.0,
        "learning_rate": 2e-3,
        "interval_50": [1.8e-3, 2.2e-3],
        "interval_90": [1e-3, 4e-3],
        "expected_regret": 0.01,
        "wall_s": 1.0,
        "stop": False,
        "final": True,
    }
    return {**given_, **changes}


@pytest.mark.parametrize(
    ("rate", "regret"),
    [
        (2e-3, 0.0),
        (math.sqrt(2) * 1e-3, 0.01),  # halfway in ln LR
        (math.sqrt(8) * 1e-3, 0.02),
        (1e-5, 0.02),  # clamped to the grid
        (1.0, 0.04),
    ],
)
def test_regret_is_interpolated_in_log_rate_and_clamped(rate, regret):
    scored = outcome(line(learning_rate=rate, spent=0.05), case_of())
    assert scored.regret == pytest.approx(regret, abs=1e-12)
    assert scored.overhead == pytest.approx(0.05 + regret / 0.1)
    assert scored.octaves == pytest.approx(abs(math.log2(rate / 2e-3)))


def test_an_interval_is_scored_in_octaves():
    scored = outcome(line(), case_of())
    assert (scored.hit_50, scored.hit_90) == (True, True)
    assert scored.width == pytest.approx(2.0)
    assert scored.interval_score == pytest.approx(2.0)
    missed = outcome(line(interval_90=[4e-3, 8e-3]), case_of())
    assert missed.hit_90 is False
    assert missed.interval_score == pytest.approx(1 + 20 * 1)


@given(st.floats(-20, 0), st.floats(0.01, 10), st.floats(-20, 0), st.floats(0.5, 0.99))
def test_the_interval_score_is_never_below_the_width(low, width, truth, level):
    score = winkler((2**low, 2 ** (low + width)), 2**truth, level)
    assert score >= width - 1e-9
    inside = low <= truth <= low + width
    assert (score <= width + 1e-9) == inside or abs(score - width) < 1e-6


def test_a_method_without_claims_is_scored_without_them():
    silent = line(interval_50=None, interval_90=None, expected_regret=None)
    (row, *_) = score_rows([silent], [case_of()])
    assert row["hit_90"] is row["width_90"] is row["claimed_ratio"] is row["hit_90_p"] is None
    assert row["regret_mean"] == 0.0


def test_the_score_at_a_budget_is_the_last_state_within_it():
    lines = [line(step=k, spent=0.02 * k, stop=k >= 2) for k in range(4)]
    assert [states_at(lines, budget)[0]["step"] for budget in (0, 0.01, 0.02, 0.05, 0.1)] == [
        0,
        0,
        1,
        2,
        3,
    ]
    assert states_at(lines, AT_STOP)[0]["step"] == 2
    assert states_at(lines[:2], AT_STOP)[0]["step"] == 1


def test_a_replay_that_was_cut_short_is_not_scored():
    ended = [line(step=0, final=False), line(step=1, final=True)]
    cut = [line(step=0, final=False, method="random")]
    assert finished([*ended, *cut]) == (ended, 1)
    bare = [{k: v for k, v in state.items() if k != "final"} for state in ended]
    assert finished(bare) == (bare, 0)


@pytest.mark.parametrize(
    ("name", "group"),
    [("same-1074M-20B", "same"), ("own-size-268M-80B", "own-size"), ("demo", "demo")],
)
def test_cases_are_grouped_by_the_words_before_their_sizes(name, group):
    assert group_of(name) == group


def test_rows_are_means_over_cases_and_over_centers():
    lines = [
        line(prior_center=center, learning_rate=rate)
        for center, rate in ((1e-3, 2e-3), (2e-3, 4e-3))
    ]
    rows = score_rows(lines, [case_of()])
    at_zero = {row["prior_center"]: row for row in rows if row["budget"] == 0.0}
    assert at_zero[1e-3]["regret_mean"] == 0.0
    assert at_zero[2e-3]["regret_mean"] == pytest.approx(40)
    assert at_zero[ALL_CENTERS]["regret_mean"] == pytest.approx(20)
    assert at_zero[ALL_CENTERS]["claimed_ratio"] == pytest.approx(0.02 / 0.04)
    assert {row["budget"] for row in rows} == {0.0, 0.01, 0.02, 0.05, 0.1, AT_STOP}


def outcomes_of(hits_by_cell: list[list[bool]]):
    interval = {True: [1e-3, 4e-3], False: [3e-3, 4e-3]}
    return [
        outcome(line(target_params=1e6 + cell, interval_90=interval[hit]), case_of())
        for cell, hits in enumerate(hits_by_cell)
        for hit in hits
    ]


def test_the_hit_rate_of_cells_that_miss_together_is_less_certain():
    apart = outcomes_of([[True] * 9 + [False]] * 10)
    together = outcomes_of([[True] * 10] * 9 + [[False] * 10])
    assert hit_rate_range(apart)[0] == pytest.approx(0.9)
    assert hit_rate_range(together)[0] < 0.8
    assert hit_rate_range(together)[2] > 0.5


def test_a_hit_rate_far_from_the_claim_is_significant():
    assert hit_rate_range(outcomes_of([[True, False]] * 40))[2] < 1e-3
    assert hit_rate_range(outcomes_of([[True] * 10] * 20))[2] < 1e-3


def test_a_few_replays_that_all_hit_prove_nothing():
    assert hit_rate_range(outcomes_of([[True] * 3] * 4))[2] > 0.01


def test_a_case_without_truth_or_name_is_named():
    with pytest.raises(InvalidTableError, match="'same-1M' is not among the cases"):
        score_rows([line()], [case_of("any-1M")])
    bare = Case(name="same-1M", sweep="", target_params=1e6, target_tokens=1e9)
    with pytest.raises(InvalidTableError, match="has no truth"):
        score_rows([line()], [bare])


def test_the_tables_and_the_figure_show_every_method(tmp_path):
    lines = [
        line(method=method, step=k, spent=0.03 * k, learning_rate=1e-3 * (1 + k / 4))
        for method in ("horizon", "random")
        for k in range(4)
    ]
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_scores(score_rows(lines, [case_of()]), console)
    text = console.export_text()
    console.file.close()
    for word in ("horizon", "random", "10 %", "at stop", "overhead", "hit 90"):
        assert word in text
    draw_scores(lines, [case_of()], tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_scores_are_json(tmp_path):
    for row in score_rows([line()], [case_of()]):
        assert np.isfinite(json.loads(json.dumps(row))["regret_mean"])
