"""Gains: branches of one trunk are worth what dense algebra says, the cautious of two ways."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horizon_bo import SearchSpace
from horizon_bo.core.acquisition import best_plan, shortlist_trunks
from horizon_bo.core.candidates import pool_of_space, trunks_of_space
from horizon_bo.core.gains import (
    EMPTY,
    SHARED_NOISE,
    Trunks,
    cautious_reduction,
    given_trunk,
    variance_reduction,
)
from horizon_bo.core.inference import believe, placed
from horizon_bo.core.linearized import Known, LinearGaussian, linearized
from horizon_bo.core.points import Candidates
from horizon_bo.core.policy import suggest
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import Study
from tests.beliefs import STRADDLING, WORLD
from tests.near import close
from tests.strategies import seeds, vectors
from tests.studies import SPACE, TARGET, small_study
from tests.views import conditioned, view_from

WSD = replace(TARGET, schedule="wsd")
ONE = np.zeros(3, dtype=int)


def textbook_fall(
    view: LinearGaussian, runs: list[int], trunk: list[int], share: float
) -> np.ndarray:
    """Fall of the optimum's variance in each set, one set after the other."""
    found = []
    for covariance, noise in zip(view.covariance, view.noise, strict=True):
        gram = covariance[1:, 1:][runs][:, runs].copy()
        for i, j in itertools.product(range(len(runs)), repeat=2):
            common = (1.0 if i == j else share) if trunk[i] == trunk[j] else 0.0
            gram[i, j] += common * math.sqrt(float(noise[runs[i]] * noise[runs[j]]))
        effect = covariance[0, 1:][runs]
        found.append(effect @ np.linalg.inv(gram) @ effect)
    return np.stack(found)


def cautious(view: LinearGaussian, runs: list[int], trunk: list[int]) -> np.ndarray:
    return np.minimum(*(textbook_fall(view, runs, trunk, share) for share in (0.0, SHARED_NOISE)))


@settings(max_examples=40)
@given(seeds)
def test_a_unit_is_worth_what_dense_algebra_says(seed):
    view = view_from(seed, 6)
    branches = np.array([[0, 1, 2, 3], [5, 2, EMPTY, EMPTY], [4, EMPTY, EMPTY, EMPTY]])
    trunk = [0, 0, 1, 1]
    ours = cautious_reduction(view.covariance, view.noise, branches, np.array(trunk))
    for k, runs in enumerate(([0, 1, 2, 3], [5, 2], [4])):
        close(ours[:, k], cautious(view, runs, trunk), rtol=1e-8, atol=0.0)


@settings(max_examples=40)
@given(seeds)
def test_a_trunk_is_worth_no_less_than_any_of_its_branches_and_no_more_than_single_runs(seed):
    view = view_from(seed, 3)
    together = cautious_reduction(view.covariance, view.noise, np.array([[0, 1, 2]]), ONE)
    alone = cautious_reduction(view.covariance, view.noise, np.arange(3)[:, None], ONE[:1])
    assert (together >= alone * (1 - 1e-10)).all()
    apart = (view.noise[..., None] * np.eye(3))[:, None]
    independent = variance_reduction(view.covariance, apart, np.array([[0, 1, 2]]))
    assert (together <= independent * (1 + 1e-12)).all()
    assert (together[:, 0] <= view.covariance[:, 0, 0] * (1 + 1e-12)).all()


def test_where_branches_tell_of_the_same_thing_shared_noise_makes_a_second_one_worth_less():
    # two branches of the optimum itself, noise variance 1: the mean of both has ½, or ¾ if tied
    covariance = np.ones((1, 3, 3))
    noise = np.ones((1, 2))
    worth = cautious_reduction(covariance, noise, np.array([[0, 1]]), ONE[:2])
    close(worth, np.array([[1 / (1 + (1 + SHARED_NOISE) / 2)]], dtype=float))


@settings(max_examples=40)
@given(seeds)
def test_conditioning_on_a_trunk_leaves_what_its_worth_promised(seed):
    view = view_from(seed, 5)
    branches = np.array([1, 3, 4])
    left = given_trunk(view.covariance, view.noise, branches)
    worth = cautious_reduction(view.covariance, view.noise, branches[None], ONE)[:, 0]
    close(view.covariance[:, 0, 0] - left[:, 0, 0], worth, rtol=1e-8, atol=1e-10)


