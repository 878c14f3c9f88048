"""Candidates: the runs on offer lie in the space, and any rate in it can come up."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import Scale, SearchSpace
from horizon_bo.core.candidates import horizons, pool_of_space, rates
from horizon_bo.study.trials import Study
from tests.beliefs import narrowed
from tests.studies import SPACE, TARGET, pending_trial, small_study

OCTAVE = math.log(2)


def study_with(space: SearchSpace, trials: int = 0, **changes) -> Study:
    pending = [pending_trial(k) for k in range(trials)]
    return small_study(space=space, **changes).with_trials(*pending)


bounds = st.tuples(st.floats(1e-6, 1e-1), st.floats(1.0, 1e4)).map(
    lambda pair: (pair[0], pair[0] * pair[1])
)


@given(bounds, st.integers(0, 5), st.integers(0, 1000))
def test_rates_on_offer_lie_in_the_space_half_an_octave_apart(limits, trials, seed):
    low, high = limits
    offered = rates(study_with(narrowed(low, high), trials, seed=seed))
    assert offered
    assert all(low * (1 - 1e-12) <= rate <= high * (1 + 1e-12) for rate in offered)
    if high / low > 2:
        for one, next_one in pairwise(offered):
            assert math.log(next_one / one) == pytest.approx(OCTAVE / 2)
        # no end of the space is left out by more than a step
        assert math.log(offered[0] / low) <= OCTAVE / 2 + 1e-9
        assert math.log(high / offered[-1]) <= OCTAVE / 2 + 1e-9


def test_the_grid_of_rates_moves_from_step_to_step_and_with_the_seed():
    space = narrowed(1e-4, 1e-2)
    first = {rates(study_with(space, trials))[0] for trials in range(20)}
    assert len(first) == 20
    # shifts are uniform over half an octave: 20 of them leave no quarter of it empty with
    # probability 0.987, fixed by the seed
    quarters = {int(4 * math.log(rate / 1e-4) / (OCTAVE / 2)) for rate in first}
    assert quarters == {0, 1, 2, 3}
    assert rates(study_with(space, seed=1)) != rates(study_with(space, seed=2))


def test_the_same_study_offers_the_same_rates():
    assert rates(study_with(SPACE, 3, seed=7)) == rates(study_with(SPACE, 3, seed=7))


@given(st.floats(1e8, 1e12), st.floats(1, 300))
def test_a_range_of_tokens_is_offered_in_octaves_with_both_ends(low, ratio):
    offered = horizons(study_with(replace(SPACE, tokens=(low, low * ratio))))
    assert offered[0] == low
    assert offered[-1] == pytest.approx(low * ratio)
    steps = [math.log(b / a) for a, b in pairwise(offered)]
    assert all(0 < step < 1.5 * OCTAVE for step in steps)
    assert all(step == pytest.approx(steps[0]) for step in steps)


def test_a_list_of_tokens_is_offered_as_it_is():
    assert horizons(study_with(replace(SPACE, tokens=[1e9, 3e9]))) == [1e9, 3e9]


def test_the_pool_is_every_combination_that_the_space_allows():
    space = SearchSpace(
        learning_rate=(1e-3, 1e-3),
        scales=[Scale(params=1e8, settings={"width": 8}), Scale(params=2e8, flops_per_token=1e9)],
        tokens=[1e9, 2e9],
        batch_tokens=[1e5, 2e5],
        schedules=["cosine", "wsd"],
        averagings=["none", "lawa"],
    )
    pool = pool_of_space(study_with(space))
    log_scales = {(t.params, t.tokens, t.batch_tokens, t.schedule, t.averaging) for t in pool}
    assert len(pool) == len(log_scales) == 2**5
    assert {trial.learning_rate for trial in pool} == {1e-3}
    for trial in pool:
        per_token = 6e8 if trial.params == 1e8 else 1e9
        assert trial.flops == per_token * trial.tokens
        assert ("width" in trial.settings) == (trial.params == 1e8)


def test_what_the_space_does_not_name_is_the_targets():
    for trial in pool_of_space(study_with(SPACE, source="ours")):
        assert trial.batch_tokens == TARGET.batch_tokens
        assert (trial.schedule, trial.averaging) == (TARGET.schedule, TARGET.averaging)
        assert trial.source == "ours"
