"""Inference: a belief depends on the runs, and on nothing that should not matter."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist, pdist
from scipy.stats import chi2, ks_2samp, mannwhitneyu

from horizon_bo import Horizon, LoggedRun
from horizon_bo.core import inference
from horizon_bo.core.conditioning import condition, token_slope
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import (
    LOSS_BEFORE_DATA,
    MOST_RUNS,
    MOST_SCATTERED,
    Belief,
    believe,
    condensed,
    finished_runs,
    target_draws,
    thinned,
    without_repeats,
)
from horizon_bo.core.policy import recommend, suggest
from horizon_bo.core.priors import coefficients
from horizon_bo.core.sampler import Posterior
from horizon_bo.study.changes import import_runs, start
from horizon_bo.study.trials import Study
from tests.beliefs import CELLS, STRADDLING, WORLD, fresh, informed
from tests.dense import dense, loading
from tests.near import close
from tests.priors import PRIORS
from tests.studies import TARGET, logged, pending_trial, small_study
from tests.worlds import PlainWorld, runs_at


def study_of(runs: list[LoggedRun], **changes) -> Study:
    return import_runs(small_study(**{"prior_center": 1.5e-3, **changes}), runs)


def same(left: Belief, right: Belief) -> bool:
    return np.array_equal(left.posterior.z, right.posterior.z) and np.array_equal(
        left.target.log_optimum, right.target.log_optimum
    )


def test_the_same_study_gives_the_same_belief_bit_for_bit():
    study = study_of(WORLD.sweep(CELLS[:1], STRADDLING))
    rebuilt = small_study(prior_center=1.5e-3).with_trials(
        *(replace(trial) for trial in study.trials)
    )
    assert same(believe(study), believe(rebuilt))


def test_another_seed_gives_other_draws_of_the_same_posterior():
    # two-sample KS at 1e-3 on every fourth of 256 particles, which repeat each other
    runs = WORLD.sweep(CELLS[:1], STRADDLING)
    one, two = (believe(study_of(runs, seed=seed)) for seed in (0, 1))
    assert not same(one, two)
    left, right = (b.posterior.fit.coefficients.law.log_optimum[::4].tolist() for b in (one, two))
    assert ks_2samp(left, right).pvalue > 1e-3


def test_pending_and_failed_runs_are_no_data():
    study = study_of([logged()])
    waiting = study.with_trials(pending_trial(1), replace(pending_trial(2), status="failed"))
    close(finished_runs(waiting)[0].points.log_lr, finished_runs(study)[0].points.log_lr)
    assert len(finished_runs(waiting)[0].loss) == 1


def test_runs_enter_as_logs_relative_to_the_target():
    study = study_of([logged(learning_rate=2e-3, params=1e8, tokens=2e9, batch_tokens=131_072)])
    runs, recipes, scale = finished_runs(study)
    close(runs.points.log_lr, np.log([2e-3]))
    expected = np.log([[0.1, 0.1, 0.5]])
    close(runs.points.log_scales, expected)
    close(runs.cells.log_scales, np.concat([np.zeros((1, 3)), expected]))
    assert (recipes, scale) == ((), 3.1)


def test_losses_are_in_units_of_the_median_loss_of_the_own_recipe():
    runs = [
        logged(loss=loss, learning_rate=rate)
        for loss, rate in ((2.0, 3e-3), (3.0, 2e-3), (4.0, 1e-3))
    ] + [logged(loss=9.0, source="old")] * 5
    finished, recipes, scale = finished_runs(study_of(runs))
    assert scale == 3.0
    assert recipes == ("old",)
    close(finished.loss[:3], np.array([4, 3, 2], dtype=float) / 3)
    assert finished_runs(study_of(runs[3:]))[2] == 9.0
    assert finished_runs(study_of([logged(loss=None, diverged=True)]))[2] == LOSS_BEFORE_DATA


def test_a_known_error_of_a_loss_adds_to_the_noise():
    (trial,) = study_of([logged(loss=2.0, loss_sd=0.01)]).trials
    assert trial.loss_sd == 0.01
    close(
        finished_runs(study_of([logged(loss=2.0, loss_sd=0.01)]))[0].variance,
        np.array([0.005**2]),
    )


@pytest.mark.parametrize("factor", [0.25, 1 / math.log(2)], ids=["a quarter", "bits for nats"])
def test_the_unit_of_the_loss_scales_losses_and_leaves_rates_alone(factor):
    runs = WORLD.sweep(CELLS, STRADDLING)
    study, belief = informed()
    rescaled = study_of([replace(run, loss=factor * (run.loss or 0.0)) for run in runs])
    ours, theirs = recommend(study, belief), recommend(rescaled, believe(rescaled))
    # a quarter is exact; another factor rounds, which 8 stages of moves carry on
    tolerance = {"rel": 1e-12 if factor == 0.25 else 1e-5}
    for name in ("learning_rate", "interval_50", "interval_90", "expected_overhead", "spent"):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name), **tolerance)
    for name in ("expected_regret", "predicted_loss", "value_of_next_run"):
        assert getattr(theirs, name) == pytest.approx(factor * getattr(ours, name), **tolerance)
    assert theirs.stop == ours.stop


def test_but_for_the_centre_tokens_and_params_count_only_relative_to_the_target(monkeypatch):
    study, belief = informed()
    monkeypatch.setattr(inference, "study_center", lambda *_: belief.center)
    bigger = [
        replace(run, params=8 * run.params, tokens=4 * run.tokens)
        for run in WORLD.sweep(CELLS, STRADDLING)
    ]
    target = Horizon(params=8e9, tokens=8e10, batch_tokens=TARGET.batch_tokens)
    moved = import_runs(small_study(target=target, prior_center=1.5e-3), bigger)
    assert same(believe(moved), belief)
    assert study.target != target


def test_the_order_of_scales_is_immaterial():
    study, belief = informed()
    turned = replace(study, space=replace(study.space, scales=study.space.scales[::-1]))
    assert same(believe(turned), belief)
    ours, theirs = suggest(study, belief), suggest(turned, belief)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.learning_rate, one.params, one.tokens) == (
            other.learning_rate,
            other.params,
            other.tokens,
        )


def test_a_suggestion_under_way_leaves_the_data_as_they_were():
    study, belief = informed()
    waiting = start(study, suggest(study, belief))
    before, after = finished_runs(study)[0], finished_runs(waiting)[0]
    close(after.loss, before.loss, rtol=0, atol=0)
    close(after.cells.log_scales, before.cells.log_scales, rtol=0, atol=0)


def test_interpolation_to_a_target_smaller_than_the_runs_works():
    world = PlainWorld(target=TARGET)
    runs = world.sweep([(4e9, 4e10), (2e9, 8e10)], (-2, -1, 0, 1))
    decision = decide(believe(study_of(runs)))
    low, high = decision.log_interval_90
    assert low < world.log_optimum < high
    assert abs(decision.log_lr - world.log_optimum) < math.log(2)


def test_runs_without_any_noise_can_be_factored():
    # the likelihood's precision once exceeded what float64 can factor
    exact = replace(WORLD, noise=0.0)
    cells = [*CELLS, (1.2e8, 1e9)]
    runs = exact.sweep(cells, [-1.2, -0.2, 0.8, 1.8] * 2)
    decision = decide(believe(study_of(runs)))
    assert abs(decision.log_lr - WORLD.log_optimum) < math.log(2)


@pytest.mark.slow
def test_the_order_of_observations_matters_less_than_the_seed():
    # Mann-Whitney on 10 seeds each at 1e-3; the median shift stays below the seeds' spread
    runs = WORLD.sweep(CELLS, STRADDLING)
    chosen = [
        [decide(believe(study_of(order, seed=seed))).log_lr for seed in range(10)]
        for order in (runs, runs[::-1])
    ]
    assert mannwhitneyu(*chosen).pvalue > 1e-3
    shift = statistics.median(chosen[0]) - statistics.median(chosen[1])
    assert abs(shift) < 0.15  # ln units: a fifth of an octave


@pytest.mark.slow
def test_one_outlier_of_thirty_deviations_hardly_moves_the_answer():
    # medians over 3 seeds, so that Monte Carlo error of about 0.03 does not count
    runs = WORLD.sweep(CELLS, (-1, 0, 1, 2))

    def chosen(given: list[LoggedRun]) -> float:
        return statistics.median(
            decide(believe(study_of(given, seed=seed))).log_lr for seed in range(3)
        )

    sound, shifts = chosen(runs), []
    for wrong in (1, 6):
        bad = replace(runs[wrong], loss=(runs[wrong].loss or 0.0) + 30 * WORLD.noise)
        shifts.append(abs(chosen([*runs[:wrong], bad, *runs[wrong + 1 :]]) - sound))
    assert max(shifts) < 0.35  # half an octave


@pytest.mark.slow
def test_known_coefficients_are_recovered_from_many_runs():
    # six cells of eight runs; every truth within 3.5 posterior deviations: false alarm 2e-3,
    # were the posterior normal
    world = PlainWorld(target=TARGET, per_params=-0.2, per_tokens=0.1, noise=1e-3)
    cells = [(n, d) for n in (6e7, 2.4e8) for d in (1e9, 4e9, 1.6e10)]
    belief = believe(study_of(world.sweep(cells, [-3 + k for k in range(8)]), prior_center=5e-3))
    c = belief.posterior.fit.coefficients
    truths = {
        "log_optimum": world.log_optimum,
        "optimum_per_params": world.per_params,
        "optimum_per_tokens": world.per_tokens,
        "curvature_per_tokens": world.curvature_per_tokens,
        "log_curvature": math.log(world.curvature / belief.loss_scale),
        "asymmetry": 0.7,
    }
    for name, truth in truths.items():
        values = getattr(c.law, name)
        assert abs(float(values.mean()) - truth) < 3.5 * float(values.std()), name
    assert float(c.law.log_optimum.std(ddof=1)) < 0.5 * PRIORS["log_optimum"].scale
    assert float(c.law.log_curvature.std(ddof=1)) < 0.5 * PRIORS["log_curvature"].scale
    noise = belief.loss_scale * float(np.median(c.noise_sd))
    # noise grows as compute falls, so at the runs it is more than at the target
    assert noise < 3 * world.noise


def test_few_runs_are_not_condensed():
    runs = finished_runs(informed()[0])[0]
    assert condensed(runs) is runs


def test_many_runs_are_condensed_within_cells_and_a_narrow_range_of_rates():
    generator = np.random.default_rng(0)
    count = 3 * MOST_RUNS
    log_lr = -8 + 3 * generator.random(count)
    log_scales = [[-1.0, -1.0, 0.0], [-2.0, -1.0, 0.0]] * (count // 2)
    loss = np.where(log_lr > -5.2, np.nan, 1 + 0.01 * (log_lr + 6.5) ** 2)
    runs = runs_at(log_lr.tolist(), log_scales, loss.tolist(), known_sd=0.01)
    fewer = condensed(runs)
    assert len(fewer.loss) <= MOST_RUNS
    assert fewer.count.sum() == count
    assert fewer.count[fewer.diverged].sum() == runs.diverged.sum()
    close(fewer.points.log_scales, fewer.cells.log_scales[fewer.cell])  # each of one cell
    mean = 1 + 0.01 * (fewer.points.log_lr + 6.5) ** 2
    ended = ~fewer.diverged
    # the loss is that of a rate in the same tenth of ln η, on a bowl of slope up to 0.03
    assert np.abs(fewer.loss - mean)[ended].max() < 0.1 * 0.03
    close(fewer.variance, 1e-4 / fewer.count)


def test_repeats_of_a_run_become_one_that_knows_their_number():
    rates, losses = [-6.0, -6.0, -5.0, -6.0, -5.0], [1.0, 1.2, 1.1, math.nan, 1.3]
    one = without_repeats(runs_at(rates, [[-1.0, -1.0, 0.0]] * 4 + [[-2.0, -1.0, 0.0]], losses))
    told = sorted(zip(one.points.log_lr.tolist(), one.count.tolist(), strict=True))
    assert told == [(-6.0, 1.0), (-6.0, 2.0), (-5.0, 1.0), (-5.0, 1.0)]
    assert one.loss[one.count == 2].tolist() == pytest.approx([1.1])
    different = runs_at(rates[1:4], [[-1.0, -1.0, 0.0]] * 3, losses[1:4])
    assert without_repeats(different) is different


@pytest.mark.slow
def test_a_hundred_copies_of_a_run_say_little_more_than_one():
    def octaves(copies: int, seed: int) -> float:
        study = replace(study_of([logged(loss=3.2)] * copies), seed=seed)
        low, high = recommend(study, believe(study)).interval_90
        return math.log2(high / low)

    narrower = [octaves(1, seed) - octaves(100, seed) for seed in range(4)]
    assert sum(narrower) / len(narrower) < 0.5


def test_scattered_runs_are_thinned_out_with_repeats_merged_and_none_far_from_a_kept_one():
    generator = np.random.default_rng(0)
    places = -5 * generator.random((400, 3))
    log_lr = -9 + 4 * generator.random(400)
    twice = np.concat([log_lr, log_lr])
    runs = runs_at(twice.tolist(), np.tile(places, (2, 1)).tolist(), [1.0] * 400 + [1.2] * 400)
    kept = thinned(condensed(runs))
    assert len(kept) == MOST_SCATTERED
    close(kept.loss, np.full_like(kept.loss, 1.1))
    assert set(kept.count.tolist()) == {2.0}
    at = np.concat([kept.points.log_lr[:, None], kept.points.log_scales], 1)
    everything = np.concat([log_lr[:, None], places], 1)
    reach = cdist(everything, at).min(1).max()
    apart = pdist(at).min()
    assert reach <= apart  # what farthest-first promises
    few = runs.select(np.arange(MOST_SCATTERED))
    assert thinned(few) is few


def test_before_the_first_run_the_optimum_is_the_prior_with_its_drift():
    belief = fresh()[1]
    # 2,048 draws in 256 sets: the median errs by 1.25 · 1.1/√256 = 0.09, four times that
    median = float(np.median(belief.target.log_optimum))
    assert abs(median - belief.center.log_lr) < 0.36
    assert belief.target.log_optimum.std() > PRIORS["log_optimum"].scale


def test_two_runs_that_become_one_leave_their_mean_and_their_number():
    runs = runs_at([-6.0, -6.01], [[-1.0, -1.0, 0.0]] * 2, [1.0, 1.2])
    one = condensed(runs, most=1)
    assert one.loss.tolist() == pytest.approx([1.1])
    assert one.points.log_lr.tolist() == pytest.approx([-6.005])
    assert one.count.tolist() == [2.0]


def test_draws_at_the_target_are_those_of_dense_conditioning():
    # one coefficient set 600 times over, eight draws of each; false-alarm rate 1e-4 for the means
    # and 1e-4 for each of three variances and for the three correlations
    runs = runs_at(
        [-7.5, -6.4, -5.0, -6.9, -5.8],
        [[-2, -1, 0]] * 3 + [[-1, -2, -0.7]] * 2,
        [1.21, 1.18, 1.26, 1.14, 1.13],
        known_sd=2e-3,
    )
    generator = np.random.default_rng(3)
    z = 0.5 * generator.standard_normal((1, len(PRIORS)))
    basis, departures, mean, noise = dense(z[0], runs)
    rows = loading(basis, runs)
    gain = departures @ rows.T @ np.linalg.inv(rows @ departures @ rows.T + np.diag(noise))
    cells = len(runs.cells)
    at_target = [0, cells, 2 * cells]  # level, drift and curvature of cell 0
    center = (gain @ (runs.loss - mean))[at_target]
    covariance = (departures - gain @ rows @ departures)[at_target][:, at_target]

    many, one = np.tile(z, (600, 1)), np.ones((600, len(runs)))
    fit = condition(many, one, runs, PRIORS)
    posterior = Posterior(many, one, PRIORS, fit, acceptance=0.3, stages=1, distinct=1.0)
    draws = target_draws(posterior, runs, generator)
    c = coefficients(z, PRIORS)
    found = np.stack(
        [
            draws.level - 1,
            draws.log_optimum - c.law.log_optimum,
            np.log(draws.curvature) - c.law.log_curvature,
        ]
    )
    root = np.linalg.cholesky(covariance)
    white = solve_triangular(root, found - center[:, None], lower=True)
    count = white.shape[1]
    assert count == 4800
    assert count * (white.mean(1) ** 2).sum() < chi2.isf(1e-4, 3)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], count)
    squares = (white**2).sum(1)
    assert ((squares > low) & (squares < high)).all()
    assert (np.tril(white @ white.T, -1) ** 2).sum() / count < chi2.isf(1e-4, 3)
    # the cliff moves with the optimum, drift and all
    close(draws.log_cliff - draws.log_optimum, np.full(count, c.cliff))
    close(draws.asymmetry, np.full(count, c.law.asymmetry))
    close(draws.token_slope, np.tile(token_slope(fit, runs), 8))
