"""Oddities: what does not fit is named by its trial, and what fits is not."""

import math
from dataclasses import replace

import pytest

from horizon_bo.core.decision import decide
from horizon_bo.core.inference import believe
from horizon_bo.core.oddities import oddities
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import LoggedRun, Study
from tests.beliefs import CELLS, STRADDLING, WORLD
from tests.studies import logged, small_study


def study_of(runs: list[LoggedRun]) -> Study:
    return import_runs(small_study(prior_center=1.5e-3), runs)


def said(runs: list[LoggedRun]) -> str:
    study = study_of(runs)
    return " | ".join(oddities(study, believe(study)))


def with_loss(runs: list[LoggedRun], index: int, loss: float) -> list[LoggedRun]:
    return [replace(run, loss=loss) if k == index else run for k, run in enumerate(runs)]


SWEEP = WORLD.sweep(CELLS, STRADDLING)


def test_ordinary_runs_are_not_odd():
    for seed in range(3):
        assert said(WORLD.sweep(CELLS, (-2, -1, 0, 1, 2), seed=seed)) == ""


@pytest.mark.parametrize("wrong", [10.0, 1.5, 0.7, 0.1])
def test_a_mistyped_loss_is_named_by_its_trial_with_what_was_expected(wrong):
    right = SWEEP[4].loss
    assert right is not None
    words = said(with_loss(SWEEP, 4, wrong * right))
    assert f"loss of trial 4 is {wrong * right:.4g} where the other runs let expect " in words
    expected, spread = words.split("let expect ")[1].split(":")[0].split(" ± ")
    assert abs(float(expected) - right) < 3 * float(spread) + 0.01
    assert words.count("loss of trial") == 1


def test_one_loss_of_six_typed_too_high_is_named_and_moves_the_answer_little():
    runs = WORLD.sweep(CELLS[:2], STRADDLING, seed=1)
    right = decide(believe(study_of(runs)))
    for wrong in (10.0, 1.5):
        study = study_of(with_loss(runs, 1, wrong * (runs[1].loss or 0.0)))
        belief = believe(study)
        assert "loss of trial 1 is" in " ".join(oddities(study, belief))
        decision = decide(belief)
        low, high = decision.log_interval_90
        assert low < WORLD.log_optimum < high
        assert abs(decision.log_lr - right.log_lr) < (high - low) / 4


def test_losses_of_rates_too_high_count_as_blown_up_but_not_where_one_run_is_odd():
    losses = [3.2, 3.1, 3.3, 4.2]
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    pairs = zip(rates, losses, strict=True)
    runs = [logged(learning_rate=rate, loss=loss) for rate, loss in pairs]
    blown = lambda runs: believe(study_of(runs)).runs.diverged.sum().item()  # noqa: E731
    assert blown(runs) == 1
    assert blown(with_loss(runs, 3, 3.8)) == 0
    low = [replace(runs[0], loss=4.2), *runs[1:3]]  # a rate too low is no divergence
    assert blown(low) == 0
    assert blown(with_loss(runs, 0, 0.32)) == 1  # 0.32 is the odd one, 4.2 still blown up
    larger = [*runs[:3], replace(runs[0], params=1.2e8, learning_rate=2e-2, loss=4.2)]
    assert blown(larger) == 1


def test_a_low_rate_that_diverges_where_twice_as_much_does_not_is_named():
    runs = [replace(SWEEP[0], loss=None, diverged=True), *SWEEP[1:]]
    assert "trial 0 diverged at" in said(runs)
    high = [*SWEEP[:2], replace(SWEEP[2], loss=None, diverged=True), *SWEEP[3:]]
    assert "diverged at" not in said(high)


def test_losses_that_ignore_the_rate_are_told():
    flat = [logged(learning_rate=rate, loss=3.2) for rate in (5e-4, 2e-3, 8e-3)]
    assert "are the same from rate 0.0005 to 0.008" in said(flat)
    assert "are the same" not in said(SWEEP)


def test_a_loss_that_rises_with_tokens_is_told():
    upside_down = [
        replace(run, loss=6.0 - run.loss) for run in WORLD.sweep(CELLS, STRADDLING) if run.loss
    ]
    assert "the lowest loss rises with tokens" in said(upside_down)
    assert math.isfinite(believe(study_of(upside_down)).posterior.acceptance)
