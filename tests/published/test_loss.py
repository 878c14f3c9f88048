"""Loss laws give the numbers their sources print, and reduce to each other where they should."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.batch import BATCH_LAWS
from horizon_bo.published.compute import (
    compute_optimal,
    equivalent_tokens,
    smaller_model_overhead,
    tokens_factor,
)
from horizon_bo.published.loss import (
    LOSS_LAWS,
    ChinchillaLaw,
    balanced_params,
    chinchilla_law,
)
from horizon_bo.study.horizons import Horizon

CHINCHILLA, EPOCH = chinchilla_law("chinchilla"), chinchilla_law("epoch")
KAPLAN, MUENNIGHOFF = LOSS_LAWS["kaplan-loss"], LOSS_LAWS["muennighoff"]
log_params, log_tokens = st.floats(16, 27), st.floats(18, 33)


def constants(law: ChinchillaLaw) -> tuple[float, ...]:
    return (
        law.irreducible,
        law.params_scale,
        law.params_exponent,
        law.tokens_scale,
        law.tokens_exponent,
    )


def test_chinchilla_and_its_refit_carry_the_constants_printed():
    assert constants(CHINCHILLA) == (1.69, 406.4, 0.34, 410.7, 0.28)
    unrounded = chinchilla_law("chinchilla-unrounded")
    assert constants(unrounded) == (1.6934, 406.4, 0.3392, 410.7, 0.2849)
    assert constants(EPOCH) == (1.8172, 482.01, 0.3478, 2085.43, 0.3658)


def test_chinchilla_at_one_param_and_one_token_is_the_sum_of_its_constants():
    assert math.isclose(CHINCHILLA.loss(1.0, 1.0), 1.69 + 406.4 + 410.7)


def test_kaplans_joint_law_reduces_to_its_single_terms():
    # its joint fit has constants of its own: N_c 6.4e13, D_c 1.8e13, exponents 0.076 and 0.103
    assert math.isclose(KAPLAN.loss(6.4e13, 1e300), 1.0, rel_tol=1e-6)
    assert math.isclose(KAPLAN.loss(1e300, 1.8e13), 1.0, rel_tol=1e-6)
    assert math.isclose(KAPLAN.loss(6.4e12, 1e300), 10**0.076, rel_tol=1e-6)
    assert math.isclose(KAPLAN.loss(1e300, 1.8e12), 10**0.103, rel_tol=1e-6)


def test_four_epochs_are_nearly_fresh_and_forty_are_near_the_end():
    four, forty, many = MUENNIGHOFF.effective_tokens([4e9, 40e9, 1e12], 1e9)
    assert four > 0.9 * 4e9
    assert forty > 0.9 * many
    assert math.isclose(many, (1 + 15.4) * 1e9)


@given(log_params, log_tokens)
def test_data_that_never_repeat_leave_chinchilla_as_it_is(n, d):
    params, tokens = math.exp(n), math.exp(d)
    enough = max(tokens, 1e3 * params)  # unique tokens for which N is not in excess
    if balanced_params(CHINCHILLA, enough) >= params:
        assert math.isclose(
            MUENNIGHOFF.loss(params, tokens, enough), CHINCHILLA.loss(params, tokens)
        )


@given(log_params, log_tokens, st.floats(0, 6))
def test_repeating_never_beats_fresh_data(n, d, repeats):
    params, tokens = math.exp(n), math.exp(d)
    repeated = MUENNIGHOFF.loss(params, tokens, tokens * math.exp(-repeats))
    assert repeated >= CHINCHILLA.loss(params, tokens) - 1e-12


@given(st.floats(40, 60), st.floats(-1, 1))
def test_no_split_of_a_budget_beats_the_compute_optimal_one(log_flops, shift):
    flops = math.exp(log_flops)
    best = compute_optimal(EPOCH, flops)
    params = best.params * math.exp(shift)
    assert EPOCH.loss(params, flops / 6 / params) >= best.loss - 1e-12
    assert math.isclose(balanced_params(EPOCH, best.tokens), best.params, rel_tol=1e-9)


def test_epochs_refit_wants_about_twenty_tokens_a_param_at_chinchillas_budget():
    best = compute_optimal(EPOCH, 5.76e23, BATCH_LAWS["step"])
    assert 15 < best.tokens / best.params < 25
    assert best.batch_tokens == BATCH_LAWS["step"].batch_tokens(
        Horizon(params=best.params, tokens=best.tokens)
    )


@pytest.mark.parametrize(
    ("size", "overhead"), [(0.75, 0.028), (0.5, 0.20), (0.3, 1.0), (0.25, 1.88)]
)
def test_smaller_models_cost_the_extra_compute_that_go_smol_prints(size, overhead):
    ours = smaller_model_overhead(CHINCHILLA, size, 1e21)
    # the table was computed with exponents rounded otherwise; "~100 %" is 106 %
    assert math.isclose(ours, overhead, rel_tol=0.06)
    assert math.isclose(ours, smaller_model_overhead(CHINCHILLA, size, 1e24))


def test_too_small_a_model_never_catches_up():
    assert tokens_factor(CHINCHILLA, 1e-3, Horizon(params=1e10, tokens=2e11)) == math.inf


@given(st.floats(0, 0.3))
def test_equivalent_tokens_reach_the_worse_loss(excess):
    run = Horizon(params=1e9, tokens=1e11)
    tokens = equivalent_tokens(CHINCHILLA, run, excess)
    reached = CHINCHILLA.loss(run.params, tokens)
    assert math.isclose(reached, CHINCHILLA.loss(run.params, run.tokens) + excess)


def test_unknown_laws_and_budgets_are_named():
    with pytest.raises(InvalidSpaceError, match="kaplan-loss has no closed-form optimum"):
        chinchilla_law("kaplan-loss")
    with pytest.raises(InvalidSpaceError, match="flops is -1"):
        compute_optimal(EPOCH, -1.0)
