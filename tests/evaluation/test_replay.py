"""Replay: what is hidden, what may be bought, and one line per state that can be resumed."""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from horizon_bo import LoggedRun
from horizon_bo.core.inference import study_expectation
from horizon_bo.errors import InvalidSpaceError, InvalidTableError
from horizon_bo.evaluation.cases import Case, find_sweep, load_cases, load_problem, problem_on
from horizon_bo.evaluation.least_squares import law_readout
from horizon_bo.evaluation.replay import METHODS, affordable, replay
from horizon_bo.evaluation.replays import lines_of, read_lines, replay_tasks, run_replays
from horizon_bo.evaluation.score import outcome
from horizon_bo.tables.logged import logged_table
from tests.studies import small_study

SMALL = Case(
    name="small-97k",
    sweep="stdlib_gpt.csv",
    target_params=97_280,
    target_tokens=3_999_744,
    max_params_ratio=0.5,
    max_run_cost=0.1,
)
CONTRACT = [
    "case",
    "sweep",
    "target_params",
    "target_tokens",
    "batch_tokens",
    "pool_batch",
    "prior_center",
    "method",
    "seed",
    "step",
    "row",
    "spent",
    "learning_rate",
    "interval_50",
    "interval_90",
    "expected_regret",
    "expected_overhead",
    "wall_s",
]


def world_loss(rate: float, params: float, tokens: float) -> float:
    """A world whose optimum moves by N^−0.4; at the target it is 2e-3."""
    n, d = math.log(params / 1e9), math.log(tokens / 2e10)
    offset = math.log(rate / 2e-3) + 0.4 * n
    return 1.5 + 0.4 * math.exp(-0.2 * n) + 0.3 * math.exp(-0.3 * d) + 0.05 * offset**2


def world_runs() -> list[LoggedRun]:
    return [
        LoggedRun(
            learning_rate=rate,
            params=params,
            tokens=tokens,
            batch_tokens=batch,
            loss=world_loss(rate, params, tokens),
        )
        for params in (6e7, 2.5e8, 1e9)
        for tokens in (2e9, 2e10)
        for batch in (262_144.0, 524_288.0)
        for rate in (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
    ]


WORLD = Case(
    name="world-1000M",
    sweep="",
    target_params=1e9,
    target_tokens=2e10,
    batch_tokens=262_144,
)


def pool_of(**changes) -> set[tuple[float, float, float | None]]:
    case = Case(**{**WORLD.__dict__, **changes})
    problem = problem_on(case, world_runs())
    return {(trial.params, trial.tokens, trial.batch_tokens) for trial in problem.pool}


def test_the_targets_cell_is_hidden_at_every_batch():
    cells = {(params, tokens) for params, tokens, _ in pool_of(pool_batch="any")}
    assert len(cells) == 5
    assert (1e9, 2e10) not in cells


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {(p, d, 262_144.0) for p in (6e7, 2.5e8, 1e9) for d in (2e9, 2e10)} - {
            (1e9, 2e10, 262_144.0)
        }),
        ({"max_params_ratio": 0.5, "max_tokens_ratio": 0.5}, {
            (6e7, 2e9, 262_144.0), (2.5e8, 2e9, 262_144.0)
        }),
        ({"max_run_cost": 0.01}, {(6e7, 2e9, 262_144.0)}),
        ({"only_params": 1e9}, {(1e9, 2e9, 262_144.0)}),
    ],
)  # fmt: skip
def test_the_pool_keeps_the_limits(limits, expected):
    assert pool_of(**limits) == expected


def test_rows_are_numbered_as_in_the_table():
    runs = world_runs()
    for trial in problem_on(WORLD, runs).pool:
        assert runs[trial.row].loss == trial.loss


