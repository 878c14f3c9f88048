"""Backtest: which cells are hidden, what is said of each, and how sure the verdict is."""

import json
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from horizon_bo import Horizon, LoggedRun
from horizon_bo.cli.app import app
from horizon_bo.core.inference import study_expectation
from horizon_bo.errors import InvalidSpaceError, InvalidTableError
from horizon_bo.evaluation.backtest import (
    NO_RUN,
    OWN_PRIOR,
    STARTS,
    Backtest,
    backtest,
)
from horizon_bo.evaluation.backtest_view import draw_backtest, print_backtest, records
from horizon_bo.evaluation.cases import load_problem
from horizon_bo.evaluation.hiding import Terms, hidden_cells, pool_ratio
from horizon_bo.evaluation.replay import METHODS, replay
from horizon_bo.evaluation.replays import read_lines
from horizon_bo.evaluation.verdict import verdict
from tests.worlds import PlainWorld

WORLD = PlainWorld(target=Horizon(params=1e9, tokens=2e10))
SIZES, LENGTHS = (6e7, 2.5e8, 1e9), (2e9, 6e9, 2e10)
OCTAVES = range(-4, 5)
TERMS = Terms(cells=4, budget=0.1, params_ratio=0.5, tokens_ratio=0.5)
HALF_OCTAVE = 0.5 * math.log(2)


def world_runs(octaves: Sequence[int] = OCTAVES, **changes) -> list[LoggedRun]:
    runs = WORLD.sweep([(n, d) for n in SIZES for d in LENGTHS], octaves)
    return [replace(run, batch_tokens=262_144.0, **changes) for run in runs]


def hiding_of(runs: Sequence[LoggedRun], **terms):
    return hidden_cells(Path("sweep.csv"), runs, replace(TERMS, **terms))


def call(line: str) -> Result:
    return CliRunner().invoke(app, shlex.split(line))


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("backtest") / "out.jsonl"


@pytest.fixture(scope="module")
def table(lines) -> Path:
    path = lines.with_name("sweep.csv")
    rows = [
        {name: getattr(run, name) for name in ("learning_rate", "params", "tokens", "loss")}
        for run in world_runs()
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def result(table, lines) -> Backtest:
    """One hidden cell and few runs, which takes seconds."""
    return backtest(table, cells=1, budget=0.02, out=lines)


def test_the_largest_cells_are_hidden_and_their_best_rates_known():
    hiding = hiding_of(world_runs())
    places = [cell.place for cell in hiding.cells]
    assert places == [(1e9, 2e10), (1e9, 6e9), (2.5e8, 2e10)]
    for cell in hiding.cells:
        gap = math.log(cell.truth["optimum"]) - WORLD.log_optimum_at(*cell.place)
        # the spread is of one standard deviation, and the noise of these runs has one seed
        assert abs(gap) < 3 * cell.truth["optimum_log_sd"] < 3 * HALF_OCTAVE


def test_a_hidden_cell_is_as_far_from_its_pool_as_said():
    (cell,) = hiding_of(world_runs(), cells=1).cells
    assert (cell.params_ratio, cell.tokens_ratio) == pytest.approx((4, 20 / 6))
    assert cell.compute_ratio == pytest.approx(4 * 20 / 6)
    (near,) = hiding_of(world_runs(), cells=1, params_ratio=1.0).cells
    assert (near.params_ratio, near.tokens_ratio) == pytest.approx((1, 20 / 6))
    # a run of the hidden size and 6e9 tokens costs 30 % of a target run: too dear
    assert near.compute_ratio == pytest.approx(10)


def test_what_tokens_buy_comes_from_the_sweep_itself():
    (cell,) = hiding_of(world_runs(), cells=1).cells
    # the world's level is 0.25 (D/D*)^-0.3 at the target
    assert cell.truth["loss_per_log_tokens"] == pytest.approx(0.3 * 0.25, rel=0.15)
    assert not cell.one_length


def test_of_one_size_and_length_only_the_batch_and_recipe_with_most_runs_is_hidden():
    others = [r for r in world_runs(source="old") if r.learning_rate < 5e-3]
    hiding = hiding_of([*others, *world_runs(source="new")], cells=2)
    assert [cell.case.recipe for cell in hiding.cells] == [("new", "cosine", "none")] * 2
    assert hiding.unused == (
        "1 more of a size and length that are hidden, at another batch or recipe",
    )


def test_the_pool_holds_the_recipe_and_batch_of_the_hidden_cell_alone(tmp_path):
    runs = [*world_runs(source="new"), *world_runs(source="old", schedule="wsd")]
    pd.DataFrame([run.__dict__ for run in runs]).to_csv(tmp_path / "sweep.csv", index=False)
    (cell,) = hidden_cells(tmp_path / "sweep.csv", runs, replace(TERMS, cells=1)).cells
    pool = load_problem(cell.case).pool
    assert len(pool) == 4 * len(OCTAVES)
    assert {(trial.source, trial.schedule) for trial in pool} == {("new", "cosine")}


def without(params: float, keep: Sequence[int]) -> list[LoggedRun]:
    """The sweep, with only some rates (by their place among all) left at one size."""
    rates = sorted({run.learning_rate for run in world_runs()})
    kept = {rates[position] for position in keep}
    return [r for r in world_runs() if r.params != params or r.learning_rate in kept]


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (without(1e9, range(4)), "rates that trained: 4, expected 5"),
        (without(1e9, range(4, 9)), "rates below its best one: [01], above: [45]"),
        (without(1e9, range(5)), "rates below its best one: [45], above: [01]"),
    ],
)
def test_a_cell_without_enough_rates_about_its_best_one_says_so(runs, reason):
    hiding = hiding_of(runs, cells=3)
    assert (1e9, 2e10) not in [cell.place for cell in hiding.cells]
    assert re.search(
        f"1e.09 params x 2e.10 tokens, batch 262144, cosine: {reason}", hiding.unused[0]
    )


