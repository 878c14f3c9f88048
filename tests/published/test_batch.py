"""Batch and weight-decay laws give the numbers their sources print."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.batch import BATCH_LAWS
from horizon_bo.published.weight_decay import optimal_timescale, optimal_weight_decay
from horizon_bo.study.horizons import Horizon

RUN = Horizon(params=1e9, tokens=1e11, batch_tokens=1e6)


def test_step_laws_batch_at_a_billion_params():
    # 0.58 (1e11)^0.571, which is 541 sequences of 2048
    assert round(BATCH_LAWS["step"].batch_tokens(RUN) / 2048) == 541


def test_deepseek_batch_at_unit_compute_and_its_exponent():
    law = BATCH_LAWS["deepseek"]
    unit = Horizon(params=1e9, tokens=1e11, flops=1.0)
    ten = Horizon(params=1e9, tokens=1e11, flops=10.0)
    assert math.isclose(law.batch_tokens(unit), 0.2920)
    assert math.isclose(law.log_ratio(unit, ten), 0.3271 * math.log(10))


def test_porian_batch_in_sequences_and_in_tokens_agree():
    # 0.00037 N^0.703 sequences of 2048 tokens; rounded: 160 (N/108e6)^(2/3) sequences
    tokens = BATCH_LAWS["porian"].batch_tokens(Horizon(params=108e6, tokens=2e9))
    assert math.isclose(tokens / 2048, 0.00037 * 108e6**0.703, rel_tol=0.001)
    assert math.isclose(tokens / 2048, 160, rel_tol=0.06)


@pytest.mark.parametrize(("loss", "tokens"), [(2.2, 4.7e6), (1.5, 30e6)])
def test_kaplans_critical_batch_at_the_losses_of_the_published_example(loss, tokens):
    law = BATCH_LAWS["kaplan-critical"]
    assert math.isclose(law.batch_tokens(RUN, loss), tokens, rel_tol=0.04)


def test_power_lines_batches_grow_with_the_exponents_printed():
    end = Horizon(params=1e9, tokens=2e11)
    assert math.isclose(BATCH_LAWS["power-lines-optimal"].log_ratio(RUN, end), 0.383 * math.log(2))
    assert math.isclose(BATCH_LAWS["power-lines-critical"].log_ratio(RUN, end), 0.462 * math.log(2))


def test_batch_laws_say_what_they_lack():
    with pytest.raises(InvalidSpaceError, match="loss is None"):
        BATCH_LAWS["kaplan-critical"].batch_tokens(RUN)
    with pytest.raises(InvalidSpaceError, match="exponent only"):
        BATCH_LAWS["power-lines-optimal"].batch_tokens(RUN)


@given(st.floats(1e-5, 1e-2))
def test_the_optimal_decay_puts_the_timescale_at_its_optimum(rate):
    decay = optimal_weight_decay(RUN, rate)
    # AdamW averages over B / (η λ D) of a run
    timescale = RUN.batch_tokens / (rate * decay * RUN.tokens)
    assert math.isclose(timescale, optimal_timescale(RUN))


def test_the_timescale_law_has_the_constants_printed():
    one = Horizon(params=1e9, tokens=1e9)
    assert math.isclose(optimal_timescale(one), 1.084)
    assert math.isclose(optimal_timescale(RUN), 1.084 * 100**-0.527)
    with pytest.raises(InvalidSpaceError, match="batch_tokens is None"):
        optimal_weight_decay(one, 1e-3)