def test_the_study_is_of_the_targets_source_schedule_and_batch():
    runs = [
        LoggedRun(
            learning_rate=1e-3,
            params=params,
            tokens=1e9,
            loss=3.0,
            batch_tokens=65_536,
            source=source,
            schedule=schedule,
        )
        for params, source, schedule in ((1e8, "new", "wsd"), (5e7, "old", "cosine"))
    ]
    case = Case(name="c", sweep="", target_params=1e8, target_tokens=1e9)
    problem = problem_on(case, runs)
    assert problem.source == "new"
    assert problem.target.schedule == "wsd"
    assert problem.target.batch_tokens == 65_536
    study = problem.study(budget=1, prior_center=None, seed=0)
    assert study.recipe(problem.pool[0]) == "old · cosine"


def test_the_optimizer_is_the_one_that_the_targets_rows_name():
    case = replace(SMALL, optimizer=None)
    plain = load_problem(case)
    assert plain.optimizer == "adamw"
    table = logged_table(find_sweep(case.sweep)).runs
    muon = problem_on(case, [replace(run, optimizer="muon") for run in table])
    assert muon.study(budget=0.1, prior_center=None, seed=0).optimizer == "muon"
    assert {trial.source for trial in muon.pool} == {trial.source for trial in plain.pool}
    said = problem_on(replace(case, optimizer="lion"), table)
    assert said.study(budget=0.1, prior_center=None, seed=0).optimizer == "lion"


def test_a_target_with_several_batches_asks_for_one():
    case = Case(name="c", sweep="", target_params=1e9, target_tokens=2e10)
    with pytest.raises(InvalidSpaceError, match="give --batch-tokens"):
        problem_on(case, world_runs())


def test_a_sweep_that_changed_on_disk_is_read_again(tmp_path):
    path = tmp_path / "sweep.csv"
    case = replace(WORLD, sweep=str(path))
    for count in (20, 60):
        pd.DataFrame([run.__dict__ for run in world_runs()[-count:]]).to_csv(path, index=False)
        os.utime(path, ns=(count, count))
        assert len(load_problem(case).pool) == count / 2 - 5


def test_a_case_of_one_recipe_buys_that_recipe_alone():
    old = [replace(run, source="old", schedule="wsd") for run in world_runs()]
    case = replace(WORLD, recipe=("old", "wsd", "none"))
    problem = problem_on(case, [*world_runs(), *old])
    assert (problem.source, problem.target.schedule) == ("old", "wsd")
    assert {(trial.source, trial.schedule) for trial in problem.pool} == {("old", "wsd")}
    assert len(problem.pool) == 25


def test_an_empty_pool_is_said():
    with pytest.raises(InvalidSpaceError, match="leaves 0 of 60 rows"):
        pool_of(max_run_cost=1e-6)


def test_a_sweep_is_found_beside_the_cases_first(tmp_path, monkeypatch):
    monkeypatch.delenv("HORIZON_BO_DATA", raising=False)
    assert find_sweep("stdlib_gpt.csv").parent.name == "data"
    (tmp_path / "stdlib_gpt.csv").touch()
    assert find_sweep("stdlib_gpt.csv", tmp_path).parent == tmp_path
    monkeypatch.setenv("HORIZON_BO_DATA", str(tmp_path))
    assert find_sweep("stdlib_gpt.csv").parent == tmp_path


@pytest.mark.parametrize("content", ["{", "[1]", '[{"name": "x"}]', '{"a": 1}'])
def test_cases_that_cannot_be_read_are_named(tmp_path, content):
    (tmp_path / "cases.json").write_text(content)
    with pytest.raises(InvalidTableError, match="cannot be read as cases"):
        load_cases(tmp_path / "cases.json")