def test_a_cell_whose_best_rate_is_drowned_in_noise_is_not_hidden():
    noisy = replace(WORLD, noise=0.15).sweep([(n, d) for n in SIZES for d in LENGTHS], OCTAVES)
    with pytest.raises(InvalidSpaceError, match=r"octaves only, expected 0\.5"):
        hiding_of(noisy, cells=9)


def test_a_cell_without_smaller_runs_is_not_hidden():
    hiding = hiding_of(world_runs(), cells=9)
    assert (6e7, 2e10) not in [cell.place for cell in hiding.cells]
    assert any("affordable runs of at most 0.5 of its size" in line for line in hiding.unused)


def test_a_cell_whose_cheapest_runs_would_eat_the_budget_is_not_hidden():
    # three runs of 6e7 params on 2e9 tokens cost 1.8 % of the largest cell, more of the others
    (cell,) = hiding_of(world_runs(), budget=0.019).cells
    assert cell.place == (1e9, 2e10)
    with pytest.raises(InvalidSpaceError, match=r"3 cheapest runs to buy cost 1\.8 % of it"):
        hiding_of(world_runs(), budget=0.017)


def test_diverged_rates_are_no_evidence_of_a_bowl():
    runs = [
        replace(run, loss=None, diverged=True) if run.learning_rate > 4e-4 else run
        for run in world_runs()
    ]
    with pytest.raises(InvalidSpaceError, match=r"rates that trained: 3|2, expected 5"):
        hiding_of(runs)


def test_a_sweep_of_one_cell_cannot_be_backtested():
    one = [run for run in world_runs() if (run.params, run.tokens) == (1e9, 2e10)]
    with pytest.raises(InvalidSpaceError, match=r"has 1 cells of which none .*: 0, expected 5"):
        backtest(one)


