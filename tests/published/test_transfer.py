"""Transfer and audit give the sources' worked examples and behave as ratios must."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.audit import audit, relative_excess
from horizon_bo.published.mup import Factors, Growth, transfer_factors
from horizon_bo.published.transfer import transfer
from horizon_bo.study.horizons import Horizon

SMALL = Horizon(params=2e8, tokens=1e10, batch_tokens=5e5)
LONG = Horizon(params=2e8, tokens=1e11, batch_tokens=5e5)
LARGE = Horizon(params=7e9, tokens=1e12, batch_tokens=4e6)
ratios = st.floats(0.1, 10)


def test_the_rule_of_thumb_for_a_longer_run_is_one_law():
    found = transfer(2e-3, SMALL, LONG, ["bjorck"])
    assert math.isclose(found.learning_rate, 2e-3 * 10**-0.32)
    assert found.octaves_apart == 0.0


def test_all_laws_answer_with_their_spread_or_say_why_not():
    found = transfer(1e-3, SMALL, LARGE)
    assert found.lowest <= found.learning_rate <= found.highest
    assert found.octaves_apart > 1
    names = {answer.law for answer in found.laws}
    assert {"step", "bjorck", "deepseek", "porian", "kaplan", "zhou"} == names
    assert found.left_out == ("convex says nothing of params",)


def test_laws_blind_to_what_changes_are_left_out():
    found = transfer(1e-3, SMALL, LONG)
    assert {answer.law for answer in found.laws} == {"step", "bjorck", "deepseek", "zhou", "convex"}
    assert "porian says nothing of tokens" in found.left_out


@given(ratios, ratios, st.sampled_from(["step", "bjorck", "deepseek", "zhou", "scion"]))
def test_going_there_and_back_changes_nothing(n, d, law):
    end = Horizon(params=2e8 * n, tokens=1e10 * d, batch_tokens=5e5)
    there = transfer(1e-3, SMALL, end, [law]).learning_rate
    assert math.isclose(transfer(there, end, SMALL, [law]).learning_rate, 1e-3)


def test_a_law_used_out_of_range_says_so_once():
    (answer,) = transfer(1e-3, SMALL, LARGE, ["bjorck"]).laws
    assert sum("extrapolated" in text for text in answer.remarks) == 1


def test_width_moves_hidden_matrices_alone():
    factors = transfer_factors(Growth(width=4), ["width"])
    assert factors == Factors(
        hidden_rate=0.25, hidden_init=0.5, output_multiplier=0.25, weight_decay=4.0
    )


def test_depth_scales_residual_branches_and_at_half_power_the_rate_too():
    assert transfer_factors(Growth(depth=4), ["depth"]) == Factors(residual_multiplier=0.25)
    half = transfer_factors(Growth(depth=4), ["depth-half"])
    every = {"hidden_rate": 0.5, "expert_out_rate": 0.5, "router_rate": 0.5}
    assert half == Factors(residual_multiplier=0.5, **every)


def test_batch_and_horizon_scale_with_square_roots():
    batch = transfer_factors(Growth(batch_tokens=4), ["batch"])
    every = {"hidden_rate": 2.0, "embedding_rate": 2.0, "expert_out_rate": 2.0, "router_rate": 2.0}
    assert batch == Factors(**every, weight_decay=2.0, expert_out_decay=2.0)
    longer = transfer_factors(Growth(tokens=16), ["horizon"])
    assert longer == Factors(**dict.fromkeys(every, 0.25))


def test_a_batch_that_grows_with_tokens_leaves_the_rate_alone():
    factors = transfer_factors(Growth(batch_tokens=16, tokens=16), ["batch", "horizon"])
    assert math.isclose(factors.hidden_rate, 1.0)


def test_more_experts_at_equal_active_params_change_nothing():
    assert transfer_factors(Growth(experts=8), ["moe"]) == Factors()


@given(ratios, ratios)
def test_experts_are_slices_of_one_layer_of_the_active_width(width, active):
    sliced = transfer_factors(Growth(width=width, active_experts=active, expert_width=1 / active))
    whole = transfer_factors(Growth(width=width, expert_width=1.0))
    assert sliced == replace(
        whole,
        gate_multiplier=active,
        expert_out_rate=sliced.expert_out_rate,
        expert_out_init=sliced.expert_out_init,
        expert_out_decay=sliced.expert_out_decay,
    )
    for name in ("expert_out_rate", "expert_out_init", "expert_out_decay"):
        assert math.isclose(getattr(sliced, name), 1.0)


def test_an_expert_grows_with_the_width_unless_told_otherwise():
    factors = transfer_factors(Growth(width=4), ["width", "moe"])
    assert factors.expert_out_rate == factors.hidden_rate == factors.router_rate == 0.25
    assert factors.expert_out_init == factors.hidden_init == 0.5
    assert factors.router_init == 0.25


@given(ratios, ratios, ratios)
def test_the_weight_decay_rule_keeps_the_timescale_at_its_optimum(batch, tokens, params):
    growth = Growth(batch_tokens=batch, tokens=tokens, params=params)
    factors = transfer_factors(growth, ["batch", "horizon", "weight-decay"])
    scale = batch / (factors.hidden_rate * factors.weight_decay * tokens)
    assert math.isclose(scale, (tokens / params) ** -0.527)


@given(ratios, ratios, ratios, ratios)
def test_growing_in_two_stages_is_growing_once(width, depth, batch, tokens):
    growth = Growth(width=width, depth=depth, batch_tokens=batch, tokens=tokens)
    back = Growth(width=1 / width, depth=1 / depth, batch_tokens=1 / batch, tokens=1 / tokens)
    both = transfer_factors(growth).times(transfer_factors(back))
    for value in vars(both).values():
        assert math.isclose(value, 1.0)


def test_rules_and_ratios_that_make_no_sense_are_named():
    with pytest.raises(InvalidSpaceError, match="rule is 'hight'"):
        transfer_factors(Growth(), ["hight"])
    with pytest.raises(InvalidSpaceError, match="ratio of width is 0"):
        Growth(width=0.0)
    with pytest.raises(InvalidSpaceError, match="learning_rate is -1"):
        transfer(-1.0, SMALL, LARGE)


def test_llama_was_trained_an_octave_and_a_half_too_fast_by_the_joint_law():
    found = audit(Horizon(params=6.7e9, tokens=1e12), 3e-4, "bjorck")
    assert f"{found.optimal_learning_rate:.1e}" == "1.1e-04"
    assert math.isclose(found.octaves, math.log2(3e-4 / 1.0973e-4), abs_tol=1e-3)
    assert 0.005 < found.excess_loss < 0.027
    assert 0 < found.equivalent_flops < 6 * 6.7e9 * 1e12
    assert math.isclose(found.flops_fraction, found.equivalent_flops / (6 * 6.7e9 * 1e12))
    by_size = audit(Horizon(params=6.7e9, tokens=1e12), 3e-4, "bjorck-7b")
    assert f"{by_size.optimal_learning_rate:.2e}" == "1.15e-04"
    assert by_size.octaves > math.log2(2.5)  # its paper: more than 2.5 times too high


@given(st.floats(-1.5, 1.5))
def test_no_rate_costs_less_than_the_optimum_and_overshooting_costs_more(offset):
    assert relative_excess(SMALL, offset) >= 0.0
    assert relative_excess(SMALL, abs(offset)) >= relative_excess(SMALL, -abs(offset))
    assert relative_excess(SMALL, 0.0) == 0.0


def test_a_miss_by_two_costs_what_was_measured():
    # printed: .43 % two times below and .34 % above by single runs, .35 % by parabolas
    run = Horizon(params=3.67e8, tokens=2.15e10, batch_tokens=5.77e5)
    below, above = (100 * relative_excess(run, sign * math.log(2)) for sign in (-1, 1))
    assert 0.25 < below < 0.45
    assert 0.30 < above < 0.50


def test_an_audit_far_from_the_optimum_admits_that_it_extrapolates():
    found = audit(SMALL, 1.0, "step")
    assert any("octaves is extrapolated" in text for text in found.remarks)