@pytest.mark.parametrize("method", METHODS)
def test_a_replay_starts_from_the_prior_and_stays_within_its_budget(method):
    problem = load_problem(SMALL)
    study = problem.study(budget=0.05, prior_center=3e-3, seed=0)
    states = list(replay(problem, METHODS[method], study))
    first, last = states[0], states[-1]
    assert (first["step"], first["row"], first["spent"]) == (0, None, 0.0)
    assert [state["final"] for state in states] == [False] * (len(states) - 1) + [True]
    assert len({state["row"] for state in states}) == len(states)
    assert last["spent"] <= 0.05 + 1e-9
    if method == "zero":
        assert len(states) == 1
    else:
        # nothing affordable is left over
        cheapest = min(t.flops for t in problem.pool) / problem.target.flops
        assert 0.05 - last["spent"] < cheapest


def test_every_row_is_charged_its_full_price_also_when_it_diverged():
    runs = [
        LoggedRun(learning_rate=rate, params=6e7, tokens=2e9, loss=None, diverged=True)
        for rate in (1e-2, 2e-2, 4e-2)
    ]
    problem = problem_on(WORLD, runs)
    study = problem.study(budget=1.0, prior_center=1e-3, seed=0)
    states = list(replay(problem, METHODS["random"], study))
    price = 6 * 6e7 * 2e9 / problem.target.flops
    assert [state["spent"] for state in states] == pytest.approx([k * price for k in range(4)])


def test_a_row_is_affordable_until_bought_or_too_dear():
    problem = load_problem(SMALL)
    study = problem.study(budget=0.05, prior_center=None, seed=0)
    pool = affordable(problem.pool, study)
    assert {trial.flops <= study.budget for trial in pool} == {True}
    assert len(affordable(pool, study.with_trials(pool[0]))) < len(pool)


def test_a_method_that_obeys_its_stop_ends_there():
    problem = load_problem(SMALL)
    study = problem.study(budget=0.08, prior_center=3e-3, seed=0)
    states = list(replay(problem, METHODS["horizon"], study, obey_stop=True))
    assert not any(state["stop"] for state in states[:-1])


def tasks(methods=("random", "zero"), **changes):
    terms = {"prior_centers": [1e-3, 3e-3], "seeds": 2, "budget": 0.1, **changes}
    return replay_tasks([SMALL], methods, **terms)


