"""Center: where the best rate is expected before any run, by optimizer, and how widely."""

import math
from dataclasses import replace

import pytest

from horizon_bo.core.center import GUESS_SD, Center
from horizon_bo.core.inference import believe, study_evidence, study_expectation
from horizon_bo.core.policy import recommend
from horizon_bo.published.evidence import shipped
from horizon_bo.published.prior import prior_center
from horizon_bo.study.trials import Study
from tests.studies import small_study


def study(optimizer: str = "adamw", **given: object) -> Study:
    return small_study(optimizer=optimizer, **given)


def test_a_guess_is_the_centre_whatever_the_optimizer():
    for optimizer in ("adamw", "muon", "ours"):
        center = study_expectation(study(optimizer, prior_center=2e-3))[0]
        assert center == Center(math.log(2e-3), GUESS_SD, ("your prior_center",))


def test_adamw_without_a_guess_asks_the_published_laws():
    laws = prior_center(study().target)
    center = study_expectation(study())[0]
    assert center.log_lr == pytest.approx(math.log(laws.learning_rate))
    assert center.log_sd == laws.log_sd


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