@settings(max_examples=40)
@given(seeds)
def test_a_trunk_of_one_branch_is_an_ordinary_run(seed):
    view, cost = view_from(seed, 1), np.array([2.0])
    left = given_trunk(view.covariance, view.noise, ONE[:1])
    for k in range(len(left)):
        noise = {1: float(view.noise[k, 0])}
        close(left[k], conditioned(view.covariance[k], noise), rtol=1e-8, atol=1e-10)
    trunk = Trunks(ONE[:1, None], ONE[:1], cost)
    plans = [
        best_plan(view, cost[:k], 2.0, True, trunks=trunk.select(ONE[: 1 - k])) for k in (0, 1)
    ]
    assert plans[0].index == plans[1].index == (0,)
    assert plans[0].cost == plans[1].cost == (2.0,)
    assert plans[0].regret == pytest.approx(plans[1].regret, rel=1e-8)


def three_trunks(cost: np.ndarray) -> Trunks:
    """Over six branches: two of one kind, and one of another."""
    branches = np.array([[0, 1], [2, 3], [4, 5]])
    return Trunks(branches, np.array([0, 0, 1]), cost)


@settings(max_examples=40)
@given(seeds, vectors(6, 0.1, 10.0), vectors(3, 0.1, 10.0), st.floats(1, 20))
def test_the_first_runs_are_the_best_of_single_runs_trunks_and_pairs_per_flop(
    seed, cost, trunk_cost, budget
):
    view = view_from(seed, 6)
    trunks = three_trunks(trunk_cost)
    price = np.concat([cost, trunk_cost])
    branches = [[k] for k in range(6)] + trunks.branches.tolist()
    offers = [(k,) for k in range(9)] + list(itertools.combinations(range(6), 2)) + [(6, 7)]
    ratios = {}
    for offer in offers:
        paid = float(price[list(offer)].sum())
        runs = [run for unit in offer for run in branches[unit]]
        owner = [unit for unit in offer for _ in branches[unit]]
        fall = float((view.curvature * cautious(view, runs, owner)).mean()) / 2
        if paid <= budget:
            ratios[offer] = fall / paid
    plan = best_plan(view, cost, budget, repeatable=True, trunks=trunks)
    assert bool(plan.index) == bool(ratios)
    if ratios:
        taken = max(ratios.get(tuple(sorted(plan.index[:k])), 0.0) for k in (1, 2))
        assert taken == pytest.approx(max(ratios.values()), rel=1e-8)
    assert all(spent <= budget for spent in plan.cost)
    paid = itertools.accumulate(float(price[unit]) for unit in plan.index)
    assert plan.cost == pytest.approx(tuple(paid), rel=1e-12)
    path = [plan.start, *plan.regret]
    assert all(later <= earlier * (1 + 1e-10) for earlier, later in itertools.pairwise(path))


def branching_study(cooldown: float | None, **changes) -> Study:
    space = SearchSpace(
        learning_rate=SPACE.learning_rate,
        scales=SPACE.scales,
        tokens=[5e8, 1e9, 2e9, 4e9],
        cooldown=cooldown,
    )
    given_ = {"target": WSD, "space": space, "prior_center": 1.5e-3}
    return small_study(**{**given_, **changes})


def test_trunks_on_offer_are_affordable_and_read_at_ascending_horizons_of_one_rate():
    study = branching_study(0.2, budget=0.02 * TARGET.flops)
    offers = pool_of_space(study)
    trunks = trunks_of_space(study, offers)
    assert len(trunks)
    lengths = set()
    for row, price in zip(trunks.branches.tolist(), trunks.cost.tolist(), strict=True):
        runs = [offers[k] for k in row if k != EMPTY]
        assert len({(run.params, run.learning_rate) for run in runs}) == 1
        tokens = [run.tokens for run in runs]
        assert tokens == sorted(set(tokens))
        assert price == pytest.approx(
            6 * runs[0].params * (0.8 * tokens[-1] + sum(0.2 * t for t in tokens))
        )
        assert price <= study.budget
        lengths.add(tuple(tokens))
    # 4e9 tokens of 60M parameters cost 1.2 % of the target, so every set is there
    assert lengths == {
        (5e8, 1e9),
        (5e8, 1e9, 2e9),
        (1e9, 2e9),
        (5e8, 1e9, 2e9, 4e9),
        (2e9, 4e9),
    }
    assert len({int(kind) for kind in trunks.kind}) == 5 + 5 - 2  # 4e9 of 120M is too dear


