"""Center: where the best rate is expected before any run, by optimizer, and how widely."""

import math
from dataclasses import replace

import pytest

from horizon_bo.core.center import GUESS_NAME, GUESS_SD, LEAST_SD
from horizon_bo.core.inference import believe, study_evidence, study_expectation
from horizon_bo.core.policy import recommend
from horizon_bo.published.evidence import evidence_record, shipped
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS
from horizon_bo.published.prior import prior_center
from horizon_bo.study.trials import Study
from tests.studies import small_study


def study(optimizer: str = "adamw", **given: object) -> Study:
    return small_study(optimizer=optimizer, **given)


@pytest.mark.parametrize("optimizer", ["muon", "ours"])
def test_a_guess_is_held_together_with_what_is_published_by_how_sure_each_is(optimizer):
    published = study_expectation(study(optimizer))[0]
    center = study_expectation(study(optimizer, prior_center=2e-3))[0]
    weight = published.log_sd**2 / (GUESS_SD**2 + published.log_sd**2)
    expected = weight * math.log(2e-3) + (1 - weight) * published.log_lr
    assert center.log_lr == pytest.approx(expected)
    assert center.sources == (GUESS_NAME, *published.sources)
    assert center.known


def test_the_less_is_published_of_an_optimizer_the_more_a_guess_weighs():
    def moved(optimizer: str) -> float:
        without, with_guess = (
            study_expectation(study(optimizer, **given))[0].log_lr
            for given in ({}, {"prior_center": 2e-3})
        )
        return (with_guess - without) / (math.log(2e-3) - without)

    assert moved("ours") > moved("muon") > moved("adamw") > 0.3


def test_a_guess_and_laws_that_contradict_each_other_leave_the_rate_open():
    near, far = (study_expectation(study(prior_center=guess))[0].log_sd for guess in (1e-3, 10.0))
    assert near == LEAST_SD
    assert far > 3 * near


def test_adamw_without_a_guess_asks_published_laws_and_sweeps_that_were_made_with_it():
    laws = prior_center(study().target)
    center = study_expectation(study())[0]
    assert set(laws.sources) < set(center.sources)
    made = {each.name for each in shipped() if each.optimum and each.optimizer == "adamw"}
    assert set(center.sources) - set(laws.sources) == made - {"stdlib µP"}
    assert LEAST_SD <= center.log_sd < laws.log_sd


def test_a_sweep_of_ones_own_moves_the_centre_towards_its_best_rate():
    (own,) = (each for each in shipped() if each.name == "misfitting")
    high = replace(own, optimum=replace(own.optimum, learning_rate=10 * own.optimum.learning_rate))
    low, moved = (
        study_expectation(study(prior=evidence_record((each,))))[0].log_lr for each in (own, high)
    )
    assert 0.2 * math.log(10) < moved - low < 0.8 * math.log(10)


def test_where_no_sweep_may_speak_the_published_laws_do():
    known = tuple(name for each in shipped() for name in each.data)
    alone = study(excluded_data=known)
    laws = prior_center(alone.target, exclude_data=known)
    center = study_expectation(alone)[0]
    assert center.sources == laws.sources
    assert center.log_lr == pytest.approx(math.log(laws.learning_rate))


def test_muon_without_a_guess_is_centred_on_sweeps_made_with_muon():
    center = study_expectation(study("muon"))[0]
    assert all("muon" in name for name in center.sources)
    assert center.known
    assert center.log_sd > study_expectation(study())[0].log_sd


def test_an_optimizer_that_no_sweep_knows_gets_a_wide_prior_and_is_told_so():
    center = study_expectation(study("ours"))[0]
    assert not center.known
    assert center.log_sd > study_expectation(study("muon"))[0].log_sd
    unknown = study("ours")
    words = " ".join(recommend(unknown, believe(unknown)).warnings)
    assert "no sweep behind the prior was made with ours" in words


def test_weights_that_keep_their_norms_get_a_wide_prior_that_size_hardly_moves():
    held = replace(study(), parametrization="hypersphere")
    center, population = study_expectation(held)
    assert not center.known
    assert center.log_sd >= math.log(10) - 1e-9
    mup = study_expectation(replace(study(), parametrization="mup"))[1]
    assert population.mean[0] == mup.mean[0]
    assert abs(population.mean[0]) < 0.15
    words = " ".join(recommend(held, believe(held)).warnings)
    assert "was made with adamw under hypersphere: it is wide" in words


def test_the_centre_before_any_run_holds_each_recipes_best_rate_without_it_and_its_relatives():
    held = []
    for each in shipped():
        if (best := each.optimum) is None:
            continue
        target = replace(
            study().target, params=best.params, tokens=best.tokens, batch_tokens=best.batch_tokens
        )
        about = {"parametrization": each.parametrization, "experts": each.experts}
        alone = replace(study(each.optimizer), target=target, excluded_data=each.data, **about)
        assert not {other.group for other in study_evidence(alone)} & {each.group}
        center = study_expectation(alone)[0]
        away = abs(math.log(best.learning_rate) - center.log_lr)
        held.append(away < 1.645 * math.hypot(center.log_sd, best.log_sd))
    assert sum(held) >= 0.85 * len(held)


def test_a_law_is_refused_for_every_relative_of_the_sweep_that_it_was_fitted_to():
    for law in LEARNING_RATE_LAWS.values():
        fitted = [each for each in shipped() if set(each.data) & set(law.data)]
        relatives = {name for each in fitted for name in each.data}
        assert relatives <= set(law.data), law.name


@pytest.mark.parametrize("sweep", ["steplaw_dense", "steplaw-moe", "steplaw_moe"])
def test_neither_of_step_laws_sweeps_is_judged_by_a_centre_that_knows_step_law(sweep):
    sources = study_expectation(study(prior_center=1e-3, excluded_data=(sweep,)))[0].sources
    assert "deepseek" in sources
    assert "step" not in sources
