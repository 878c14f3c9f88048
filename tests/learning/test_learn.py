"""Learn: sweeps of one's own join the public ones, and move what is expected of the next run."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from horizon_bo.core.hierarchy import hierarchy
from horizon_bo.core.inference import study_evidence, study_expectation
from horizon_bo.errors import InvalidSpaceError, InvalidTableError
from horizon_bo.learning.kept import read_prior, write_evidence
from horizon_bo.learning.learn import (
    learnt,
    own_recipes,
    recipes_of_study,
)
from horizon_bo.learning.opinions import opinions
from horizon_bo.published.evidence import COEFFICIENTS, evidence_from, shipped
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import LoggedRun
from horizon_bo.tuner import HorizonTuner
from tests.beliefs import WORLD
from tests.studies import SPACE, TARGET, logged, small_study

ABOUT = {"optimizer": "adamw", "parametrization": "standard", "experts": False}
RATES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
PER_PARAMS = 0.1


def sweep() -> list[LoggedRun]:
    """A sweep of a world whose best rate rises with size, unlike that of other recipes."""
    cells = [(params, tokens) for params in (3e7, 1e8, 3e8) for tokens in (1e9, 8e9)]
    return replace(WORLD, per_params=PER_PARAMS).sweep(cells, RATES)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior with a sweep of one's own in it."""
    path = tmp_path_factory.mktemp("prior") / "ours.json"
    write_evidence(path, learnt(own_recipes("ours", sweep(), **ABOUT), shipped()))
    return path


def test_a_sweep_of_ones_own_is_read_as_what_it_is(ours):
    own = evidence_from(read_prior(ours), "it")[-1]
    assert (own.name, own.rows, own.weight) == ("ours", len(sweep()), 2.0)
    mean, sd = opinions([own])[0].exponents["params"]
    assert sd is not None
    expected = hierarchy(shipped()).population(**ABOUT).mean[0]
    assert abs(mean - PER_PARAMS) < 3 * sd
    assert abs(mean - expected) > 3 * sd


def test_runs_too_short_to_arrive_are_read_for_what_they_say_beside_that():
    fast = [replace(run, batch_tokens=1e7) for run in sweep()]  # a hundred steps and eight hundred
    (own,) = learnt(own_recipes("fast", fast, **ABOUT), ())
    mean, sd = opinions([own])[0].exponents["params"]
    assert sd is not None
    assert abs(mean - PER_PARAMS) < 3 * sd


def test_the_optimum_is_that_of_the_largest_cell_and_not_of_the_law_through_all():
    largest = max((run.params, run.tokens) for run in sweep())
    off = 0.7
    moved = [
        replace(run, learning_rate=run.learning_rate * math.exp(off))
        if (run.params, run.tokens) == largest
        else run
        for run in sweep()
    ]
    by_law, by_cell = (learnt(own_recipes("it", runs, **ABOUT), ())[0] for runs in (sweep(), moved))
    assert by_law.optimum is not None
    assert by_cell.optimum is not None
    assert (by_cell.optimum.params, by_cell.optimum.tokens) == largest
    went = math.log(by_cell.optimum.learning_rate / by_law.optimum.learning_rate)
    assert went == pytest.approx(off, abs=0.15)


def test_a_study_with_ones_own_prior_expects_what_it_says_and_keeps_it(ours, tmp_path):
    given = {"target": TARGET, "space": SPACE, "budget": 0.05 * TARGET.flops}
    tuner = HorizonTuner(**given, prior=ours, study=tmp_path / "runs.db")
    expected = study_expectation(tuner.study)[1]
    assert not np.allclose(expected.mean, study_expectation(small_study())[1].mean, atol=1e-3)
    ours.rename(tmp_path / "gone.json")
    again = HorizonTuner.open(tmp_path / "runs.db")
    (tmp_path / "gone.json").rename(ours)
    assert np.array_equal(study_expectation(again.study)[1].mean, expected.mean)
    assert again.study == tuner.study


def test_a_study_on_ones_own_sweep_does_not_hear_what_it_said(ours):
    study = small_study(prior=read_prior(ours))
    assert "ours" in {each.name for each in study_evidence(study)}
    alone = replace(study, excluded_data=("ours",))
    assert "ours" not in {each.name for each in study_evidence(alone)}
    assert np.array_equal(
        study_expectation(alone)[1].mean,
        hierarchy(shipped()).population("adamw", "standard", experts=False).mean,
    )


def test_an_old_study_says_what_its_table_would_have_said(ours):
    study = import_runs(small_study(), sweep())
    (recipe,) = recipes_of_study(study, "ours")
    told = {(run.learning_rate, run.params, run.tokens, run.loss) for run in recipe.runs}
    assert told == {(run.learning_rate, run.params, run.tokens, run.loss) for run in sweep()}


def test_recipes_in_one_table_are_told_apart_and_count_for_one_sweep_together():
    runs = [*sweep(), *(replace(run, schedule="wsd") for run in sweep())]
    parts = own_recipes("ours", runs, **ABOUT)
    assert [part.name for part in parts] == ["ours", "ours wsd"]
    assert math.fsum(part.weight for part in parts) == 2.0
    assert {part.group for part in parts} == {"ours"}


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([logged(loss=3.0)], "1 cells? with 1 rates|0 cells with 0 rates"),
        ([logged(loss=None, diverged=True)], "0 cells with 0 rates"),
    ],
)
def test_a_sweep_that_identifies_nothing_is_refused_in_one_line(runs, said):
    with pytest.raises(InvalidTableError, match=said) as caught:
        learnt(own_recipes("ours", runs, **ABOUT), ())
    assert "\n" not in str(caught.value)


def test_one_sweep_given_twice_is_refused():
    twice = own_recipes("one", sweep(), **ABOUT) + own_recipes("two", sweep(), **ABOUT)
    with pytest.raises(InvalidTableError, match="two has the same runs as one"):
        learnt(twice, ())


def test_a_prior_of_another_version_or_unit_is_refused_by_the_tuner(ours, tmp_path):
    record = json.loads(ours.read_text())
    for key, value in (("format", 99), ("unit", "base 10")):
        path = tmp_path / "other.json"
        path.write_text(json.dumps({**record, key: value}))
        with pytest.raises(InvalidSpaceError, match=f"{key} of .*other.json is {value!r}"):
            read_prior(path)
    assert record["coefficients"] == list(COEFFICIENTS)
