"""A study whose question changes keeps its runs, and answers as one that asked so at once."""

from dataclasses import replace

import pytest

from horizon_bo import Horizon, Scale
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study import changes
from horizon_bo.study.extension import (
    differences,
    extended,
    for_target,
    same_question,
    shown_differences,
)
from tests.studies import SPACE, TARGET, logged, pending_trial, small_study

LARGER = Horizon(params=3e9, tokens=6e10, batch_tokens=1_048_576)
RUNS = [logged(), logged(learning_rate=4e-3, batch_tokens=524_288), logged(diverged=True)]


def test_an_extended_study_is_the_one_that_was_right_from_the_start():
    budget = 0.02 * LARGER.flops
    space = replace(SPACE, scales=[Scale(params=6e7), Scale(params=3e8)])
    late = extended(
        changes.import_runs(small_study(), RUNS), target=LARGER, budget=budget, space=space
    )
    early = changes.import_runs(small_study(target=LARGER, budget=budget, space=space), RUNS)
    assert late == early  # also the batch that a row left out


def test_another_target_is_answered_as_by_a_study_of_its_own():
    asked = for_target(changes.import_runs(small_study(), RUNS), LARGER)
    own = changes.import_runs(small_study(target=LARGER, budget=small_study().budget), RUNS)
    assert asked == own


def test_a_target_smaller_than_the_runs_is_refused():
    study = changes.import_runs(small_study(), [logged(params=1.2e8)])
    for smaller in (replace(TARGET, params=1e8), replace(TARGET, tokens=5e8)):
        with pytest.raises(InvalidSpaceError, match="of the largest run"):
            extended(study, target=smaller)


def test_a_budget_that_is_negative_or_below_what_is_spent_is_refused():
    study = small_study().with_trials(pending_trial(0))
    for budget in (-1.0, 0.0, study.spent / 2):
        with pytest.raises(InvalidSpaceError, match="budget is"):
            extended(study, budget=budget)


def test_an_extension_by_nothing_and_a_scale_beyond_the_target_are_refused():
    with pytest.raises(InvalidSpaceError, match="none of budget"):
        extended(small_study())
    with pytest.raises(InvalidSpaceError, match="largest scale"):
        extended(small_study(), space=replace(SPACE, scales=[Scale(params=2e9)]))


def test_differences_are_named_with_both_values():
    one, other = small_study(), small_study(seed=3, target=replace(TARGET, tokens=4e10))
    found = shown_differences(differences(one, other), "there")
    assert "seed is 0 there and 3 given" in found
    assert "target.tokens is 2e+10 there and 4e+10 given" in found
    assert same_question(one, one.with_trials(pending_trial(0)))
