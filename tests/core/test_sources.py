"""Sources: runs of another recipe help with their shape, and would mislead as equals."""

import math
from dataclasses import replace
from functools import cache

import pytest

from horizon_bo import LoggedRun
from horizon_bo.core.candidates import pool_of_space
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import believe, finished_runs
from horizon_bo.core.policy import suggest
from horizon_bo.core.priors import SOURCE_OFFSET_SD
from horizon_bo.study.changes import import_runs, observe, start
from tests.beliefs import CELLS, STRADDLING, WORLD
from tests.near import close
from tests.studies import SPACE, TARGET, small_study

#: Made under a recipe whose rates are 2.7 times higher and whose losses 0.15 nats.
OTHER = replace(WORLD, shift=1.0, offset=0.15)
OWN_CELL, *OTHER_CELLS = CELLS


def read_as(runs: list[LoggedRun], **recipe: str) -> list[LoggedRun]:
    """The same runs under another schedule or averaging."""
    return [replace(run, **recipe) for run in runs]


@cache
def error(own_seed: int, **recipe: str) -> float:
    """Error of ln LR* at the target when the other recipe's runs enter under a label."""
    own = WORLD.sweep([OWN_CELL], (-0.5, 1, 2.5), own_seed)
    others = OTHER.sweep([*OTHER_CELLS, OWN_CELL], (0, 1.5, 3), own_seed + 100)
    runs = own + read_as(others, **recipe)
    study = import_runs(small_study(prior_center=1.5e-3, seed=own_seed), runs)
    return abs(decide(believe(study)).log_lr - WORLD.log_optimum)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [{"source": "old logs"}, {"averaging": "lawa"}])
def test_pooling_another_recipe_as_equal_would_have_been_worse(recipe):
    # six worlds that differ in noise and seed; the labelled error is smaller in each of them
    # with probability 1/64 by chance
    apart = [error(seed, **recipe) for seed in range(6)]
    pooled = [error(seed) for seed in range(6)]
    assert all(a < p for a, p in zip(apart, pooled, strict=True)), (apart, pooled)
    assert sum(apart) < sum(pooled) / 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [{"source": "old logs"}, {"averaging": "lawa"}])
def test_the_offset_of_a_recipe_is_learned(recipe):
    own = WORLD.sweep(CELLS, (-1, 0, 1, 2))
    others = read_as(OTHER.sweep(CELLS, (0, 1, 2, 3), 1), **recipe)
    belief = believe(import_runs(small_study(prior_center=1.5e-3), own + others))
    offset = belief.posterior.fit.coefficients.source_offset[:, 1]
    # three posterior deviations: false alarm 3e-3, were the posterior normal
    assert abs(float(offset.mean()) - OTHER.shift) < 3 * float(offset.std())
    assert float(offset.std(ddof=1)) < SOURCE_OFFSET_SD / 2


def test_another_recipe_in_the_same_place_is_another_cell():
    runs = WORLD.sweep([OWN_CELL], (0, 1)) + OTHER.sweep([OWN_CELL], (0, 1), 1, "old logs")
    finished, recipes, _ = finished_runs(import_runs(small_study(), runs))
    assert recipes == ("old logs",)
    assert finished.points.source.tolist() == [0, 0, 1, 1]
    assert finished.cell[0] == finished.cell[1] != finished.cell[2] == finished.cell[3]
    close(finished.cells.log_scales[finished.cell], finished.points.log_scales)


def test_a_recipe_of_the_study_under_its_own_name_is_pooled():
    runs = WORLD.sweep([OWN_CELL], (0, 1), source="ours")
    finished, recipes, _ = finished_runs(import_runs(small_study(source="ours"), runs))
    assert recipes == ()
    assert finished.points.source.tolist() == [0, 0]


def test_runs_of_another_recipe_alone_say_less_of_the_optimum():
    own = believe(import_runs(small_study(prior_center=1.5e-3), WORLD.sweep(CELLS, (-1, 1, 3))))
    foreign = WORLD.sweep(CELLS, (-1, 1, 3), source="old logs")
    other = believe(import_runs(small_study(prior_center=1.5e-3), foreign))
    spread = [float(belief.target.log_optimum.std()) for belief in (own, other)]
    assert spread[1] > spread[0]
    # their recipe's own optimum is as uncertain as the offset at least
    assert spread[1] > 0.5 * SOURCE_OFFSET_SD
    assert math.isfinite(spread[1])


PLAIN = {"schedule": "cosine", "averaging": "none"}


@pytest.mark.parametrize(
    "other", [{"averaging": "lawa"}, {"schedule": "wsd"}, {"averaging": "lawa", "schedule": "wsd"}]
)
def test_what_differs_from_the_target_in_averaging_or_schedule_is_another_recipe(other):
    runs = WORLD.sweep([OWN_CELL], (0, 1))
    for own, foreign in ((PLAIN, {**PLAIN, **other}), ({**PLAIN, **other}, PLAIN)):
        study = small_study(target=replace(TARGET, **own))
        logged = import_runs(study, read_as(runs, **own) + read_as(runs, **foreign))
        finished, recipes, _ = finished_runs(logged)
        assert finished.points.source.tolist() == [0, 0, 1, 1]
        assert recipes == (" · ".join(foreign[name] for name in PLAIN if name in other),)


def both_averagings(averaging: str) -> list[str]:
    """Averagings of the next two runs of a target read with one, before and after runs of both."""
    target = replace(TARGET, averaging=averaging)
    space = replace(SPACE, averagings=["none", "lawa"])
    study = small_study(target=target, space=space, prior_center=1.5e-3)
    first = suggest(study, believe(study), 2)
    runs = WORLD.sweep([OWN_CELL], STRADDLING)
    study = import_runs(study, read_as(runs, averaging="none") + read_as(runs, averaging="lawa"))
    return [run.averaging for run in (*first, *suggest(study, believe(study), 2))]


@pytest.mark.parametrize("averaging", ["none", "lawa"])
def test_of_two_readings_at_one_price_the_targets_own_is_suggested(averaging):
    # before any run was read the other way, a reading of it would once have passed for our own
    assert both_averagings(averaging) == [averaging] * 4


def test_a_reading_of_another_averaging_costs_the_same():
    study = small_study(space=replace(SPACE, averagings=["none", "lawa"]))
    none, lawa = (
        [run.flops for run in pool_of_space(study) if run.averaging == averaging]
        for averaging in ("none", "lawa")
    )
    assert none == lawa


def test_an_averaged_reading_of_a_run_that_was_made_is_free():
    study = small_study(prior_center=1.5e-3)
    (run,) = suggest(study, believe(study))
    study = observe(start(study, [run]), run, loss=3.0)
    averaged = LoggedRun(
        learning_rate=run.learning_rate,
        params=run.params,
        tokens=run.tokens,
        loss=3.04,
        averaging="lawa",
    )
    both = import_runs(study, [averaged])
    assert both.spent == study.spent == run.flops
    assert finished_runs(both)[1] == ("lawa",)
