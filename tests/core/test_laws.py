"""The law does what its docstring says, for any plausible coefficients."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from horizon_bo.core.laws import (
    CRITICAL_EXPONENT,
    HorizonLaw,
    clip_offset,
    felt_batch,
    linex,
    linex_slope,
)
from tests.dense import bowl_of
from tests.near import close
from tests.strategies import laws, log_units

#: Offsets whose product with asymmetry 1 lies on either side of the switch to the series.
NEAR_THE_SWITCH = [sign * 1e-2 * (1 + step) for sign in (-1, 1) for step in (-1e-9, 0.0, 1e-9)]


def exact_bowl(u: float, asymmetry: float) -> float:
    """The bowl in fifty digits."""
    with mp.workdps(50):
        x = mpf(asymmetry) * mpf(u)
        # below 1e-15 the bowl is its parabola to all of float64's sixteen digits
        tiny = abs(x) < 1e-15
        return float(mpf(u) ** 2 / 2 if tiny else (mp.exp(x) - x - 1) / mpf(asymmetry) ** 2)


def exact_slope(u: float, asymmetry: float) -> float:
    """The bowl's slope in fifty digits."""
    with mp.workdps(50):
        x = mpf(asymmetry) * mpf(u)
        return float(mpf(u) if abs(x) < 1e-20 else mp.expm1(x) / mpf(asymmetry))


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(float(value), dtype=torch.float64)


# 1e-12: where the exponential takes over from its series, x = 1e-2, it cancels to 2ε/x = 4e-14
@given(st.floats(1e-12, 30), st.sampled_from([-1, 1]), st.floats(-2, 2))
def test_linex_and_its_slope_agree_with_fifty_digit_arithmetic(size, sign, asymmetry):
    u = sign * size
    assert math.isclose(linex(u, asymmetry), exact_bowl(u, asymmetry), rel_tol=1e-12)
    assert math.isclose(linex_slope(u, asymmetry), exact_slope(u, asymmetry), rel_tol=1e-12)


@pytest.mark.parametrize("u", NEAR_THE_SWITCH)
def test_linex_and_its_slope_are_exact_across_the_switch_to_the_series(u):
    assert math.isclose(linex(u, 1.0), exact_bowl(u, 1.0), rel_tol=1e-13)
    assert math.isclose(linex_slope(u, 1.0), exact_slope(u, 1.0), rel_tol=1e-15)


@pytest.mark.parametrize("function", [linex, linex_slope])
@pytest.mark.parametrize("asymmetry", [-1.5, 0.0, 1e-9, 0.5, 2.0])
def test_gradients_of_linex_match_finite_differences(function, asymmetry):
    u = torch.tensor([-4.0, -1e-2, -1e-3, 0.0, 1e-3, 1e-2, 4.0], dtype=torch.float64)
    skew = torch.full_like(u, asymmetry).requires_grad_()
    assert torch.autograd.gradcheck(function, (u.requires_grad_(), skew))
    assert torch.autograd.gradgradcheck(function, (u, skew))


@given(st.floats(-10, 10), st.floats(-2, 2))
def test_linex_slope_is_the_derivative_of_linex(u, asymmetry):
    at = tensor(u).requires_grad_()
    (slope,) = torch.autograd.grad(linex(at, asymmetry), at)
    # twice the relative error of linex near its switch, 2e-13
    close(linex_slope(u, asymmetry), slope.item(), rtol=1e-11, atol=1e-300)


@given(st.floats(-20, 20))
def test_without_asymmetry_the_bowl_is_a_parabola(u):
    assert linex(u, 0.0) == pytest.approx(u**2 / 2, rel=1e-15)
    assert linex_slope(u, 0.0) == u


@given(st.floats(0.01, 10), st.floats(0.01, 2))
def test_positive_asymmetry_makes_overshooting_costlier_than_undershooting(u, asymmetry):
    assert linex(u, asymmetry) > linex(-u, asymmetry)


@given(laws, log_units, log_units, log_units, log_units)
def test_no_learning_rate_beats_the_stated_optimum(law: HorizonLaw, n, d, b, offset):
    optimum = law.log_optimal_lr(n, d, b)
    assert bowl_of(law, optimum, n, d, b) == 0
    assert bowl_of(law, optimum + offset, n, d, b) >= 0


