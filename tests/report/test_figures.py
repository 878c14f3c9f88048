"""The numbers of a study's figures are those of the recommendation, the belief and the laws."""

import math
from dataclasses import replace

import numpy as np
import pytest

from horizon_bo.cli.law_compare import compare_records
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import believe
from horizon_bo.core.linearized import LINEARISATIONS, Known, leave_one_out, linearized
from horizon_bo.core.points import Candidates
from horizon_bo.core.policy import recommend
from horizon_bo.core.surrogate import features
from horizon_bo.report.series import history_lengths, state_of, study_figures
from horizon_bo.study.changes import import_runs
from tests.beliefs import CELLS, STRADDLING, WORLD, diverged, fresh, informed
from tests.studies import TARGET, small_study
from tests.views import conditioned


@pytest.fixture(scope="module")
def figures():
    return study_figures(*informed())


def test_leaving_one_out_is_what_conditioning_on_all_runs_but_one_says():
    _, belief = informed()
    runs, posterior = belief.runs, belief.posterior
    pick = posterior.some(LINEARISATIONS)
    none = np.zeros(len(runs.loss), dtype=bool)
    bare = replace(posterior, noise_scale=posterior.noise_scale[:, none])
    offered = Candidates(runs.points, np.ones_like(runs.loss))
    known = Known(bare, runs.select(none), offered.select(none))
    joint = linearized(known, offered)
    noise = features(posterior.coefficients.select(pick), runs.points).variance
    noise = noise * posterior.noise_scale[pick]
    found = leave_one_out(posterior, runs)

    def spread(left_out: int | None) -> np.ndarray:
        kept = [k for k in range(len(runs.loss)) if k != left_out]
        sets = [
            conditioned(joint.covariance[s], {1 + k: float(noise[s, k]) for k in kept})[0, 0]
            for s in range(LINEARISATIONS)
        ]
        return np.stack(sets)

    for run in range(len(runs.loss)):
        more, less = spread(run), spread(None)
        # two ways of solving the same ill-conditioned systems
        assert float(found.spread[run]) == pytest.approx(
            math.sqrt(more.mean() / less.mean()), rel=1e-5
        )
        weighted = (joint.curvature * more).mean() / (joint.curvature * less).mean()
        assert float(found.regret[run]) == pytest.approx(float(weighted), rel=1e-5)


def test_the_bowl_is_lowest_at_the_recommendation_by_its_expected_regret(figures):
    bowl, best = figures.bowl, figures.recommendation
    at = int(np.abs(bowl.learning_rate - best.learning_rate).argmin())
    assert bowl.learning_rate[at] == pytest.approx(best.learning_rate, rel=1e-12)
    assert bowl.expected_regret[at] == pytest.approx(best.expected_regret, rel=1e-12)
    # the figure's rates lie between those that the recommendation was chosen among
    assert bowl.expected_regret.min() >= 0.999 * best.expected_regret
    assert bowl.divergence[at] == pytest.approx(best.divergence_probability, rel=1e-9)
    assert (bowl.low >= 0).all()
    assert (bowl.low <= bowl.median).all()
    assert (bowl.median <= bowl.high).all()
    assert (np.diff(bowl.divergence) >= 0).all()


def test_both_curves_of_the_best_rate_pass_through_the_interval_at_the_target(figures):
    low, high = figures.recommendation.interval_90
    for curve, own in ((figures.over_tokens, TARGET.tokens), (figures.over_params, TARGET.params)):
        (here,) = np.flatnonzero(np.isclose(curve.at, own, rtol=1e-12))
        # other draws of the same posterior: the interval agrees to within a fifth of an octave
        assert abs(np.log2(curve.low[here] / low)) < 0.2
        assert abs(np.log2(curve.high[here] / high)) < 0.2
        assert (curve.low < curve.median).all()
        assert (curve.median < curve.high).all()


def test_a_run_lies_as_far_from_each_curve_as_from_its_own_best_rate(figures):
    for curve in (figures.over_tokens, figures.over_params):
        logs = np.interp(np.log(curve.run_at), np.log(curve.at), np.log(curve.median))
        off = np.log2(curve.run_rate) - logs / np.log(2)
        assert np.allclose(off, figures.runs.octaves_off)
    for k, trial in enumerate(figures.study.trials):
        truth = np.log(trial.learning_rate) - WORLD.log_optimum_at(trial.params, trial.tokens)
        # nine runs know each cell's own optimum to within an octave
        assert abs(figures.runs.octaves_off[k] - truth / np.log(2)) < 1


