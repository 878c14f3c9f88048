"""Synthetic problems: their truth is the truth of the runs they are made of."""

import math

import numpy as np
import pytest
from scipy.stats import t

from benchmarks.problems import worlds
from benchmarks.problems.synthetic import (
    KINDS,
    PLES_TARGET_PARAMS,
    PLES_TARGET_TOKENS,
    all_posed,
    ples,
    ples_loss,
    problem,
    world,
)
from horizon_bo.evaluation.cases import load_cases, load_problem
from horizon_bo.evaluation.score import outcome

POSED = {posed[1]["name"]: posed for posed in all_posed(1)}
EVERY = pytest.mark.parametrize("posed", POSED.values(), ids=POSED)


@EVERY
def test_the_optimum_is_the_argmin_of_the_truth_and_has_no_regret(posed):
    truth = posed[1]["truth"]
    excess = np.array(truth["excess"])
    assert (excess >= 0).all()
    best = truth["learning_rate"][int(excess.argmin())]
    assert best == pytest.approx(truth["optimum"], rel=1e-9)
    assert excess.min() == pytest.approx(0, abs=1e-15)
    case = problem(posed).case
    line = {
        "learning_rate": truth["optimum"],
        "target_params": case.target_params,
        "target_tokens": case.target_tokens,
        "spent": 0.0,
        "interval_50": None,
        "interval_90": None,
        "expected_regret": None,
    }
    scored = outcome(line, case)
    assert scored.regret == pytest.approx(0, abs=1e-12)
    assert outcome({**line, "learning_rate": 2 * truth["optimum"]}, case).regret > 0


@EVERY
def test_the_target_costs_four_times_the_dearest_run_and_is_none_of_them(posed):
    posing = problem(posed)
    dearest = max(trial.flops for trial in posing.pool)
    assert posing.target.flops / dearest == pytest.approx(4, rel=1e-9)
    assert len(posing.pool) <= 300
    assert all(
        trial.params < posing.target.params or trial.tokens < posing.target.tokens
        for trial in posing.pool
    )


def test_the_ples_loss_is_lowest_at_its_optimum_in_every_cell_of_its_sweep():
    frame, about = ples()
    best = about["truth"]["optimum"]
    at = PLES_TARGET_PARAMS, PLES_TARGET_TOKENS
    batch = 14.9624 * PLES_TARGET_TOKENS**0.5
    # by the formula itself: 0.1896 · (1e9)^−0.734 · (2e10)^0.342
    assert best == pytest.approx(1.56600e-4, rel=1e-5)
    lowest = ples_loss(best, *at, batch)
    assert lowest == pytest.approx(
        1.69 + 406.4 / PLES_TARGET_PARAMS**0.34 + 410.7 / PLES_TARGET_TOKENS**0.28, rel=1e-12
    )
    assert ples_loss(best * math.e, *at, batch) - lowest == pytest.approx(0.40, rel=1e-9)
    assert ples_loss(best, *at, batch * math.e) - lowest == pytest.approx(0.15, rel=1e-9)
    for _, cell in frame.groupby(["params", "tokens", "batch_tokens"]):
        rates = cell.sort_values("learning_rate")
        assert 0 < rates["loss"].to_numpy().argmin() < len(rates) - 1


def test_the_world_that_holds_has_its_optima_on_a_power_law():
    frame, about = world("holds", 3)
    usable = frame[~frame["diverged"]]
    assert len(usable) == len(frame)
    logs, optima = [], []
    for (params, tokens), cell in usable.groupby(["params", "tokens"]):
        bend, slope, _ = np.polyfit(np.log(cell["learning_rate"]), cell["loss"], 2)
        logs.append((1, math.log(params / 1e9), math.log(tokens / 4e10)))
        optima.append(-slope / 2 / bend)
    found, residual, *_ = np.linalg.lstsq(np.array(logs), np.array(optima), rcond=None)
    assert math.exp(found[0]) == pytest.approx(about["truth"]["optimum"], rel=0.05)
    # a bend or a wobble would leave an sd of about 0.1 over the 26 cells
    assert math.sqrt(residual[0] / len(optima)) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_worlds_of_a_seed_are_the_same_and_of_two_seeds_are_not(kind):
    first, again, other = world(kind, 1)[0], world(kind, 1)[0], world(kind, 2)[0]
    assert first.equals(again)
    assert not first.equals(other)


def test_only_the_cliff_diverges_and_raggedly():
    diverged = {kind: world(kind, 0)[0]["diverged"].sum() for kind in KINDS}
    assert diverged.pop("cliff") > 30
    assert not any(diverged.values())
    frame, _ = world("cliff", 0)
    ragged = 0
    for _, cell in frame.groupby(["params", "tokens"]):
        flags = cell.sort_values("learning_rate")["diverged"].to_numpy()
        ragged += bool((np.diff(flags.astype(int)) < 0).any())
    assert ragged > 0


def test_one_run_in_twenty_of_the_heavy_tails_is_far_off():
    assert 2 * t.sf(6, KINDS["tails"]["noise_freedom"]) == pytest.approx(0.05, abs=0.005)


def test_written_problems_replay_as_those_in_memory(tmp_path):
    posed = [ples(), world("bends", 0)]
    worlds.write(tmp_path, posed)
    for case, made in zip(load_cases(tmp_path / "cases.json"), posed, strict=True):
        ours, theirs = problem(made), load_problem(case, tmp_path)
        assert ours.target == theirs.target
        assert [(a.learning_rate, a.status) for a in ours.pool] == [
            (b.learning_rate, b.status) for b in theirs.pool
        ]
        np.testing.assert_allclose(
            [a.loss or 0 for a in ours.pool], [b.loss or 0 for b in theirs.pool], rtol=1e-12
        )
