"""Schedules and averages: the rate's shape, what branches cost, and which weights a mean holds."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo.training.averaging import Average, averaged_steps
from horizon_bo.training.schedules import (
    cooled_rate,
    timetable,
    trained_steps,
    trunk_label,
    trunk_rate,
)
from tests.training.small import small_run

STEP = 64


def rates(schedule: str, steps: int = 200) -> list[float]:
    table = timetable(small_run(recipe={"schedule": schedule}, tokens=steps * STEP))
    return [trunk_rate(table, step) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
def test_every_schedule_rises_to_the_peak_and_never_above(schedule: str):
    shape = rates(schedule)
    assert shape[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert max(shape) == pytest.approx(1.0)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(shape[9:]))


def test_the_ends_are_a_tenth_nearly_zero_nearly_zero_and_the_peak():
    assert rates("cosine")[-1] == pytest.approx(0.1)
    assert rates("linear")[-1] == pytest.approx(1 / 190)
    assert rates("wsd")[-1] == pytest.approx(1 - math.sqrt(40 / 41))
    assert rates("constant")[-1] == 1.0


def test_cosine_is_half_way_down_in_the_middle():
    shape = rates("cosine", 210)
    assert shape[10 + 100 - 1] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)


def test_wsd_is_flat_until_its_last_fifth():
    shape = rates("wsd")
    assert shape[10:160] == [1.0] * 150
    assert shape[160] < 1.0
    assert shape[160:] == [cooled_rate(step, 160, 200) for step in range(160, 200)]


@given(st.lists(st.integers(20, 2000), min_size=1, max_size=5, unique=True))
def test_a_trunk_is_paid_once(ends: list[int]):
    tokens = tuple(end * STEP for end in ends)
    config = small_run(recipe={"schedule": "wsd"}, tokens=max(tokens), branches=tokens)
    cooled = [max(1, round(0.2 * end)) for end in ends]
    stable = max(end - cool for end, cool in zip(ends, cooled, strict=True))
    assert trained_steps(timetable(config)) == stable + sum(cooled)
    assert trained_steps(timetable(config)) <= sum(ends)


def test_lawa_holds_evenly_spaced_checkpoints_that_end_at_the_horizon():
    assert sorted(averaged_steps("lawa", 1000)) == [800, 850, 900, 950, 1000]
    assert sorted(averaged_steps("swa", 100)) == [80, 90, 100]


@pytest.mark.parametrize("averaging", ["lawa", "swa"])
def test_a_uniform_mean_is_the_mean_of_its_checkpoints(averaging: str):
    path = torch.randn(101, 2, 3, generator=torch.Generator().manual_seed(0))
    mean = Average(averaging, 100, torch.zeros(2, 3))
    for step in range(1, 101):
        mean.update(path[step], step)
    expected = path[sorted(averaged_steps(averaging, 100))].mean(0)
    torch.testing.assert_close(mean.mean, expected, rtol=1e-5, atol=1e-6)


def test_an_exponential_mean_reaches_back_as_far_as_lawa():
    mean = Average("ema", 1000, torch.zeros(1, 1, dtype=torch.float64))
    for step in range(1, 1001):
        mean.update(torch.full((1, 1), float(step), dtype=torch.float64), step)
    lawa = sum(averaged_steps("lawa", 1000)) / 5
    assert float(mean.mean) == pytest.approx(lawa, abs=2.0)


def test_a_mean_is_left_alone_after_its_horizon():
    mean = Average("ema", 2, torch.zeros(1, 1))
    for step in range(1, 5):
        mean.update(torch.full((1, 1), float(step)), step)
    assert float(mean.mean) <= 2.0


def test_a_reading_on_the_way_never_passes_for_one_at_the_end():
    def labels(schedule: str, **changes) -> list[str]:
        table = timetable(small_run(recipe={"schedule": schedule}, tokens=200 * STEP, **changes))
        return [trunk_label(table, step) for step in (20, 160, 199, 200)]

    assert labels("cosine") == ["cosine-midway"] * 3 + ["cosine"]
    assert labels("wsd") == ["constant", "constant", "wsd", "wsd"]
    assert timetable(small_run(recipe={"schedule": "wsd"}, tokens=200 * STEP)).cooldown == 160
    branched = {"branches": (100 * STEP, 200 * STEP)}
    assert labels("wsd", **branched)[:2] == ["constant", "constant"]
