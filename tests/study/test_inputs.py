"""Numbers of the recipe: which may be given, and which are coordinates of the model."""

import json
import math
from dataclasses import replace

import pytest

from horizon_bo import Horizon, LoggedRun
from horizon_bo.errors import InvalidSpaceError, InvalidTrialError
from horizon_bo.study.changes import import_runs
from horizon_bo.study.extension import for_target
from horizon_bo.study.inputs import INPUTS, coordinate, log_places
from horizon_bo.study.records import study_from, study_record, trial_from, trial_record
from horizon_bo.study.trials import Study
from tests.studies import TARGET, logged, small_study


def study_with(decays: list[float | None], target: float | None = None, **run: object) -> Study:
    """A study whose runs have these weight decays, and its target that one."""
    own = replace(TARGET, inputs={} if target is None else {"weight_decay": target})
    runs = [
        logged(learning_rate=1e-3 * (k + 1), inputs={"weight_decay": decay}, **run)
        for k, decay in enumerate(decays)
    ]
    return import_runs(small_study(target=own), runs)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("weight_decay", -0.1, "a number from 0 to 100"),
        ("weight_decay", math.nan, "a number from 0 to 100"),
        ("beta2", 1.0, "between 0 and 1"),
        ("beta2", 0.0, "between 0 and 1"),
        ("warmup_share", 5, "0.05 for 5 %"),
        ("final_share", 1.5, "a number from 0 to 1"),
        ("decay_share", "a fifth", "0.2 for 20 %"),
        ("sparsity", 0.1, "8 where an eighth is active"),
    ],
)
def test_an_input_that_cannot_be_is_refused_in_one_line(name, value, wanted):
    with pytest.raises(InvalidSpaceError, match=f"{name} of the horizon is") as told:
        Horizon(params=1e9, tokens=2e10, inputs={name: value})
    assert wanted in str(told.value)
    assert "\n" not in str(told.value)
    study = small_study()
    with pytest.raises(InvalidTrialError, match=f"{name} of row 0 is"):
        study.trial_from(logged(inputs={name: value}), trial_id=0, charged=False, row=0)


def test_what_has_no_number_is_no_input():
    with pytest.raises(InvalidSpaceError, match="name 'dropout', expected some of weight_decay"):
        Horizon(params=1e9, tokens=2e10, inputs={"dropout": 0.1})


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_has_a_place_for_its_example_and_may_be_no_matter(name):
    assert math.isfinite(coordinate(name, INPUTS[name].example))
    location, sd = INPUTS[name].slope
    assert abs(location) <= 3.5 * sd


def test_an_input_that_is_the_same_in_all_runs_is_no_coordinate():
    assert study_with([0.1, 0.1], target=0.1).varying == {}
    assert study_with([0.1, 0.1]).varying == {}
    assert study_with([None, None], target=0.1).varying == {}


def test_an_input_that_differs_starts_at_the_target():
    assert study_with([0.1, 0.2], target=0.2).varying == {"weight_decay": math.log(0.2)}
    assert study_with([0.1, 0.1], target=0.2).varying == {"weight_decay": math.log(0.2)}


def test_a_target_that_says_nothing_has_the_value_of_most_runs_of_its_recipe():
    assert study_with([0.1, 0.4, 0.4, None]).inputs == {"weight_decay": 0.4}
    assert study_with([0.1, 0.4]).inputs == {"weight_decay": 0.1}, "the lower of two"
    old = [logged(inputs={"weight_decay": 0.3}, source="old")] * 3
    assert import_runs(study_with([0.1]), old).inputs == {"weight_decay": 0.1}


def test_a_run_that_says_nothing_has_the_value_of_the_target():
    study = study_with([0.1, 0.2, None], target=0.2)
    at = [log_places(trial.inputs, study.inputs, study.varying) for trial in study.trials]
    assert at == [(pytest.approx(-math.log(2)),), (0.0,), (0.0,)]


def test_no_weight_decay_is_a_recipe_of_its_own():
    study = study_with([0.1, 0.0, None], target=0.1)
    assert [study.recipe(trial) for trial in study.trials] == [None, "without weight decay", None]
    assert study.varying == {}, "it has no logarithm"
    study = study_with([0.1, 0.0, 0.2], target=0.0)
    labels = ["with weight decay", None, "with weight decay"]
    assert [study.recipe(trial) for trial in study.trials] == labels
    assert study.varying == {"weight_decay": math.log(0.1)}
    study = study_with([0.0, 0.0])
    assert [study.recipe(trial) for trial in study.trials] == [None, None]


def test_another_target_takes_the_runs_as_they_were_made():
    study = study_with([0.1, 0.1], target=0.1)
    other = for_target(study, replace(study.target, inputs={"weight_decay": 0.2}))
    assert [trial.inputs["weight_decay"] for trial in other.trials] == [0.1, 0.1]
    assert other.varying == {"weight_decay": math.log(0.2)}


def test_inputs_are_kept_and_leave_no_trace_where_there_are_none():
    study = study_with([0.1, 0.2], target=0.2)
    record = json.loads(json.dumps(study_record(study)))
    trials = [json.loads(json.dumps(trial_record(trial))) for trial in study.trials]
    assert study_from(record, [trial_from(trial) for trial in trials]) == study
    plain = import_runs(small_study(), [LoggedRun(**vars(logged()))])
    assert "inputs" not in study_record(plain)["target"]
    assert "inputs" not in trial_record(plain.trials[0])
