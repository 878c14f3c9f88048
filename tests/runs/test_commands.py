"""Objectives: what a template becomes, and what is refused before anything is started."""

import functools
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from horizon_bo import Horizon, Scale, SearchSpace
from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs.commands import Command, Function, function_command, objective_from
from horizon_bo.study.branches import suggestion
from tests.studies import pending_trial, small_study

SCALES = [
    Scale(params=6e7, settings={"width": 512, "name": "small; rm -rf {id}"}),
    Scale(params=1.2e8, settings={"width": 768, "name": "large"}),
]
STUDY = small_study(
    space=SearchSpace(learning_rate=(1e-4, 2e-2), scales=SCALES, tokens=(1e9, 4e9)), seed=40
)
RUN = suggestion([pending_trial(2)], STUDY)


def top_level(run) -> float:
    return run.learning_rate


def objective(given, study=STUDY, elsewhere=False, target_settings=None):
    return objective_from(given, study, elsewhere=elsewhere, target_settings=target_settings)


def filled(template: str, **changes) -> list[str]:
    made = objective(f"{sys.executable} {template}")
    assert isinstance(made, Command)
    return list(made.argv(replace(RUN, **changes), Path("/runs/2")))[1:]


def test_every_placeholder_is_filled_and_whole_numbers_are_printed_as_integers():
    template = (
        "{learning_rate} {params} {tokens} {batch_tokens} {flops} {schedule} {averaging} {id} "
        "{seed} {folder} {width}"
    )
    assert filled(template) == [
        "0.002",
        "60000000",
        "1000000000",
        "262144",
        "360000000000000000",
        "cosine",
        "none",
        "2",
        "42",
        "/runs/2",
        "512",
    ]


def test_a_count_is_rounded_because_programs_read_it_as_an_integer():
    assert filled("{tokens} {learning_rate}", tokens=1414213562.37, learning_rate=1.0 / 3) == [
        "1414213562",
        repr(1 / 3),
    ]


def test_a_value_stays_one_argument_and_is_not_filled_again():
    filled_in = filled("--name={name} 'a b' {learning_rate}")
    assert filled_in == ["--name=small; rm -rf {id}", "a b", "0.002"]


def test_braces_of_json_stay():
    assert filled("""'{"lr": {learning_rate}, "x": {}}'""") == ['{"lr": 0.002, "x": {}}']


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{python} train.py", "the placeholder {python}, expected one of averaging, "),
        ("python ${HOME}", "the placeholder {HOME}"),
        ("python --lr {lr}", "learning_rate, name, params, schedule, seed, tokens, width"),
        ("python 'train.py", "cannot be split"),
        ("", "is empty"),
        ("python train.py --params {params}", "has no {learning_rate}"),
        ("python train.py", "else all runs train at one rate"),
        ("no-such-program --lr {learning_rate}", "'no-such-program' is not found"),
    ],
)
def test_a_template_that_cannot_run_is_one_clear_line(template, expected):
    with pytest.raises(InvalidObjectiveError) as caught:
        objective(template)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_may_read_the_rate_from_its_folder():
    assert filled("--run {folder}") == ["--run", "/runs/2"]


def test_a_setting_must_be_given_by_every_scale_and_by_a_target_that_is_trained():
    scales = [SCALES[0], Scale(params=1.2e8)]
    lacking = replace(STUDY, space=replace(STUDY.space, scales=scales))
    template = [sys.executable, "{width}", "{learning_rate}"]
    with pytest.raises(InvalidObjectiveError, match=r"placeholder \{width\}"):
        objective(template, lacking)
    with pytest.raises(InvalidObjectiveError, match=r"placeholder \{width\}"):
        objective(template, target_settings={})
    made = objective(template, target_settings={"width": 2048})
    assert isinstance(made, Command)


def test_batch_tokens_is_no_placeholder_where_batch_is_not_modelled():
    study = replace(STUDY, target=Horizon(params=1e9, tokens=2e10))
    with pytest.raises(InvalidObjectiveError, match=r"placeholder \{batch_tokens\}"):
        objective([sys.executable, "{batch_tokens}"], study)


def test_a_function_is_called_here_unless_it_must_run_elsewhere():
    assert objective(top_level) == Function(top_level)
    assert isinstance(objective(top_level, elsewhere=True), Command)


@pytest.mark.parametrize("train", [lambda run: 1.0, functools.partial(top_level)])
def test_a_function_without_a_name_of_its_own_is_refused_elsewhere(train):
    with pytest.raises(InvalidObjectiveError, match="known to this process only"):
        function_command(train)
