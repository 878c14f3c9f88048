"""Check: what is expected of larger runs is a fair bet, and the verdict follows from it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from horizon_bo.core.checks.check import Expectation, decide_rung, expected, proposed
from horizon_bo.core.checks.forecast import predicted_losses, rung_draws
from horizon_bo.core.checks.rehearsal import (
    SURPRISE,
    Verdict,
    checked,
    contrast_p_value,
    level_p_value,
    rehearsal,
    verdict,
)
from horizon_bo.core.decision import regret
from horizon_bo.core.inference import Belief, believe
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.trials import Study, Trial
from tests.beliefs import WORLD, fresh, informed
from tests.near import close
from tests.studies import small_study


@cache
def told() -> tuple[Expectation, tuple[Trial, ...]]:
    study, belief = informed()
    runs = proposed(study, belief, 0.1)
    return expected(study, belief, runs, 0.1), runs


@cache
def ended(shift: float = 0.0, level: float = 0.0) -> tuple[Belief, list[float]]:
    """The check's runs in a world whose optimum or level is off by so much on its rung."""
    study, _ = informed()
    world = replace(WORLD, shift=shift, offset=level)
    runs = [
        run.completed(world.loss(math.log(run.learning_rate), run.params, run.tokens))
        for run in told()[1]
    ]
    losses = [run.loss for run in runs if run.loss is not None]
    return believe(study.with_trials(*runs)), losses


def judged(after: Belief, losses: Sequence[float | None]) -> Verdict:
    return verdict(told()[0], losses, after)


def test_a_check_is_made_on_the_dearest_rung_above_all_runs_that_it_may_cost():
    study, belief = informed()
    made = max(trial.flops for trial in study.trials)
    three, two = proposed(study, belief, 0.1), proposed(study, belief, 0.06)
    assert [len(three), len(two)] == [3, 2]
    for runs, most in ((three, 0.1), (two, 0.06)):
        assert {(run.params, run.tokens) for run in runs} == {(1.2e8, 4e9)}
        assert runs[0].flops > made
        assert sum(run.flops for run in runs) <= most * study.target.flops
        assert [run.id for run in runs] == [len(study.trials) + k for k in range(len(runs))]
    middle = decide_rung(study, belief, three[0]).log_lr
    for run, octaves in zip(three, (-1, 0, 1), strict=True):
        assert math.isclose(math.log(run.learning_rate), middle + octaves * math.log(2))
    assert [run.learning_rate for run in two] == [three[k].learning_rate for k in (0, 2)]


def test_a_check_that_cannot_be_made_says_why():
    study, belief = informed()
    with pytest.raises(InvalidSpaceError, match=r"two runs of the next rung cost 0\.048"):
        proposed(study, belief, 0.04)
    with pytest.raises(InvalidSpaceError, match="0 runs have ended"):
        proposed(*fresh(), 0.1)
    largest = replace(
        study.trials[0], id=len(study.trials), params=1.2e8, tokens=4e9, flops=2.88e18
    )
    with pytest.raises(InvalidSpaceError, match="the space has none above it"):
        proposed(study.with_trials(largest), belief, 0.1)


def test_a_rung_that_is_the_target_has_the_targets_curve():
    # two independent sets of 2048 draws of the same 256 coefficient sets
    study, belief = informed()
    target = replace(told()[1][0], params=study.target.params, tokens=study.target.tokens)
    here = rung_draws(belief, np.zeros(3), np.random.default_rng(0))
    for name in ("log_optimum", "level", "log_cliff"):
        ours, theirs = getattr(here, name), getattr(belief.target, name)
        assert abs(float(ours.mean() - theirs.mean())) < 0.1 * float(theirs.std())
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.1)
    assert decide_rung(study, belief, target).log_lr == pytest.approx(
        math.log(told()[0].answer), abs=0.1
    )