@pytest.mark.parametrize(
    ("given", "planned", "ratio"),
    [(None, None, 0.5), (None, 4.0, 0.25), (None, 0.5, 1.0), (0.3, 4.0, 0.3)],
)
def test_the_ratio_is_the_given_one_or_the_planned_targets_or_a_half(given, planned, ratio):
    assert pool_ratio(given, "params_ratio", planned) == ratio


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"params_ratio": 2}, "params_ratio is 2, expected at most 1"),
        ({"tokens_ratio": 0}, "tokens_ratio is 0, expected"),
        ({"target_params": -1}, "target_params is -1, expected"),
        ({"budget": math.nan}, "budget is nan, expected"),
        ({"cells": 0}, "cells is 0, expected at least 1"),
    ],
)
def test_terms_that_make_no_sense_are_named(given, message):
    with pytest.raises(InvalidSpaceError, match=message):
        backtest(world_runs(), **given)


def test_every_cell_is_replayed_from_every_start_within_the_budget(result):
    ours = result.of("horizon")
    assert [score.start for score in ours] == list(STARTS)
    assert all(0 < score.outcome.spent <= 0.02 + 1e-9 and score.runs > 0 for score in ours)
    assert len(result.of("random")) == 3


def test_guesses_are_three_times_off_the_best_rate(result):
    for start, factor in STARTS.items():
        (before,) = result.of(NO_RUN, start)
        assert before.runs == 0
        if factor is not None:
            guess = {"prior_center": factor * before.best_rate}
            study = load_problem(result.cells[0].case).study(budget=0.02, seed=0, **guess)
            expected = math.exp(study_expectation(study)[0].log_lr)
            assert before.learning_rate == pytest.approx(expected, rel=1e-5)


def test_no_run_is_what_the_method_zero_says(result):
    problem = load_problem(result.cells[0].case)
    study = problem.study(budget=0.02, prior_center=None, seed=0)
    (state,) = replay(problem, METHODS["zero"], study)
    assert result.of(NO_RUN, OWN_PRIOR)[0].learning_rate == state["learning_rate"]


def test_regret_is_that_of_the_world(result):
    for score in result.scores:
        log_lr = math.log(score.learning_rate)
        best = WORLD.loss(WORLD.log_optimum_at(1e9, 2e10), 1e9, 2e10)
        if abs(log_lr - math.log(1.5e-3)) < 1.5:
            known = WORLD.loss(log_lr, 1e9, 2e10) - best
            # the noise of eight runs is 2 mnat each
            assert score.outcome.regret == pytest.approx(known, abs=4e-3)


def test_a_backtest_that_ended_is_not_made_again(result, table, lines):
    before = lines.read_text()
    again = backtest(table, cells=1, budget=0.02, out=lines)
    assert lines.read_text() == before
    assert list(records(again)) == list(records(result))


def test_a_sweep_that_changed_is_another_backtest(result, table, tmp_path):
    changed = pd.read_csv(table)
    changed.loc[0, "loss"] += 0.01
    changed.to_csv(tmp_path / "sweep.csv", index=False)
    runs = [LoggedRun(**row) for row in changed.to_dict("records")]
    (cell,) = hidden_cells(tmp_path / "sweep.csv", runs, replace(TERMS, cells=1, budget=0.02)).cells
    assert cell.case.name != result.cells[0].case.name


def test_an_interrupted_backtest_goes_on(result, table, lines, tmp_path):
    part = tmp_path / "part.jsonl"
    whole = lines.read_text().splitlines(keepends=True)
    part.write_text("".join(whole[:-2]))
    again = backtest(table, cells=1, budget=0.02, out=part)
    assert len(read_lines(part)) == len(whole)
    assert list(records(again)) == list(records(result))


def with_hits(result: Backtest, hits: Sequence[bool]) -> Backtest:
    """As many cells as hits, whose 90 % interval held the best rate or did not."""
    (ours,) = result.of("horizon", OWN_PRIOR)
    rest = tuple(score for score in result.scores if score is not ours)
    scores = [
        replace(
            ours,
            cell=replace(ours.cell, label=str(position)),
            outcome=replace(ours.outcome, hit_90=hit),
        )
        for position, hit in enumerate(hits)
    ]
    return replace(result, scores=(*scores, *rest))