@settings(max_examples=30)  # hessians are slow
@given(laws, log_units, log_units, log_units)
def test_curvature_at_the_optimum_is_what_the_law_declares(law: HorizonLaw, n, d, b):
    place = [tensor(at) for at in (n, d, b)]
    bend = torch.func.hessian(lambda log_lr: bowl_of(law, log_lr, *place))(
        law.log_optimal_lr(*place)
    )
    close(bend.item(), law.curvature(n, d, b), rtol=1e-9, atol=0)


@given(laws, log_units, log_units, log_units, st.sampled_from(["params", "tokens", "batch"]))
def test_exponents_are_log_slopes_of_optimum_and_curvature(law: HorizonLaw, n, d, b, name):
    at = ["params", "tokens", "batch"].index(name)
    # the exponent of the batch is that at the target, the others are those at the target's batch
    n, d, b, zero = (tensor(value) for value in (n, d, b, 0.0))
    place = (n, zero, zero) if name == "batch" else (n, d, zero)
    optimum = torch.func.grad(law.log_optimal_lr, argnums=at)(*place)
    curvature = torch.func.grad(lambda *place: law.curvature(*place).log(), argnums=at)(n, d, b)
    close(optimum.item(), getattr(law, f"optimum_per_{name}"), rtol=1e-12, atol=1e-15)
    close(curvature.item(), getattr(law, f"curvature_per_{name}"), rtol=1e-9, atol=1e-12)


@given(log_units, st.floats(0.1, 30.0))
def test_the_best_rate_feels_the_batch_twice_far_below_the_critical_one_and_not_above(d, far):
    critical = CRITICAL_EXPONENT * tensor(d)
    slope = lambda log_batch: torch.func.grad(felt_batch)(log_batch, tensor(d)).item()  # noqa: E731
    close(slope(critical), 1.0, rtol=1e-12, atol=0)
    above, below = slope(critical + far), slope(critical - far)
    assert 0 < above < 1 < below < 2 + 1e-15
    close(above + below, 2.0, rtol=1e-12, atol=0)
    assert felt_batch(0.0, d) == 0


@given(st.floats(-1e3, 1e3), st.floats(-2, 2))
def test_an_offset_is_kept_until_the_bowl_has_left_the_range_of_losses(u, asymmetry):
    bound = 8.0 / max(abs(asymmetry), 0.1)
    expected = math.copysign(min(abs(u), bound), u)
    assert clip_offset(u, asymmetry) == pytest.approx(expected, rel=1e-15)


@given(laws, log_units, st.floats(7, 700))
def test_no_rate_however_far_off_overflows_and_farther_is_never_better(law: HorizonLaw, n, far):
    far_off = law.log_optimal_lr(n, n, 0 * n) + np.array([far, 2 * far])
    near, farther = bowl_of(law, far_off, n, n, 0 * n).tolist()
    assert 0 < near <= farther < math.inf


@given(st.lists(laws, min_size=2, max_size=4), log_units, log_units)
def test_a_batch_of_laws_answers_as_each_law_does(members, n, log_lr):
    stacked = HorizonLaw(
        **{f.name: np.array([getattr(law, f.name) for law in members]) for f in fields(HorizonLaw)}
    )
    rates = log_lr + np.array([-1.0, 0.0, 2.0])
    each = np.stack([bowl_of(law, rates, n, -n, n) for law in members])
    close(bowl_of(stacked.unsqueeze(), rates, n, -n, n), each, rtol=1e-12, atol=0)


@given(laws, st.lists(log_units, min_size=4, max_size=4))
def test_numpy_and_pytorch_say_the_same(law: HorizonLaw, inputs):
    rate, *place = inputs
    tensors = [tensor(value) for value in inputs]
    optimum = law.log_optimal_lr(*place)
    by_each = (
        (optimum, law.log_optimal_lr(*tensors[1:])),
        (law.curvature(*place), law.curvature(*tensors[1:])),
        (bowl_of(law, optimum + rate, *place), bowl_of(law, optimum + tensors[0], *tensors[1:])),
        (linex_slope(rate, law.asymmetry), linex_slope(tensors[0], law.asymmetry)),
    )
    for ours, theirs in by_each:
        # exponentials of the two libraries differ by a bit, which a small bowl magnifies by 4e-14/ε
        close(ours, theirs.item(), rtol=1e-12, atol=1e-15)