def test_noise_widens_what_is_expected_and_does_not_move_it():
    belief = informed()[1]
    place = np.array([-1.0, -1.0, 0.0])
    log_lr = np.array([-6.0, -5.5])
    draws = rung_draws(belief, place, np.random.default_rng(0))
    losses = predicted_losses(belief, draws, log_lr, place, np.random.default_rng(1))
    again = predicted_losses(belief, draws, log_lr, place, np.random.default_rng(2))
    apart = losses - again  # differs by noise alone: twice its variance
    close(np.median(apart, 0), np.zeros(2), rtol=0.0, atol=1e-3)
    assert (apart.std(0) > 0).all()
    assert (losses.std(0) > np.sqrt(losses.var(0) - apart.var(0) / 2)).all()


def test_a_p_value_is_uniform_where_the_outcome_is_one_of_the_draws():
    generator = np.random.default_rng(0)
    root = np.array([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [0.5, 0.1, 2.0]])
    drawn = generator.standard_normal((400, 3)) @ root.T
    ps = np.array([contrast_p_value(drawn, row) for row in drawn[:200]])
    for share in (0.05, 0.5, 0.9):  # binomial, 200 trials: three sd is at most 0.11
        assert abs(float((ps <= share).mean()) - share) < 0.11
    levels = np.array([level_p_value(drawn.mean(1), row.mean()) for row in drawn[:200]])
    assert abs(float((levels <= 0.5).mean()) - 0.5) < 0.11


def test_the_level_does_not_enter_the_contrast_nor_the_curve_the_level():
    drawn = np.random.default_rng(0).standard_normal((200, 3))
    losses = np.array([0.1, -0.3, 0.4])
    assert contrast_p_value(drawn, losses + 5) == pytest.approx(contrast_p_value(drawn, losses))
    bent = losses + np.array([1.0, -2.0, 1.0])
    assert contrast_p_value(drawn, bent) < contrast_p_value(drawn, losses)
    assert level_p_value(drawn.mean(1), bent.mean()) == level_p_value(drawn.mean(1), losses.mean())


def test_the_contrast_of_two_runs_is_their_difference():
    drawn = np.random.default_rng(0).standard_normal((2000, 2))
    differences = drawn[:, 1] - drawn[:, 0]
    away = abs(1.5 - differences.mean())
    farther = int((np.abs(differences - differences.mean()) >= away).sum())
    losses = np.array([2.0, 3.5])
    assert contrast_p_value(drawn, losses) == (1 + farther) / 2001
    assert contrast_p_value(drawn[:, :1], losses[:1]) == 1.0


def test_a_world_that_follows_its_law_holds():
    said = judged(*ended())
    assert said.word == "holds"
    assert min(said.contrast_p, said.level_p) > SURPRISE
    low, high = said.interval_90
    assert low < 1.5e-3 < high


def test_a_belief_is_believed_as_long_as_what_it_foretold_comes_true():
    after, losses = ended()
    said, expectation = judged(after, losses), told()[0]
    rate = np.array([math.log(expectation.answer)], dtype=float)
    lost = float(regret(after.target, rate).mean())
    assert said.regret == pytest.approx(lost * after.loss_scale, rel=1e-12)
    unit = float(after.target.token_slope.mean()) * after.loss_scale
    assert said.overhead == pytest.approx(said.regret / unit, rel=1e-12)
    other, losses = ended(shift=1.0)  # which that belief takes for noise
    said = judged(other, losses)
    unit = float(other.target.token_slope.mean()) * other.loss_scale
    assert said.contrast_p < SURPRISE
    assert said.rehearsed > said.regret
    assert said.overhead == pytest.approx(said.rehearsed / unit, rel=1e-12)


@pytest.mark.parametrize("shift", [-2.0, -1.0, 1.0])
def test_an_optimum_that_is_elsewhere_on_the_rung_is_to_be_tuned_again(shift: float):
    after, losses = ended(shift=shift)
    said = judged(after, losses)
    assert said.word == "tune again"
    assert said.contrast_p < SURPRISE
    at = lambda log_lr: WORLD.loss(log_lr, WORLD.target.params, WORLD.target.tokens)  # noqa: E731
    lost = at(WORLD.log_optimum - shift) - at(WORLD.log_optimum)
    bounded = lost / (1 + lost * said.overhead / said.rehearsed)
    assert said.rehearsed == pytest.approx(bounded, rel=0.3)  # the bowl is known to a third


