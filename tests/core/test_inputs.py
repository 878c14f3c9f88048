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
from horizon_bo.study.inputs import SHORTNESS, shortness
from horizon_bo.study.trials import Study
from tests.studies import TARGET, small_study
from tests.worlds import PlainWorld

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


BATCH = 5e6  # the target's 20B tokens are 4,000 steps of it


def short_runs(slope: float) -> Study:
    """Runs of 20 and 40 steps whose best rate rises as they get shorter, and a few of 400 steps."""
    world, runs = PlainWorld(target=TARGET), []
    for params, steps in ((6e7, 20), (6e7, 40), (1.2e8, 20), (1.2e8, 400)):
        above = math.exp(slope * shortness(steps * BATCH, BATCH))
        runs += [
            replace(run, learning_rate=run.learning_rate * above, batch_tokens=BATCH)
            for run in world.sweep([(params, steps * BATCH)], (-1, 0, 1, 2, 3))
        ]
    target = replace(TARGET, batch_tokens=BATCH)
    return import_runs(small_study(target=target, prior_center=1.5e-3), runs)


def test_a_run_is_short_by_the_steps_that_it_lacks_and_not_where_steps_are_unknown():
    assert shortness(20 * BATCH, BATCH) == pytest.approx(math.log(10))
    assert shortness(200 * BATCH, BATCH) == shortness(2e10, BATCH) == shortness(1.0, None) == 0
    assert swept(0.0, (0.1,)).coordinates == ()
    study = short_runs(0.0)
    assert study.coordinates == (SHORTNESS,)
    assert [study.places(trial) for trial in study.trials[::5]] == [
        (pytest.approx(math.log(10)),),
        (pytest.approx(math.log(5)),),
        (pytest.approx(math.log(10)),),
        (0.0,),
    ]


@pytest.mark.parametrize("slope", [0.0, 0.9])
def test_runs_of_few_steps_do_not_drag_the_answer_whether_or_not_their_best_rates_are_higher(slope):
    belief = believe(short_runs(slope))
    learnt = belief.posterior.coefficients.optimum_per_input[:, 0]
    assert abs(learnt.mean() - slope) < 2 * learnt.std() < 0.6
    low, high = np.quantile(belief.target.log_optimum, [0.05, 0.95])
    assert low < math.log(1.5e-3) < high
