"""The default prior names its sources, refuses laws that saw the data, and answers everywhere."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.prior import prior_center
from horizon_bo.study.horizons import MOST_STEPS, Horizon

log_horizons = st.tuples(st.floats(7, 28), st.floats(9, 34), st.floats(6, 18))


def horizon(logs: tuple[float, float, float]) -> Horizon:
    params, tokens, batch = (math.exp(v) for v in logs)
    return Horizon(params=params, tokens=tokens, batch_tokens=batch)


@given(log_horizons, st.sampled_from(["standard", "mup"]))
def test_the_spread_is_between_an_octave_and_a_decade(logs, parametrization):
    prior = prior_center(horizon(logs), parametrization)
    assert math.log(2) <= prior.log_sd <= math.log(10)
    assert min(v.learning_rate for v in prior.voices) <= prior.learning_rate
    assert prior.learning_rate <= max(v.learning_rate for v in prior.voices)


@given(st.floats(9.2, 26), st.floats(12, 34), st.floats(6, 17), st.floats(math.log(100), 8))
def test_a_model_a_hundred_times_larger_never_gets_a_larger_rate(n, d, b, growth):
    # Over less, voices that enter or leave their range can move the weights of the median more, as
    # they can in a run of more steps than anybody is believed to mean.
    assume(d - b <= math.log(MOST_STEPS))
    small, large = horizon((n, d, b)), horizon((n + growth, d, b))
    assert prior_center(large).learning_rate < prior_center(small).learning_rate


def test_laws_fitted_to_excluded_data_are_refused():
    target = Horizon(params=1.07e9, tokens=1e11, batch_tokens=524_288)
    open_book, closed_book = prior_center(target), prior_center(target, exclude_data=("steplaw",))
    assert "step" in open_book.sources
    assert "step" not in closed_book.sources
    assert closed_book.refused == ("step",)


def test_published_optima_lie_within_two_spreads_of_the_prior():
    cases = [
        # LLaMA-1 7B by Bjorck et al.'s own fit
        (Horizon(params=6.7e9, tokens=1e12, batch_tokens=4e6), 1.15e-4, ("bjorck",)),
        # Step Law's own optimum at 1B and 1e11 tokens
        (Horizon(params=1e9, tokens=1e11, batch_tokens=1.1e6), 1.63e-3, ("steplaw",)),
    ]
    for target, optimum, excluded in cases:
        prior = prior_center(target, exclude_data=excluded)
        assert abs(math.log(optimum / prior.learning_rate)) <= 2 * prior.log_sd


def test_byte_models_on_a_cpu_get_a_rate_that_trains():
    # our own sweep of 25k to 440k-parameter byte models has its optima between 2e-3 and 3e-2
    for params, tokens in [(25_088, 249_856), (97_280, 1_000_448), (442_368, 1_000_448)]:
        target = Horizon(params=params, tokens=tokens, batch_tokens=1024)
        assert 1e-3 < prior_center(target).learning_rate < 6e-2


def test_an_unknown_parametrization_is_named():
    with pytest.raises(InvalidSpaceError, match="'sp'"):
        prior_center(Horizon(params=1e9, tokens=1e10), "sp")