def test_no_more_than_six_branches_are_on_offer():
    space = replace(branching_study(0.2).space, tokens=[5e8 * 1.3**k for k in range(9)])
    study = branching_study(0.2, space=space)
    counts = (trunks_of_space(study, pool_of_space(study)).branches != EMPTY).sum(1)
    assert set(counts.tolist()) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("change", [{"space": replace(SPACE, cooldown=None)}, {"horizons": [1e9]}])
def test_without_a_cooldown_or_a_second_horizon_there_are_no_trunks(change):
    study = branching_study(0.2)
    tokens = change.get("horizons", study.space.tokens)
    space = change.get("space", replace(study.space, tokens=tokens))
    study = branching_study(None, space=space)
    assert len(trunks_of_space(study, pool_of_space(study))) == 0


def test_only_runs_of_schedule_wsd_branch():
    space = replace(branching_study(0.2).space, schedules=["cosine", "wsd"])
    study = branching_study(0.2, space=space, target=TARGET)
    offers = pool_of_space(study)
    branches = trunks_of_space(study, offers).candidates.tolist()
    assert {offers[k].schedule for k in branches} == {"wsd"}


def test_a_shortlist_of_trunks_keeps_the_best_of_them():
    study = branching_study(0.2, budget=0.1 * TARGET.flops)
    study = import_runs(study, WORLD.sweep([(6e7, 5e8)], STRADDLING))
    belief = believe(study)
    offers = pool_of_space(study)
    cost = np.array([run.flops for run in offers], dtype=float)
    candidates = Candidates(placed(study, offers, ()), cost)
    nothing = candidates.select(np.empty(0, dtype=int))
    known = Known(belief.posterior, belief.runs, nothing)
    trunks = trunks_of_space(study, offers)
    kept = shortlist_trunks(known, candidates, trunks)
    assert len(kept) == len(np.unique(kept)) < len(trunks)
    view = linearized(known, candidates)
    plan = best_plan(view, cost[:0], study.budget, repeatable=True, trunks=trunks)
    assert set(plan.index[:2]) <= set(kept.tolist())


def second_cell(cooldown: float) -> tuple[int, ...]:
    """Branches of the next two runs once the shortest cell has been tried."""
    study = branching_study(cooldown, budget=0.1 * TARGET.flops)
    study = import_runs(study, WORLD.sweep([(6e7, 5e8)], STRADDLING))
    return tuple(len(run.branches) for run in suggest(study, believe(study), 2))


def test_a_trunk_is_suggested_where_its_branches_are_cheap_and_not_where_they_are_dear():
    assert max(second_cell(0.02)) == 2
    assert max(second_cell(0.6)) == 0


def test_a_suggested_trunk_says_what_a_training_command_needs():
    study = branching_study(0.02, budget=0.1 * TARGET.flops)
    study = import_runs(study, WORLD.sweep([(6e7, 5e8)], STRADDLING))
    runs = suggest(study, believe(study), 3)
    trunk, after = next(pair for pair in itertools.pairwise(runs) if pair[0].branches)
    assert trunk.branches == (5e8, 1e9)
    assert (trunk.tokens, trunk.cooldown, trunk.schedule) == (1e9, 0.02, "wsd")
    assert trunk.flops == pytest.approx(6 * trunk.params * 1.01e9)
    assert after.id == trunk.id + 2
    assert suggest(study, believe(study), 3) == runs


def test_an_ordinary_run_of_schedule_wsd_knows_the_cooldown_too():
    study = branching_study(0.6)
    (run,) = suggest(study, believe(study))
    assert (run.branches, run.cooldown) == ((), 0.6)
