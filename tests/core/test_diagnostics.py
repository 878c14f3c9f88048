"""Diagnostics: each warning comes when it is deserved and stays away when it is not."""

from dataclasses import replace

import numpy as np
import pytest

from horizon_bo import LoggedRun
from horizon_bo.core.decision import decide
from horizon_bo.core.diagnostics import health, warnings
from horizon_bo.core.inference import Belief, believe
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import Study
from tests.beliefs import CELLS, STRADDLING, WORLD, diverged, fresh, informed, narrowed
from tests.studies import small_study


def said(study: Study, belief: Belief) -> str:
    return "\n".join(warnings(study, belief, decide(belief)))


def said_of(runs: list[LoggedRun], prior_center: float = 1.5e-3) -> str:
    study = import_runs(small_study(prior_center=prior_center), runs)
    return said(study, believe(study))


def test_a_study_whose_runs_straddle_the_optimum_gets_no_warning():
    assert said(*informed()) == ""


def test_before_the_first_run_only_the_prior_speaks_and_says_so():
    assert said(*fresh()).startswith(
        "no run yet: the recommendation is the prior's (your prior_center, "
    )


def test_bowls_far_steeper_than_any_public_sweeps_are_told_and_widen_what_is_believed():
    words = said_of(replace(WORLD, curvature=6.0).sweep(CELLS, (-1, -0.5, 0, 0.5, 1)))
    assert "unlike the recipes" in words
    assert float(words.split("is believed ")[1].split(" times")[0]) > 1.3
    assert "unlike the recipes" not in said_of(WORLD.sweep(CELLS, (-1, -0.5, 0, 0.5, 1)))


def test_runs_that_hardly_narrow_the_prior_are_called_prior_driven():
    assert said_of(WORLD.sweep(CELLS[:1], [0])).startswith("prior-driven: the interval is ")


def test_a_rate_outside_the_space_is_said():
    study, belief = informed()
    below = replace(study, space=narrowed(1e-5, 5e-4))
    above = replace(study, space=narrowed(5e-3, 5e-2))
    for confined in (below, above):
        assert "lies outside the space" in said(confined, belief)


@pytest.mark.parametrize(
    ("octaves", "side"), [((-4, -3, -2), "below"), ((4, 5, 6), "above")], ids=["below", "above"]
)
def test_runs_on_one_side_of_every_optimum_are_called_one_sided(octaves, side):
    assert f"one-sided bowls: every run lies {side} its optimum" in said_of(
        WORLD.sweep(CELLS, octaves)
    )


def test_sides_are_told_from_the_optimum_of_a_runs_own_cell_and_not_from_the_targets():
    # the optimum of the smallest cell lies 1.85 octaves above the target's
    cell = CELLS[:1]
    assert "one-sided" not in said_of(WORLD.sweep(cell, (0.4, 1.2, 2.5, 3.3)))
    assert "every run lies below" in said_of(WORLD.sweep(cell, (-2, -1, 0, 0.5)))


def test_sides_are_told_from_an_optimum_that_has_its_recipes_offset():
    study = import_runs(small_study(prior_center=1.5e-3), WORLD.sweep(CELLS, (-1, 1, 3), 0, "old"))
    belief = believe(study)
    fit = belief.posterior.fit
    for offset, deserved in ((8.0, "every run lies below"), (-8.0, "every run lies above")):
        shifted = np.full_like(fit.coefficients.source_offset, offset)
        c = replace(fit.coefficients, source_offset=shifted)
        moved = replace(belief.posterior, fit=replace(fit, coefficients=c))
        assert deserved in said(study, replace(belief, posterior=moved))


def test_sides_are_told_from_an_optimum_that_has_its_cells_drift():
    study, belief = informed()
    assert "one-sided" not in said(study, belief)
    fit = belief.posterior.fit
    assert fit.design is not None
    for sign, deserved in ((1.0, "every run lies below"), (-1.0, "every run lies above")):
        # whitened departures as large as it takes to move every optimum by eight
        drift = np.full((len(fit.root), fit.root.shape[-1], 1), 8 * sign, dtype=float)
        whitened = np.zeros((len(fit.root), 3, fit.root.shape[-1]))
        whitened[:, 1] = np.linalg.solve(fit.root[:, 1], drift)[..., 0]
        moved = replace(
            fit,
            design=None,
            factor=np.tile(np.eye(whitened[0].size), (len(fit.root), 1, 1)),
            half=whitened.reshape(len(fit.root), -1),
        )
        moved = replace(belief.posterior, fit=moved)
        assert deserved in said(study, replace(belief, posterior=moved))


def test_an_optimum_far_from_the_guess_is_a_conflict():
    words = said_of(WORLD.sweep(CELLS, STRADDLING), prior_center=3e-5)
    assert "conflict with your prior_center: the optimum is" in words
    assert "above its centre 3.00e-05" in words


def test_a_conflict_says_on_which_side_the_optimum_lies():
    words = said_of(WORLD.sweep(CELLS, (-1, 0, 1, 2, 3)), prior_center=0.05)
    assert "below its centre 5.00e-02" in words


def test_runs_that_all_diverged_are_said_to_bound_the_optimum_only():
    runs = WORLD.sweep(CELLS[:2], [2, 3])
    assert "every run diverged" in said_of(diverged(runs))
    assert "every run diverged" not in said_of([*diverged(runs[1:]), runs[0]])


def test_a_sampler_that_did_not_mix_is_not_to_be_trusted():
    study, belief = informed()
    stuck = replace(belief, posterior=replace(belief.posterior, acceptance=0.01))
    assert "inference did not mix: 1% of moves accepted" in said(study, stuck)
    starved = replace(belief, posterior=replace(belief.posterior, distinct=0.05))
    assert "5% of particles survived" in said(study, starved)


def test_a_cell_that_the_others_would_not_have_predicted_is_said():
    # the posterior is of the runs as they were, so nothing has adapted to the change
    study, belief = informed()
    last = belief.runs.cell == belief.runs.cell[-1]
    for change, deserved in ((0.0, False), (10.0, True)):
        runs = replace(belief.runs, loss=belief.runs.loss + change * last)
        words = said(study, replace(belief, runs=runs))
        assert ("one size or horizon disagrees" in words) == deserved


def test_with_fewer_than_two_cells_no_cell_can_be_left_out():
    assert health(fresh()[1]).horizon_error is None
    error = health(informed()[1]).horizon_error
    assert error is not None
    assert 0 < error < 3


def test_effective_counts_distinct_particles():
    belief = informed()[1]
    z = np.tile(belief.posterior.z[:64], (4, 1))
    copied = replace(belief, posterior=replace(belief.posterior, z=z))
    assert health(copied).distinct == len(np.unique(z, axis=0)) <= 64
