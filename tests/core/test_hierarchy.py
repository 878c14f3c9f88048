"""The hierarchy learns from recipes what the next may be, and knows how little a few say."""

import numpy as np
import pytest

from horizon_bo.core.hierarchy import VAGUE, hierarchy
from horizon_bo.published.evidence import COEFFICIENTS, usable
from tests.evidences import SILENT, told

GAMMA_N, GAMMA_D = "optimum_per_params", "optimum_per_tokens"
N, D, K = (COEFFICIENTS.index(name) for name in (GAMMA_N, GAMMA_D, "log_curvature"))


def sd(population, k: int) -> float:
    return float(np.sqrt(population.covariance[k, k]))


def test_without_recipes_the_population_is_the_vague_one():
    learnt = hierarchy([SILENT]).population("adamw", "standard", experts=False)
    assert learnt.mean == pytest.approx([location for location, _ in VAGUE.values()])
    for k, (_, spread) in enumerate(VAGUE.values()):
        # what the location is unsure of comes on top: 1.5 spreads
        assert sd(learnt, k) == pytest.approx(np.hypot(spread, 1.5 * spread), rel=1e-3)


def test_many_precise_recipes_give_their_own_mean_spread_and_correlation():
    generator = np.random.default_rng(0)
    truth = np.array([[0.04, -0.03], [-0.03, 0.04]])
    draws = generator.multivariate_normal([-0.5, 0.1], truth, size=400)
    recipes = [told(f"r{i}", {GAMMA_N: n, GAMMA_D: d}) for i, (n, d) in enumerate(draws)]
    learnt = hierarchy(recipes).population("adamw", "standard", experts=False)
    # false-alarm rate below 1e-3: five standard errors of 400 draws
    assert learnt.mean[[N, D]] == pytest.approx([-0.5, 0.1], abs=0.05)
    assert sd(learnt, N) == pytest.approx(0.2, rel=0.15)
    assert learnt.covariance[N, D] / 0.04 == pytest.approx(-0.75, abs=0.12)


def test_few_recipes_leave_more_doubt_than_many():
    values = [-0.5, -0.3, -0.4, -0.45]
    few = hierarchy([told(f"r{i}", {GAMMA_N: v}) for i, v in enumerate(values)])
    many = hierarchy([told(f"r{i}", {GAMMA_N: v}) for i, v in enumerate(values * 5)])
    wide, narrow = (h.population("adamw", "standard", experts=False) for h in (few, many))
    assert sd(wide, N) > 1.2 * sd(narrow, N)


def test_the_order_of_recipes_does_not_matter():
    recipes = [told(f"r{i}", {GAMMA_N: v, GAMMA_D: -v}) for i, v in enumerate((-0.6, -0.2, 0.1))]
    here = hierarchy(recipes).population("adamw", "standard", experts=False)
    there = hierarchy(recipes[::-1]).population("adamw", "standard", experts=False)
    assert here.mean == pytest.approx(there.mean, rel=1e-9)
    assert here.covariance == pytest.approx(there.covariance, rel=1e-9, abs=1e-14)


def test_a_recipe_that_says_nothing_of_a_coefficient_moves_nothing():
    recipes = [told(f"r{i}", {GAMMA_N: v}) for i, v in enumerate((-0.6, -0.2, 0.1))]
    alone = hierarchy(recipes).population("adamw", "standard", experts=False)
    beside = hierarchy([*recipes, SILENT]).population("adamw", "standard", experts=False)
    assert beside.mean[K] == pytest.approx(alone.mean[K], rel=1e-6)
    assert sd(beside, K) == pytest.approx(sd(alone, K), rel=1e-3)
    assert sd(beside, N) == pytest.approx(sd(alone, N), rel=0.02)


def test_families_of_optimizers_have_exponents_of_their_own():
    recipes = [told(f"a{i}", {GAMMA_D: 0.0}) for i in range(6)]
    recipes += [told(f"m{i}", {GAMMA_D: -0.4}, optimizer="muon") for i in range(6)]
    learnt = hierarchy(recipes)
    adam = learnt.population("nadamw", "standard", experts=False)
    matrix = learnt.population("scion", "standard", experts=False)
    unknown = learnt.population("someday", "standard", experts=False)
    assert adam.mean[D] == pytest.approx(0.0, abs=0.05)
    assert matrix.mean[D] == pytest.approx(-0.4, abs=0.05)
    assert adam.mean[D] > unknown.mean[D] > matrix.mean[D]
    assert sd(unknown, D) > max(sd(adam, D), sd(matrix, D))


def test_mup_and_experts_widen_the_exponent_of_size_where_no_sweep_shows_it():
    learnt = hierarchy([told(f"r{i}", {GAMMA_N: -0.4}) for i in range(8)])
    standard = learnt.population("adamw", "standard", experts=False)
    mup = learnt.population("adamw", "mup", experts=False)
    experts = learnt.population("adamw", "standard", experts=True)
    assert mup.mean[N] == pytest.approx(-0.05, abs=0.03)
    assert sd(mup, N) > sd(standard, N)
    assert sd(experts, N) > sd(mup, N)


def test_one_recipe_of_experts_leaves_open_what_the_next_one_shows():
    dense = [told(f"r{i}", {GAMMA_N: -0.4}) for i in range(8)]
    learnt = hierarchy([*dense, told("one", {GAMMA_N: 0.1}, experts=True)])
    experts = learnt.population("adamw", "standard", experts=True)
    assert -0.4 < experts.mean[N] < -0.1  # half of what the one shows
    assert sd(experts, N) > 0.35
    other = learnt.population("adamw", "standard", experts=False)
    assert other.mean[N] == pytest.approx(-0.4, abs=0.03)
    assert sd(other, N) < 0.2


def test_relatives_are_left_out_together():
    recipes = [
        told("dense", {GAMMA_N: -0.5}),
        told("experts", {GAMMA_N: 0.1}),
        told("other", {GAMMA_N: -0.3}),
    ]
    kin = [recipe.__class__(**{**vars(recipe), "group": "kin"}) for recipe in recipes[:2]]
    left = usable([*kin, recipes[2]], ["dense"])
    assert [each.name for each in left] == ["other"]