def test_every_run_has_told_something_and_its_cost_is_its_compute(figures):
    runs, study = figures.runs, figures.study
    assert (runs.regret_removed > 0).all()
    assert (runs.octaves_removed > 0).all()
    assert np.allclose(runs.cost, [t.flops / study.target.flops for t in study.trials])
    assert not runs.charged.any()


def test_the_history_ends_at_the_recommendation_and_starts_at_the_prior(figures):
    history, best = figures.history, figures.recommendation
    prior = recommend(*fresh())
    for at, answer in ((0, prior), (-1, best)):
        assert history.learning_rate[at] == answer.learning_rate
        assert (history.low_90[at], history.high_90[at]) == answer.interval_90
        assert history.expected_regret[at] == answer.expected_regret
    assert history.spent[-1] == 0.0  # logs are free
    assert history.compute[-1] == pytest.approx(figures.runs.cost.sum())


def test_a_state_of_the_history_is_what_the_study_said_then(figures):
    study, _ = informed()
    length = int(figures.history.trials[1])
    then = decide(believe(replace(study, trials=study.trials[:length])))
    assert figures.history.learning_rate[1] == np.exp(then.log_lr)


def test_a_history_of_many_runs_keeps_eight_states_at_most_and_both_ends():
    octaves = np.linspace(-2, 2, 34)
    runs = WORLD.sweep(((6e7, 1e9), (6e7, 2e9), (1.2e8, 4e9), (6e8, 1e10)), octaves)
    for counted in (True, False):
        study = import_runs(small_study(), runs, count_cost=counted)
        lengths = history_lengths(study)
        assert len(lengths) <= 8
        assert lengths == sorted(set(lengths))
        assert (lengths[0], lengths[-1]) == (0, len(runs))


def test_free_logs_before_the_first_paid_run_are_one_state():
    study = import_runs(small_study(), WORLD.sweep(CELLS, STRADDLING))
    study = import_runs(study, WORLD.sweep(CELLS[:1], (0, 1)), count_cost=True)
    assert history_lengths(study)[:3] == [0, 9, 10]


def test_opinions_are_the_rates_that_law_compare_prints_and_none_is_expected_to_beat_ours(figures):
    opinions, best = figures.opinions, figures.recommendation
    said = dict(zip(opinions.name, opinions.learning_rate, strict=True))
    assert said.pop("prior") == pytest.approx(math.exp(fresh()[1].center.log_lr))
    assert said == compare_records((), TARGET, None, 1.0)[0]["rates"]
    # the recommendation is the best of a grid, so a rate between its points may win by a hair
    assert (opinions.expected_regret > best.expected_regret * 0.999).all()


def test_under_mup_no_law_for_another_parametrization_speaks():
    study = small_study(parametrization="mup", prior_center=1.5e-3)
    assert study_figures(study).opinions.name.tolist() == ["prior"]


def test_an_empty_study_has_figures_of_its_prior():
    figures = study_figures(*fresh())
    assert figures.history.trials.tolist() == [0]
    assert figures.runs.id.size == figures.over_tokens.run_at.size == 0
    assert figures.over_tokens.at.max() >= TARGET.tokens


def test_diverged_runs_have_a_place_but_no_loss_to_tell_of():
    runs = diverged(WORLD.sweep(CELLS[:1], (3, 4)))
    figures = study_figures(import_runs(small_study(prior_center=1.5e-3), runs))
    assert np.isnan(figures.runs.excess).all()
    assert (figures.runs.regret_removed == 0).all()
    assert (figures.runs.octaves_off > 0).all()


def test_merged_runs_share_what_they_told_together():
    runs = WORLD.sweep(CELLS[:2], np.linspace(-2, 2, 110))
    study = import_runs(small_study(prior_center=1.5e-3), runs)
    belief = believe(study)
    assert len(belief.runs.loss) < len(runs)
    # one belief stands for all of the history, which says nothing here
    figures = study_figures(study, belief, state=lambda _: state_of(belief))
    share = leave_one_out(belief.posterior, belief.runs).regret - 1
    removed = figures.runs.regret_removed / figures.recommendation.expected_regret
    assert removed.sum() == pytest.approx(float(share.sum()))
