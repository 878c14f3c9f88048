"""Horizons: sizes, lengths and spaces that cannot be are named where they enter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import Horizon, Scale, SearchSpace
from horizon_bo.errors import InvalidSpaceError

IMPOSSIBLE = [0, 0.0, -1.0, math.nan, math.inf, "3e8", True, None, [1.0]]
counts = st.floats(1.0, 1e15)


def space(**changes) -> SearchSpace:
    given_ = {"learning_rate": (1e-4, 1e-2), "scales": [Scale(params=1e8)], "tokens": (1e9, 4e9)}
    return SearchSpace(**{**given_, **changes})


@given(counts, counts)
def test_training_compute_is_six_flops_per_parameter_and_token(params, tokens):
    assert Horizon(params=params, tokens=tokens).flops == pytest.approx(6 * params * tokens)
    assert Scale(params=params).flops(tokens) == pytest.approx(6 * params * tokens)


def test_measured_compute_takes_the_place_of_the_rule():
    assert Horizon(params=1e9, tokens=1e10, flops=7e19).flops == 7e19
    assert Scale(params=1e8, flops_per_token=9e8).flops(1e9) == 9e17


def test_compute_of_whole_numbers_does_not_overflow():
    target = Horizon(params=np.int64(10**12), tokens=np.int64(10**13))
    assert target.flops == 6e25
    assert Scale(params=np.int64(10**12)).flops(10**13) == 6e25


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("name", ["params", "tokens"])
def test_a_horizon_that_cannot_be_is_refused(name, value):
    with pytest.raises(InvalidSpaceError, match=f"^{name} of the horizon is ") as caught:
        Horizon(**{"params": 1e9, "tokens": 1e10, name: value})
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [v for v in IMPOSSIBLE if v is not None])
@pytest.mark.parametrize("name", ["batch_tokens", "flops"])
def test_a_batch_or_compute_that_cannot_be_is_refused(name, value):
    with pytest.raises(InvalidSpaceError, match=f"^{name} of the horizon is "):
        Horizon(**{"params": 1e9, "tokens": 1e10, name: value})


@pytest.mark.parametrize("value", IMPOSSIBLE)
def test_a_scale_that_cannot_be_is_refused(value):
    with pytest.raises(InvalidSpaceError, match=r"^params of a scale is "):
        Scale(params=value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": (1e-2, 1e-4)}, "expected lowest <= highest"),
        ({"learning_rate": (0.0, 1e-2)}, "bound of learning_rate is 0.0"),
        ({"learning_rate": ("1e-4", 1e-2)}, "bound of learning_rate is '1e-4'"),
        ({"learning_rate": 1e-3}, "learning_rate is 0.001, expected two numbers"),
        ({"learning_rate": "ab"}, "learning_rate is 'ab', expected two numbers"),
        ({"scales": []}, "scales is empty"),
        ({"tokens": (4e9, 1e9)}, "expected lowest <= highest"),
        ({"tokens": []}, "tokens is [], expected a non-empty list"),
        ({"tokens": [1e9, -1.0]}, "value of tokens is -1.0"),
        ({"batch_tokens": [math.nan]}, "value of batch_tokens is nan"),
        ({"batch_tokens": "262144"}, "batch_tokens is '262144'"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_in_one_line(changes, words):
    with pytest.raises(InvalidSpaceError) as caught:
        space(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_allowed_values_are_sorted_and_named_once():
    assert space(tokens=[4e9, 1e9, 4e9]).tokens == [1e9, 4e9]
    assert space(batch_tokens=[4.0, 2.0, 2.0]).batch_tokens == (2.0, 4.0)


def test_settings_of_a_scale_cannot_be_changed_from_outside():
    settings = {"width": 512}
    scale = Scale(params=1e8, settings=settings)
    settings["width"] = 1
    assert scale.settings["width"] == 512
    with pytest.raises(TypeError):
        scale.settings["width"] = 1  # type: ignore[index]


def test_scales_may_be_given_by_their_parameters_alone():
    space = SearchSpace(learning_rate=(1e-4, 1e-2), scales=[4.5e7, Scale(params=1e8)], tokens=[1e9])
    assert space.scales == (Scale(params=4.5e7), Scale(params=1e8))


@pytest.mark.parametrize("scales", ["45M", 4.5e7, ["45M"], [None], [True], [10**400], [-1.0], []])
def test_scales_that_are_none_are_refused_in_one_line(scales):
    with pytest.raises(InvalidSpaceError) as caught:
        SearchSpace(learning_rate=(1e-4, 1e-2), scales=scales, tokens=[1e9])
    assert len(str(caught.value)) < 300


def test_a_whole_number_of_hundreds_of_digits_is_refused_in_one_line():
    with pytest.raises(InvalidSpaceError, match="expected a finite number > 0") as caught:
        Horizon(params=10**5000, tokens=1e9)
    assert len(str(caught.value)) < 300
