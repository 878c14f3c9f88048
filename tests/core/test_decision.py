"""Decision: the chosen rate is the best one, and the claims about it are the draws' own."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horizon_bo.core.decision import Decision, decide, octaves, probability_within, regret
from horizon_bo.core.inference import Belief, TargetDraws
from horizon_bo.core.laws import linex
from tests.beliefs import fresh, informed
from tests.strategies import vectors


def drawn(log_optimum: np.ndarray, curvature: float = 0.02, asymmetry: float = 0.0) -> TargetDraws:
    """Draws that differ in their optimum only; an e-fold of tokens buys 1e6 typical losses."""
    same = np.ones_like(log_optimum)
    return TargetDraws(
        log_optimum=log_optimum,
        curvature=curvature * same,
        asymmetry=asymmetry * same,
        level=1.1 * same,
        token_slope=1e6 * same,
        log_cliff=log_optimum + 2.3,
    )


def believing(draws: TargetDraws) -> Belief:
    return replace(informed()[1], target=draws)


def decided(draws: TargetDraws) -> Decision:
    return decide(believing(draws))


@given(vectors(9, -10.0, -3.0), st.floats(1e-3, 0.5))
def test_under_parabolas_the_best_rate_is_the_mean_optimum_and_regret_half_its_variance(
    optima, curvature
):
    decision = decided(drawn(optima, curvature))
    step = float(optima.max() - optima.min()) / 256
    assert decision.log_lr == pytest.approx(float(optima.mean()), abs=step + 1e-12)
    at_mean = curvature * float(optima.var()) / 2
    # the grid is at most half a step off; the bound 1e6 takes a millionth
    excess = decision.expected_regret - at_mean
    assert -1e-5 * at_mean - 1e-12 <= excess <= curvature * step**2 / 2 + 1e-12


@settings(max_examples=30)
@given(vectors(30, -12.0, 0.0), st.floats(-1, 2))
def test_no_rate_on_a_finer_grid_has_a_lower_expected_regret(rates, asymmetry):
    belief = informed()[1]
    skewed = replace(belief.target, asymmetry=belief.target.asymmetry + asymmetry)
    decision = decided(skewed)
    # a step of the grid is 0.015 here: the optimum between its points is lower by κ·step²/8
    assert regret(skewed, rates).mean(-1).min() >= decision.expected_regret * (1 - 1e-2)


@given(st.floats(-10, -3), st.floats(-5, 5), st.floats(-1.5, 1.5), st.floats(1e-3, 1))
def test_small_regret_is_the_bowl_and_regret_never_exceeds_what_tokens_buy(
    optimum, offset, asymmetry, slope
):
    draws = replace(
        drawn(np.array([optimum], dtype=float), asymmetry=asymmetry),
        token_slope=np.array([slope], dtype=float),
    )
    away = np.array([offset], dtype=float)
    bowl = 0.02 * linex(away, asymmetry).item()
    ours = regret(draws, optimum + away).item()
    assert 0 <= ours < slope
    # bowl/(1 + bowl/slope): rounding of the optimum's 1e-15 is magnified by the slope of the bowl
    assert ours == pytest.approx(bowl * slope / (bowl + slope), rel=1e-9, abs=1e-15)
    assert ours <= bowl + 1e-15


def test_a_rate_that_is_worse_never_seems_better_for_the_bound():
    draws = replace(informed()[1].target)
    one = TargetDraws(*(getattr(draws, name)[:1] for name in draws.__dataclass_fields__))
    above = one.log_optimum + np.linspace(0, 10, 200)
    assert (np.diff(regret(one, above)[:, 0]) >= 0).all()


@settings(max_examples=30)
@given(vectors(40, -12.0, 0.0))
def test_the_half_interval_lies_within_the_nine_tenths_interval(optima):
    decision = decided(drawn(optima))
    low, high = decision.log_interval_90
    assert low <= decision.log_interval_50[0] <= decision.log_interval_50[1] <= high


def test_intervals_hold_their_share_of_the_draws():
    optima = np.linspace(-8, -6, 2001)
    decision = decided(drawn(optima))
    assert decision.log_interval_50 == pytest.approx((-7.5, -6.5))
    assert decision.log_interval_90 == pytest.approx((-7.9, -6.1))


def test_before_the_first_run_the_answer_is_the_prior_centre():
    belief = fresh()[1]
    assert decide(belief).log_lr == pytest.approx(belief.center.log_lr, rel=1e-14)


def test_the_predicted_loss_is_the_level_plus_the_expected_regret():
    decision = decided(drawn(np.array([-7.0, -6.0, -5.0])))
    assert decision.predicted_loss == pytest.approx(1.1 + decision.expected_regret)
    assert decision.expected_regret == pytest.approx(0.02 / 2 * 2 / 3, rel=1e-3)


@pytest.mark.parametrize(("above", "chance"), [(2.3, 0.5), (-0.7, 0.0), (1.3, 0.02275013)])
def test_the_chance_of_divergence_rises_through_the_cliff(above, chance):
    # the cliff lies 2.3 above the optimum and is 0.5 wide
    draws = drawn(np.full((3,), -6.0, dtype=float))
    lower = replace(draws, log_cliff=draws.log_optimum + 2.3 - above)
    assert decided(lower).divergence_probability == pytest.approx(chance, abs=1e-6)


@settings(max_examples=30)
@given(st.floats(0, 0.05), st.floats(0, 0.05))
def test_a_greater_tolerance_is_met_with_a_greater_probability(tolerance, more):
    belief = informed()[1]
    at = decide(belief).log_lr
    met = probability_within(belief, at, tolerance)
    assert met == (regret(belief.target, np.array([at])) <= tolerance).mean()
    assert 0 <= met <= probability_within(belief, at, tolerance + more) <= 1


def test_a_factor_of_eight_is_three_octaves():
    assert octaves((math.log(1e-3), math.log(8e-3))) == pytest.approx(3)


def test_a_few_flat_bowls_whose_optimum_may_be_anywhere_leave_the_rate_alone():
    optima, flat = np.linspace(-8, -6, 2001), np.array([-3e5, -1e5, -2e4, -1e4, 1e3, 1e5, 2e5, 3e5])
    draws = drawn(np.concatenate([optima, flat]))
    draws.curvature[len(optima) :] = 1e-9
    assert decided(draws).log_lr == pytest.approx(-7.0, abs=0.1)
