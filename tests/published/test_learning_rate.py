"""Every law of the optimal rate gives the numbers its source prints."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.learning_rate import (
    LEARNING_RATE_LAWS,
    learning_rate_law,
)
from horizon_bo.study.horizons import Horizon

STEP, BJORCK, BJORCK_7B, DEEPSEEK, PORIAN, KAPLAN = map(
    learning_rate_law, ("step", "bjorck", "bjorck-7b", "deepseek", "porian", "kaplan")
)

LLAMA_7B = Horizon(params=6.7e9, tokens=1e12)
ONE_B = Horizon(params=1e9, tokens=1e11)


def rate(law, params: float, tokens: float, **rest: float) -> float:
    return law.learning_rate(Horizon(params=params, tokens=tokens, **rest))


def test_step_law_by_its_constants_and_by_the_mean_of_its_refits():
    assert round(STEP.learning_rate(ONE_B), 5) == 1.63e-3
    assert STEP.bootstrap is not None
    mean, sd = STEP.bootstrap.log_learning_rate(ONE_B)
    assert round(math.exp(mean), 5) == 1.66e-3
    # the 1,000 published refits scatter by 0.0440 there
    assert math.isclose(sd, 0.044, abs_tol=0.004)


def test_step_laws_interval_is_that_of_the_published_refits():
    low, high = STEP.interval_90(ONE_B) or (0, 0)
    # 5 % and 95 % quantiles over the 1,000 published refits
    assert math.isclose(low, 1.545e-3, rel_tol=0.01)
    assert math.isclose(high, 1.786e-3, rel_tol=0.01)


def test_step_law_halves_at_the_exponents_it_prints():
    assert math.isclose(rate(STEP, 2e9, 1e11) / rate(STEP, 1e9, 1e11), 2**-0.713)
    assert math.isclose(rate(STEP, 1e9, 2e11) / rate(STEP, 1e9, 1e11), 2**0.307)


def test_bjorck_joint_law_predicts_the_llama_rate_of_its_paper():
    assert f"{BJORCK.learning_rate(LLAMA_7B):.1e}" == "1.1e-04"
    assert math.isclose(rate(BJORCK, 1e9, 1e9), 1.55e-3)
    assert math.isclose(rate(BJORCK, 2e9, 1e11) / rate(BJORCK, 1e9, 1e11), 2**-0.23)
    assert math.isclose(rate(BJORCK, 1e9, 2e11) / rate(BJORCK, 1e9, 1e11), 2**-0.32)


def test_bjorck_7b_fit_predicts_the_rate_of_its_paper():
    assert f"{BJORCK_7B.learning_rate(LLAMA_7B):.2e}" == "1.15e-04"
    assert math.isclose(rate(BJORCK_7B, 6.7e9, 1e9), 8.29e-4)


@pytest.mark.parametrize(
    ("name", "exponent"),
    [("bjorck-50m", -0.70), ("bjorck-350m", -0.38), ("bjorck-1.3b", -0.32), ("bjorck-2.7b", -0.42),
     ("hyperp", -0.32), ("kakao", -0.30), ("convex", -0.5), ("zhou", -0.3509), ("marin", -0.2813),
     ("scion", -0.56)],
)  # fmt: skip
def test_laws_of_ratios_carry_the_exponent_of_tokens_they_print(name, exponent):
    start = Horizon(params=1e9, tokens=1e10, batch_tokens=5e5)
    end = Horizon(params=1e9, tokens=2e10, batch_tokens=5e5)
    law = learning_rate_law(name)
    assert math.isclose(law.log_ratio(start, end), exponent * math.log(2))
    assert not law.is_absolute


def test_zhou_carries_its_exponent_of_params():
    start, end = Horizon(params=1e9, tokens=1e10), Horizon(params=2e9, tokens=1e10)
    law = learning_rate_law("zhou")
    assert math.isclose(law.log_ratio(start, end), -0.2219 * math.log(2))


def test_marin_carries_its_exponents_of_width_and_batch():
    law = learning_rate_law("marin")
    start = Horizon(params=1e9, tokens=1e10, batch_tokens=5e5)
    wider = Horizon(params=8e9, tokens=1e10, batch_tokens=5e5)
    batchier = Horizon(params=1e9, tokens=1e10, batch_tokens=2e6)
    assert math.isclose(law.log_ratio(start, wider), -0.3678 * math.log(2))
    assert math.isclose(law.log_ratio(start, batchier), math.log(2))


def test_scion_along_its_optimal_batch_has_the_net_exponent_it_prints():
    law = learning_rate_law("scion")
    start = Horizon(params=1e9, tokens=1e10, batch_tokens=5e5)
    end = Horizon(params=1e9, tokens=1e11, batch_tokens=5e5 * 10**0.45)
    assert math.isclose(law.log_ratio(start, end) / math.log(10), -0.28, abs_tol=0.005)


def test_deepseek_law_at_unit_compute_and_its_exponent():
    assert math.isclose(rate(DEEPSEEK, 1e9, 1e10, flops=1.0), 0.3118)
    assert math.isclose(rate(DEEPSEEK, 1e9, 1e10, flops=1e16), 0.3118 * 1e-2)


def test_porian_law_agrees_with_its_rounded_form():
    # rounded in its paper: 0.0047 (N/108e6)^(-1/3)
    assert math.isclose(rate(PORIAN, 108e6, 2e9), 0.0047, rel_tol=0.01)
    assert math.isclose(rate(PORIAN, 1.0, 2e9), 3.7)


def test_kaplan_rule_of_thumb_and_where_it_ends():
    assert math.isclose(rate(KAPLAN, 1.0, 1e9), 3.239e-3)
    assert math.isclose(rate(KAPLAN, math.e, 1e9), 3.239e-3 - 1.395e-4)
    with pytest.raises(InvalidSpaceError, match="reaches zero"):
        rate(KAPLAN, 2e10, 1e12)


@given(st.floats(15, 26), st.floats(18, 32), st.floats(0.1, 5))
def test_ratios_agree_with_rates_wherever_both_exist(n, d, growth):
    start = Horizon(params=math.exp(n), tokens=math.exp(d))
    end = Horizon(params=math.exp(n), tokens=math.exp(d + growth))
    for law in LEARNING_RATE_LAWS.values():
        if law.is_absolute and law is not KAPLAN:
            ratio = math.log(law.learning_rate(end) / law.learning_rate(start))
            assert math.isclose(ratio, law.log_ratio(start, end), abs_tol=1e-9)


def test_out_of_range_use_is_one_remark_that_names_the_range():
    (text,) = BJORCK.remarks(LLAMA_7B)
    assert "7.6e+08 to 2.7e+09" in text
    assert "2.5e+10 to 8e+11" in text
    assert STEP.remarks(ONE_B) == ()


def test_laws_without_units_refuse_a_rate_and_laws_of_batch_want_one():
    with pytest.raises(InvalidSpaceError, match="use `transfer`"):
        learning_rate_law("zhou").learning_rate(ONE_B)
    with pytest.raises(InvalidSpaceError, match="batch_tokens is None"):
        learning_rate_law("marin").log_ratio(ONE_B, LLAMA_7B)
    with pytest.raises(InvalidSpaceError, match="expected one of step"):
        learning_rate_law("stepp")


def test_every_fitted_law_names_its_data_and_source():
    for law in LEARNING_RATE_LAWS.values():
        assert law.source
        assert law.data or law.name == "convex"  # a bound, fitted to nothing
