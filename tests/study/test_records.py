"""Records: a study written as JSON and read again is the same study."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import Horizon, Scale, SearchSpace, Trial
from horizon_bo.errors import InvalidSpaceError, StudyFormatError
from horizon_bo.study.records import (
    as_json,
    study_from,
    study_record,
    trial_from,
    trial_record,
)
from tests.studies import pending_trial, small_study

positive = st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)


@given(
    rates=st.lists(positive, min_size=2, max_size=2).map(sorted),
    tokens=st.one_of(
        st.lists(positive, min_size=2, max_size=2).map(lambda pair: tuple(sorted(pair))),
        st.lists(positive, min_size=1, max_size=4),
    ),
    size=st.floats(min_value=1, max_value=1e150),
    length=st.floats(min_value=1, max_value=1e150),
    budget=positive,
)
def test_a_study_is_read_as_it_was_written(rates, tokens, size, length, budget):
    study = small_study(
        target=Horizon(params=size, tokens=length),
        space=SearchSpace(
            learning_rate=tuple(rates),
            scales=[Scale(params=size, flops_per_token=budget, settings={"layers": [1, 2]})],
            tokens=tokens,
            schedules=["cosine", "wsd"],
            cooldown=0.2,
        ),
        budget=budget,
        prior_center=rates[0],
    )
    assert study_from(json.loads(as_json(study_record(study)))) == study


@given(
    rate=positive,
    loss=positive,
    loss_sd=st.none() | positive,
    charged=st.booleans(),
    trunk=st.none() | st.integers(0, 3),
)
def test_a_trial_is_read_as_it_was_written(rate, loss, loss_sd, charged, trunk):
    trial = Trial(
        id=3,
        learning_rate=rate,
        params=1e8,
        tokens=2e9,
        batch_tokens=None,
        flops=1.2e18,
        schedule="cosine",
        averaging="none",
        status="completed",
        loss=loss,
        loss_sd=loss_sd,
        charged=charged,
        settings={"width": 64},
        trunk=trunk,
    )
    assert trial_from(json.loads(as_json(trial_record(trial)))) == trial


def test_records_from_before_there_were_branches_are_read_as_ordinary_runs():
    study, trial = study_record(small_study()), trial_record(pending_trial())
    del study["space"]["cooldown"], trial["trunk"]
    assert study_from(study) == small_study()
    assert trial_from(trial) == pending_trial()


def test_a_setting_json_cannot_hold_is_refused():
    study = small_study(
        space=SearchSpace(
            learning_rate=(1e-4, 1e-2),
            scales=[Scale(params=1e8, settings={"model": object()})],
            tokens=[1e9],
        )
    )
    with pytest.raises(InvalidSpaceError, match="setting cannot be stored"):
        as_json(study_record(study))


@pytest.mark.parametrize("change", [{"colour": 1}, {"budget": -1.0}, {"target": {}}])
def test_a_record_of_another_shape_is_refused(change):
    with pytest.raises(StudyFormatError, match="cannot be read"):
        study_from({**study_record(small_study()), **change})


@pytest.mark.parametrize("kind", [[], "lost", None])
def test_a_change_that_a_disk_altered_is_refused_and_not_counted(kind):
    record = trial_record(pending_trial())
    record["changes"] = [{"kind": kind, "before": {"loss": 3.1}, "reason": "typo"}]
    with pytest.raises(StudyFormatError, match="cannot be read"):
        trial_from(record)
