"""Sources: runs of another recipe help with their shape, and would mislead as equals."""

import math
from dataclasses import replace

import pytest
import torch

from horizon_bo.decision import decide
from horizon_bo.inference import believe, finished_runs
from horizon_bo.mean import SOURCE_OFFSET_SD
from horizon_bo.tuner import import_runs
from tests.beliefs import CELLS, WORLD
from tests.studies import small_study

#: Made under a recipe whose rates are 2.7 times higher and whose losses 0.15 nats.
OTHER = replace(WORLD, shift=1.0, offset=0.15)
OWN_CELL, *OTHER_CELLS = CELLS


def error(own_seed: int, source: str | None) -> float:
    """Error of ln LR* at the target when the other recipe's runs enter under a label."""
    own = WORLD.sweep([OWN_CELL], (-0.5, 1, 2.5), own_seed)
    others = OTHER.sweep([*OTHER_CELLS, OWN_CELL], (0, 1.5, 3), own_seed + 100, source)
    study = import_runs(small_study(prior_center=1.5e-3, seed=own_seed), own + others)
    return abs(decide(believe(study)).log_lr - WORLD.log_optimum)


@pytest.mark.slow
def test_pooling_another_recipe_as_equal_would_have_been_worse():
    # six worlds that differ in noise and seed; the labelled error is smaller in each of them
    # with probability 1/64 by chance
    apart = [error(seed, "old logs") for seed in range(6)]
    pooled = [error(seed, None) for seed in range(6)]
    assert all(a < p for a, p in zip(apart, pooled, strict=True)), (apart, pooled)
    assert sum(apart) < sum(pooled) / 2


@pytest.mark.slow
def test_the_offset_of_a_recipe_is_learned():
    own = WORLD.sweep(CELLS, (-1, 0, 1, 2))
    others = OTHER.sweep(CELLS, (0, 1, 2, 3), 1, "old logs")
    belief = believe(import_runs(small_study(prior_center=1.5e-3), own + others))
    offset = belief.posterior.fit.coefficients.source_offset[:, 1]
    # three posterior deviations: false alarm 3e-3, were the posterior normal
    assert abs(float(offset.mean()) - OTHER.shift) < 3 * float(offset.std())
    assert float(offset.std()) < SOURCE_OFFSET_SD / 2


def test_another_recipe_in_the_same_place_is_another_cell():
    runs = WORLD.sweep([OWN_CELL], (0, 1)) + OTHER.sweep([OWN_CELL], (0, 1), 1, "old logs")
    finished, recipes, _ = finished_runs(import_runs(small_study(), runs))
    assert recipes == ("old logs",)
    assert finished.source.tolist() == [0, 0, 1, 1]
    assert finished.cell[0] == finished.cell[1] != finished.cell[2] == finished.cell[3]
    torch.testing.assert_close(finished.cells[finished.cell], finished.places)


def test_a_recipe_of_the_study_under_its_own_name_is_pooled():
    runs = WORLD.sweep([OWN_CELL], (0, 1), source="ours")
    finished, recipes, _ = finished_runs(import_runs(small_study(source="ours"), runs))
    assert recipes == ()
    assert finished.source.tolist() == [0, 0]


def test_runs_of_another_recipe_alone_say_less_of_the_optimum():
    own = believe(import_runs(small_study(prior_center=1.5e-3), WORLD.sweep(CELLS, (-1, 1, 3))))
    foreign = WORLD.sweep(CELLS, (-1, 1, 3), source="old logs")
    other = believe(import_runs(small_study(prior_center=1.5e-3), foreign))
    spread = [float(belief.target.log_optimum.std()) for belief in (own, other)]
    assert spread[1] > spread[0]
    # their recipe's own optimum is as uncertain as the offset at least
    assert spread[1] > 0.5 * SOURCE_OFFSET_SD
    assert math.isfinite(spread[1])