@pytest.mark.parametrize(
    ("hits", "low", "high"),
    [
        # all of n hit: the low end solves p^n = 0.025; none of n: the high end (1-p)^n = 0.025
        ([True] * 4, 0.025 ** (1 / 4), 1.0),
        ([False] * 3, 0.0, 1 - 0.025 ** (1 / 3)),
    ],
)
def test_the_range_of_the_hit_rate_is_exact(result, hits, low, high):
    found = with_hits(result, hits).coverage(90)
    assert (found.hits, found.cells) == (sum(hits), len(hits))
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        (
            [True, True, True, False],
            "3 of 4 90 % intervals .* too few cells to tell 90 % from 19 %",
        ),
        ([False] * 4, "0 of 4 .* fewer than claimed"),
        ([True] * 60, "60 of 60 .* more than claimed"),
    ],
)
def test_the_verdict_says_what_so_few_cells_can_tell(result, hits, said):
    text = " ".join(verdict(with_hits(result, hits)))
    assert re.search(said, text)


def test_the_planned_target_is_measured_against_the_largest_logged_run():
    with pytest.raises(
        InvalidSpaceError, match=r"at most 0\.05 of its size and 0\.1 of its tokens"
    ):
        backtest(world_runs(), target_params=2e10, target_tokens=2e11)


def test_a_target_further_out_than_what_was_tested_is_said(result):
    far = " ".join(verdict(replace(result, planned_ratios=(40.0, None))))
    assert "Your target is 40 times your largest logged run in size" in far
    near = " ".join(verdict(replace(result, planned_ratios=(2.0, 2.0))))
    assert "Your target" not in near


def test_one_length_alone_makes_the_overhead_a_belief():
    runs = [run for run in world_runs() if run.tokens == 2e10]
    (cell,) = hiding_of(runs, cells=1, tokens_ratio=1.0, budget=0.3).cells
    assert cell.one_length


def test_tables_and_figure_show_every_cell_and_method(result, tmp_path):
    with (tmp_path / "text").open("w") as file:
        console = Console(width=150, record=True, file=file)
        print_backtest(result, console)
    text = console.export_text()
    for word in ("1e+09 params x 2e+10 tokens", *STARTS, "no run", "random", "overhead", "oct"):
        assert word in text
    draw_backtest(result, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_prints_one_object_a_recommendation_and_the_verdict(result, table, lines):
    done = call(f"backtest {table} --cells 1 --budget 0.02 --out {lines} --json")
    assert done.exit_code == 0, done.output
    *rows, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(result.scores)
    assert {row["method"] for row in rows} == {
        "horizon",
        "horizon, at its own stop",
        "random",
        NO_RUN,
    }
    assert last["verdict"] == list(verdict(result))
    assert np.isfinite([row["regret"] for row in rows]).all()


def frame_of(octaves: Sequence[int]) -> pd.DataFrame:
    return pd.DataFrame([run.__dict__ for run in world_runs(octaves)])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (frame_of(OCTAVES)[lambda f: (f.params == 1e9) & (f.tokens == 2e10)], "expected 5"),
        (frame_of(range(-1, 2)), "rates that trained: 3"),
        (frame_of(range(4, 10)), "rates below its best one: 0"),
        (frame_of(OCTAVES).rename(columns={"learning_rate": "lr"}), "no column 'learning_rate'"),
    ],
)
def test_a_sweep_that_cannot_be_backtested_ends_in_one_line_and_code_two(table, said, tmp_path):
    table.to_csv(tmp_path / "bad.csv", index=False)
    done = call(f"backtest {tmp_path / 'bad.csv'}")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr


def test_a_missing_sweep_is_named():
    with pytest.raises(InvalidTableError, match=r"sweep 'no.csv' is in none of"):
        backtest("no.csv")


@pytest.mark.slow
def test_runs_in_memory_are_backtested_as_a_file_of_them_in_two_processes(result):
    frame = pd.DataFrame([run.__dict__ for run in world_runs()]).drop(columns=["batch_tokens"])
    again = backtest(frame, cells=1, budget=0.02, jobs=2)
    assert list(records(again))[:-1] == list(records(result))[:-1]
