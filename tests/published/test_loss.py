"""Loss laws give the numbers their sources print, and reduce to each other where they should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.batch import batch_law
from horizon_bo.published.compute import (
    compute_optimal,
    equivalent_tokens,
    smaller_model_overhead,
    tokens_factor,
)
from horizon_bo.published.loss import (
    CHINCHILLA,
    CHINCHILLA_UNROUNDED,
    EPOCH,
    EPOCH_SD,
    KAPLAN,
    MUENNIGHOFF,
    BrokenPowerLaw,
    ChinchillaLaw,
    ConvexBoundLaw,
    balanced_params,
    kaplan_params_only,
    kaplan_tokens_only,
    loss_law,
)
from horizon_bo.study.horizons import Horizon

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
    assert constants(CHINCHILLA_UNROUNDED) == (1.6934, 406.4, 0.3392, 410.7, 0.2849)
    assert constants(EPOCH) == (1.8172, 482.01, 0.3478, 2085.43, 0.3658)
    assert EPOCH_SD == (0.03, 124.58, 0.02, 1293.23, 0.02)


def test_chinchilla_at_one_param_and_one_token_is_the_sum_of_its_constants():
    assert math.isclose(CHINCHILLA.loss(1.0, 1.0), 1.69 + 406.4 + 410.7)


def test_kaplans_joint_law_reduces_to_its_single_terms():
    # its joint fit has constants of its own: N_c 6.4e13, D_c 1.8e13, exponents 0.076 and 0.103
    assert math.isclose(KAPLAN.loss(6.4e13, 1e300), 1.0, rel_tol=1e-6)
    assert math.isclose(KAPLAN.loss(1e300, 1.8e13), 1.0, rel_tol=1e-6)
    assert math.isclose(KAPLAN.loss(6.4e12, 1e300), 10**0.076, rel_tol=1e-6)
    assert math.isclose(KAPLAN.loss(1e300, 1.8e12), 10**0.103, rel_tol=1e-6)
    assert math.isclose(kaplan_params_only(8.8e12), 10**0.076)
    assert math.isclose(kaplan_tokens_only(5.4e12), 10**0.095)


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


def test_a_broken_power_law_without_breaks_is_a_power_law():
    law = BrokenPowerLaw(limit=1.5, scale=10.0, exponent=0.3)
    np.testing.assert_allclose(law.loss([1.0, 1e3]), [11.5, 1.5 + 10 * 1e3**-0.3])


def test_a_break_changes_the_exponent_on_its_far_side():
    law = BrokenPowerLaw(limit=0.0, scale=1.0, exponent=0.1, breaks=((0.3, 1e4, 0.2),))
    near, far = law.loss([1.0, 10.0]), law.loss([1e8, 1e9])
    assert math.isclose(np.log10(near[0] / near[1]), 0.1, abs_tol=1e-3)
    assert math.isclose(np.log10(far[0] / far[1]), 0.4, abs_tol=1e-3)
    # the formula as printed, at a point where nothing saturates
    direct = 2e4**-0.1 * (1 + (2e4 / 1e4) ** (1 / 0.2)) ** (-0.3 * 0.2)
    assert math.isclose(law.loss(2e4), direct)


@given(st.floats(-3, 3), st.floats(2, 12))
def test_the_convex_bound_is_a_hyperbolic_cosine_about_its_optimum(u, log_steps):
    law = ConvexBoundLaw(limit=2.0, distance=0.5, noise=3.0)
    steps = math.exp(log_steps)
    rate = law.optimal_learning_rate(steps) * math.exp(u)
    depth = 2 * 0.5 * 3.0 / math.sqrt(steps)
    assert math.isclose(law.loss(rate, steps), 2.0 + depth * math.cosh(u))


@given(st.floats(40, 60), st.floats(-1, 1))
def test_no_split_of_a_budget_beats_the_compute_optimal_one(log_flops, shift):
    flops = math.exp(log_flops)
    best = compute_optimal(EPOCH, flops)
    params = best.params * math.exp(shift)
    assert EPOCH.loss(params, flops / 6 / params) >= best.loss - 1e-12
    assert math.isclose(balanced_params(EPOCH, best.tokens), best.params, rel_tol=1e-9)


def test_epochs_refit_wants_about_twenty_tokens_a_param_at_chinchillas_budget():
    best = compute_optimal(EPOCH, 5.76e23, batch_law("step"))
    assert 15 < best.tokens / best.params < 25
    assert best.batch_tokens == batch_law("step").batch_tokens(
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
    with pytest.raises(InvalidSpaceError, match="expected one of chinchilla"):
        loss_law("no")
    with pytest.raises(InvalidSpaceError, match="flops is -1"):
        compute_optimal(EPOCH, -1.0)
