"""Inputs of the model: a number of the recipe that differs between runs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from horizon_bo import LoggedRun
from horizon_bo.core.inference import Belief, believe, placed
from horizon_bo.core.policy import recommend, suggest
from horizon_bo.core.priors import UNLIKENESS
from horizon_bo.study.changes import import_runs
from horizon_bo.study.extension import for_target
from horizon_bo.study.trials import Study
from tests.studies import TARGET, small_study

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)


def swept(slope: float, decays: tuple[float, ...], inputs: bool = True) -> Study:
    """Two cells without noise whose best rate goes as the weight decay to some power."""
    runs = []
    for params, tokens in ((6e7, 2e9), (1.2e8, 4e9)):
        for decay in decays:
            log_optimum = math.log(2e-3) - 0.3 * math.log(params / 6e7)
            log_optimum += slope * math.log(decay / 0.1)
            level = 1.8 + 1.7 * (params * tokens / 1.2e17) ** -0.1
            runs += [
                LoggedRun(
                    learning_rate=rate,
                    params=params,
                    tokens=tokens,
                    batch_tokens=TARGET.batch_tokens,
                    loss=level + 0.03 * (math.log(rate) - log_optimum) ** 2,
                    inputs={"weight_decay": decay} if inputs else {},
                )
                for rate in RATES
            ]
    target = replace(TARGET, inputs={"weight_decay": 0.1} if inputs else {})
    return import_runs(small_study(target=target, prior_center=1.5e-3), runs)


@pytest.fixture(scope="module")
def beliefs() -> dict[float, tuple[Study, Belief]]:
    """What two worlds make one believe: the rate alone counts, or its product with the decay."""
    studies = {slope: swept(slope, (0.1, 0.4)) for slope in (0.0, -1.0)}
    return {slope: (study, believe(study)) for slope, study in studies.items()}


def test_an_input_that_does_not_differ_changes_no_bit():
    told, silent = swept(0.0, (0.1,)), swept(0.0, (0.1,), inputs=False)
    belief, plain = believe(told), believe(silent)
    assert np.array_equal(belief.posterior.z, plain.posterior.z)
    assert np.array_equal(belief.target.log_optimum, plain.target.log_optimum)
    assert placed(told, told.trials, ()).log_scales.shape[1] == 3
    mine, theirs = suggest(told, belief)[0], suggest(silent, plain)[0]
    assert (mine.learning_rate, mine.tokens) == (theirs.learning_rate, theirs.tokens)
    assert (mine.inputs, theirs.inputs) == ({"weight_decay": 0.1}, {})


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_the_data_choose_between_the_views_of_weight_decay(beliefs, slope):
    belief = beliefs[slope][1]
    found = belief.posterior.coefficients.optimum_per_input
    assert found.shape[1] == 1
    assert abs(float(found.mean()) - slope) < 3 * float(found.std(ddof=1)) < 0.3
    assert belief.posterior.priors.names[-2:] == ("optimum_per_weight_decay", UNLIKENESS)


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_the_answer_at_another_weight_decay_moves_as_the_runs_say(beliefs, slope):
    study, belief = beliefs[slope]
    own = recommend(study, belief).learning_rate
    other = for_target(study, replace(study.target, inputs={"weight_decay": 0.4}))
    moved = recommend(other, believe(other)).learning_rate
    assert math.isclose(math.log(moved / own), slope * math.log(4), abs_tol=0.25)


def test_runs_at_another_weight_decay_lie_in_cells_of_their_own(beliefs):
    belief = beliefs[0.0][1]
    runs = belief.runs
    assert len(runs.cells) == 5, "the target's, and two sizes at two decays"
    for k in np.unique(runs.cell):
        assert len(np.unique(runs.points.log_scales[runs.cell == k], axis=0)) == 1
    assert float(runs.points.log_scales[:, 3].max()) == pytest.approx(math.log(4))
