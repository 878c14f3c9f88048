"""Checks in replays: the rows of a rung above all runs, and verdicts counted against the truth."""

import json
import math
from dataclasses import replace
from pathlib import Path

from benchmarks.measurements.checks import nearest_rows, rung_above, studies, table
from benchmarks.report.standings import Replay
from horizon_bo.evaluation.cases import Case, load_problem
from tests.studies import pending_trial

#: A target of the sweep that ships, with its own row of truth.
CASE = Case(
    name="ships",
    sweep="stdlib_gpt.csv",
    target_params=221_184,
    target_tokens=1_999_872,
    batch_tokens=1024,
    max_params_ratio=0.5,
    max_tokens_ratio=0.5,
    recipe=("standard", "cosine", "none"),
)


def line(word: str, *, holds: bool, loses: float, case: str = "same-1", stop: str = "own") -> str:
    facts = {"word": word, "holds": holds, "loses": loses, "loses_after": 0.001}
    return json.dumps({"case": case, "stop": stop, **facts})


def test_a_verdict_is_counted_where_the_truth_says_that_it_matters(tmp_path: Path):
    path = tmp_path / "checks.jsonl"
    lines = [
        line("holds", holds=True, loses=0.002),
        line("tune again", holds=True, loses=0.02),
        line("widen", holds=False, loses=0.012),
        line("holds", holds=True, loses=0.003, stop="1 %"),
        line("tune again", holds=False, loses=0.05, case="steplaw-moe-1"),
    ]
    path.write_text("\n".join(lines))
    rows = [row.strip("| ").split(" | ") for row in table(path).splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["Step Law", "own"],
        ["Step Law", "1 %"],
        ["Step Law", "all"],
        ["its expert models", "own"],
        ["its expert models", "all"],
    ]
    own, every = rows[0], rows[2]
    assert own[2:8] == ["3", "1 / 1 / 1", "2", "1 (50%)", "2", "1 (50%)"]
    assert own[8] == "11.3 → 1.0 mnat"
    assert every[2:6] == ["4", "2 / 1 / 1", "3", "2 (67%)"]
    assert rows[3][6:8] == ["1", "1 (100%)"]


def test_the_rung_of_a_check_lies_above_all_rows_that_were_bought():
    problem = load_problem(CASE)
    cheapest = min(problem.pool, key=lambda trial: trial.flops)
    replayed = Replay(
        experiment="main",
        method="horizon",
        case="ships",
        center=5e-3,
        seed=0,
        budget=0.1,
        states=(
            {"step": 0, "row": None, "spent": 0.0, "stop": False},
            {"step": 1, "row": cheapest.row, "spent": 0.005, "stop": True},
        ),
    )
    ((stop, study),) = studies(problem, replayed)
    assert stop == "own"
    assert [trial.row for trial in study.trials] == [cheapest.row]
    rows = rung_above(CASE, study)
    assert {(row.params, row.tokens) for row in rows} != {(cheapest.params, cheapest.tokens)}
    assert all(0.25 <= row.flops / study.target.flops <= 0.5 for row in rows)
    assert all(row.batch_tokens == 1024 for row in rows)


def test_the_rows_nearest_to_a_rate_and_its_sides_are_checked():
    rows = [replace(pending_trial(k), learning_rate=2.0**-k) for k in range(4, 12)]
    octaves = lambda log_lr: [math.log2(r.learning_rate) for r in nearest_rows(rows, log_lr)]  # noqa: E731
    assert octaves(math.log(2.0**-7.2)) == [-8, -7, -6]
    assert octaves(0.0) == [-5, -4]