def test_what_a_known_bowl_loses_is_read_off_two_runs_exactly():
    # curvature 2 at the rung and 0.5 at the target, asymmetry 0, hardly any noise, a miss of 0.3
    rates = (math.exp(-1.0), math.e)
    known = replace(
        told()[0], learning_rates=rates, recommended=1.0, bowls=((2.0, 0.5, 0.0, 1e-3),)
    )
    losses = np.array([(math.log(rate) - 0.3) ** 2 for rate in rates], dtype=float)
    lost = 0.5 / 2 * 0.3**2
    assert rehearsal(known, losses + 7, math.inf) == pytest.approx(lost, rel=1e-4)
    assert rehearsal(known, losses, lost) == pytest.approx(lost / 2, rel=1e-4)
    assert rehearsal(known, np.array([1.0, math.nan]), 1.0) == 0.0


def test_a_level_that_is_off_is_told_and_changes_nothing_about_the_rate():
    said = judged(*ended(level=0.1))
    assert said.level_p < SURPRISE
    assert said.word == "holds"


def test_a_run_that_was_not_expected_to_blow_up_widens():
    after, losses = ended()
    said = judged(after, [*losses[:2], None])
    assert said.divergence_p == told()[0].divergence[2] < SURPRISE
    assert said.word == "widen"
    both = (*told()[0].interval_90, *judged(after, losses).interval_90)
    assert said.interval_90 == (min(both), max(both))
    assert "blew up" in said.reason


@pytest.mark.parametrize("run", [0, 1])
def test_a_rate_that_was_recommended_and_blew_up_is_to_be_tuned_again(run: int):
    after, losses = ended()
    said = judged(after, [None if k == run else loss for k, loss in enumerate(losses)])
    assert said.word == "tune again"
    assert "blew up" in said.reason


def test_a_run_that_says_nothing_leaves_the_verdict_to_the_others():
    after, losses = ended()
    said = judged(after, [math.nan, *losses[1:]])
    drawn = np.array(told()[0].losses, dtype=float)[:, 1:]
    assert said.contrast_p == contrast_p_value(drawn, np.array(losses[1:], dtype=float))
    assert said.divergence_p == 1.0


def test_a_verdict_waits_for_all_runs_and_stays_when_others_follow():
    study, _ = informed()
    runs = told()[1]
    after, losses = ended()
    begun = study.with_trials(*runs)
    waiting = checked(begun, told()[0], believe)
    assert waiting.pending == told()[0].trials
    assert waiting.verdict is None
    done = begun
    for run, loss in zip(runs, losses, strict=True):
        assert checked(done, told()[0], believe).verdict is None
        done = done.with_outcome(run.completed(loss))
    full = checked(done, told()[0], believe)
    assert full.verdict == judged(after, losses)
    later = replace(runs[0].completed(9.0), id=len(done.trials))
    assert checked(done.with_trials(later), told()[0], believe) == full


def test_runs_that_say_nothing_give_no_verdict():
    study, _ = informed()
    failed = [replace(run, status="failed") for run in told()[1]]
    said = checked(study.with_trials(*failed), told()[0], believe)
    assert said.verdict is None
    assert said.pending == ()


def test_the_space_decides_over_batch_and_recipe_of_the_rung():
    study, belief = informed()
    space = replace(study.space, batch_tokens=[65_536, 131_072], schedules=["wsd"])
    other: Study = small_study(space=space, prior_center=1.5e-3).with_trials(*study.trials)
    (run, *_) = proposed(other, belief, 0.1)
    assert (run.batch_tokens, run.schedule, run.averaging) == (131_072, "wsd", "none")