def without_times(lines):
    kept = [{k: v for k, v in line.items() if k != "wall_s"} for line in lines]
    return sorted(json.dumps(line) for line in kept)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The lines of a sweep of replays that nothing interrupted."""
    path = tmp_path_factory.mktemp("replays") / "whole.jsonl"
    list(run_replays(tasks(), path))
    return path


def test_a_line_holds_the_fields_of_the_contract_in_order(whole):
    lines = read_lines(whole)
    assert all([name for name in line if name in CONTRACT] == CONTRACT for line in lines)
    assert {(line["method"], line["seed"], line["prior_center"]) for line in lines} == {
        (method, seed, center)
        for method in ("random", "zero")
        for seed in (0, 1)
        for center in (1e-3, 3e-3)
    }


def test_a_replay_is_the_same_each_time_and_seeds_differ(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        list(run_replays(tasks(["random"]), tmp_path / name))
    first, second = (read_lines(tmp_path / name) for name in ("a.jsonl", "b.jsonl"))
    assert without_times(first) == without_times(second)
    rows = {seed: [line["row"] for line in first if line["seed"] == seed] for seed in (0, 1)}
    assert rows[0] != rows[1]


@pytest.mark.parametrize("cut", [1, 3, 6, 9])
def test_an_interrupted_sweep_of_replays_resumes(tmp_path, whole, cut):
    part = tmp_path / "part.jsonl"
    lines = whole.read_text().splitlines(keepends=True)
    part.write_text("".join(lines[:cut]) + lines[cut][:25])
    fractions = list(run_replays(tasks(), part))
    assert without_times(read_lines(part)) == without_times(read_lines(whole))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    held = part.read_text()
    list(run_replays(tasks(), part))
    assert part.read_text() == held


@pytest.mark.slow
def test_replays_in_parallel_are_the_same(tmp_path, whole):
    list(run_replays(tasks(), tmp_path / "two.jsonl", jobs=2))
    assert without_times(read_lines(tmp_path / "two.jsonl")) == without_times(read_lines(whole))


def test_a_file_of_another_budget_is_not_mixed(tmp_path, whole):
    shutil.copy(whole, tmp_path / "out.jsonl")
    with pytest.raises(InvalidTableError, match="name another --out"):
        list(run_replays(tasks(budget=0.2), tmp_path / "out.jsonl"))


@pytest.mark.parametrize("text", ["no json\n{}\n", "[1]\n", '{"case": "x"}\n'])
def test_a_file_that_is_no_replay_is_named(tmp_path, text):
    (tmp_path / "out.jsonl").write_text(text)
    with pytest.raises(InvalidTableError, match="expected the output of"):
        read_lines(tmp_path / "out.jsonl")


def test_a_short_replay_says_what_it_always_said():
    # frozen when the sweep was made; the fit may differ in the last digits by platform
    problem = load_problem(SMALL)
    study = problem.study(budget=0.5, prior_center=3e-3, seed=1)
    states = list(replay(problem, METHODS["random"], study))
    assert states[2]["row"] == 65
    assert states[10]["row"] == 88
    assert states[10]["learning_rate"] == pytest.approx(0.02701, rel=0.02)


@pytest.mark.slow
def test_five_per_cent_of_a_target_run_undoes_an_unlucky_guess(data_folder):
    cases = [c for c in load_cases(data_folder / "cases.json") if c.name == "same-1074M-20B-b128"]
    terms = {"prior_centers": [0.1], "seeds": 1, "budget": 0.05, "beside": data_folder}
    (task,) = replay_tasks(cases, ["horizon"], **terms)
    states = list(lines_of(task))
    scored = [outcome(state, cases[0]) for state in (states[0], states[-1])]
    assert scored[0].regret > 0.03
    assert scored[1].regret < 0.003


def test_the_readout_finds_the_optimum_of_a_world_that_follows_its_law():
    problem = problem_on(WORLD, world_runs())
    study = problem.study(budget=10, prior_center=None, seed=0)
    study = study.with_trials(*[t for t in problem.pool if t.params < 1e9])
    assert law_readout(study).learning_rate == pytest.approx(2e-3, rel=0.05)


def test_the_readout_with_few_runs_is_the_best_rate_so_far():
    problem = problem_on(WORLD, world_runs())
    study = small_study(prior_center=1e-3)
    assert law_readout(study).learning_rate == 1e-3
    bought = [problem.pool[1], problem.pool[3]]
    best = min(bought, key=lambda trial: trial.loss)
    assert law_readout(study.with_trials(*bought)).learning_rate == pytest.approx(
        best.learning_rate
    )


def test_the_readout_without_run_or_guess_is_the_middle_of_the_space():
    low, high = small_study().space.learning_rate
    assert law_readout(small_study()).learning_rate == pytest.approx(math.sqrt(low * high))


def test_the_public_cases_can_be_loaded(data_folder):
    cases = load_cases(data_folder / "cases.json")
    assert len(cases) == 28
    problem = load_problem(cases[0], data_folder)
    # 5 sizes × up to 4 lengths at the target's batch, none at the target
    assert {trial.batch_tokens for trial in problem.pool} == {262_144.0}
    assert max(trial.params for trial in problem.pool) <= 0.5 * problem.target.params
    assert len(logged_table(data_folder / "steplaw_dense.csv").runs) == 2_883
    assert os.fspath(find_sweep("steplaw_dense.csv", data_folder)).startswith(str(data_folder))


def test_a_law_fitted_to_the_replayed_sweep_has_no_say_in_the_prior(data_folder: Path):
    case = next(c for c in load_cases(data_folder / "cases.json") if c.name == "same-537M-50B-b256")
    study = load_problem(case, data_folder).study(budget=0.1, prior_center=None, seed=0)
    assert "step" not in study_expectation(study)[0].sources
    assert "step" in study_expectation(replace(study, excluded_data=()))[0].sources
