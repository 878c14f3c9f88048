"""Numbers of the recipe in somebody's table: read, checked, told about and given back."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.changes import import_runs
from horizon_bo.study.trials import Study
from horizon_bo.tables.logged import logged_table, remarks_about
from horizon_bo.tables.trials import trials_frame
from tests.studies import TARGET, small_study, small_tuner


def sweep(**columns: object) -> pd.DataFrame:
    """Four runs at four rates, with more columns."""
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    own = {"learning_rate": rates, "params": 6e7, "tokens": 1e9, "loss": [3.5, 3.4, 3.3, 3.4]}
    return pd.DataFrame({**own, **columns})


def remarks(frame: pd.DataFrame, study: Study | None = None) -> str:
    """What is said of a table that enters a study."""
    logged = logged_table(frame)
    return "\n".join(remarks_about(logged, import_runs(study or small_study(), logged.runs)))


def test_columns_of_inputs_are_read_and_mapped():
    frame = sweep(wd=[0.1, 0.2, "", None], beta2=[0.95, 0.98, 0.98, math.nan])
    table = logged_table(frame, columns={"weight_decay": "wd", "warmup_share": "0.02"})
    assert [dict(run.inputs) for run in table.runs] == [
        {"weight_decay": 0.1, "warmup_share": 0.02, "beta2": 0.95},
        {"weight_decay": 0.2, "warmup_share": 0.02, "beta2": 0.98},
        {"warmup_share": 0.02, "beta2": 0.98},
        {"warmup_share": 0.02},
    ]
    assert table.remarks == ()


def test_a_share_may_be_one_column_over_another():
    frame = sweep(**{"warm/steps": [10, 20, 40, 0], "steps": 1000, "min_lr": 1e-4})
    mapping = {"warmup_share": "warm/steps/steps", "final_share": "min_lr/learning_rate"}
    shares = [dict(run.inputs) for run in logged_table(frame, columns=mapping).runs]
    assert [share["warmup_share"] for share in shares] == [0.01, 0.02, 0.04, 0.0]
    assert [share["final_share"] for share in shares] == [0.1, 0.05, 0.025, 0.0125]
    for wrong in ("warm/step", "steps/0", "steps/"):
        with pytest.raises(InvalidTableError, match=f"has no column '{wrong}'"):
            logged_table(frame, columns={"warmup_share": wrong})


@pytest.mark.parametrize(
    ("column", "bad", "wanted"),
    [
        ("weight_decay", -0.1, "a number from 0 to 100"),
        ("weight_decay", "cosine", "a number from 0 to 100"),
        ("beta2", 1.0, "between 0 and 1"),
        ("warmup_share", 2000, "a share of the run's tokens, 0.05 for 5 %"),
        ("final_share", math.inf, "from 0 to 1"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_row_and_column(column, bad, wanted):
    frame = sweep(**{column: [0.1, bad, 0.1, 0.1]})
    with pytest.raises(InvalidTableError, match=f"{column} of row 1 in the table is") as told:
        logged_table(frame)
    assert wanted in str(told.value)
    assert "\n" not in str(told.value)


def test_rows_that_differ_in_an_input_alone_are_no_repeats():
    frame = pd.concat([sweep(weight_decay=0.1), sweep(weight_decay=0.2)], ignore_index=True)
    tuner = small_tuner()
    tuner.import_runs(frame)
    assert len(tuner.study.trials) == 8
    assert "8 of 8 runs are in the study already" in tuner.import_runs(frame)[0]


def test_what_was_assumed_of_inputs_is_said():
    said = remarks(sweep(weight_decay=[0.1, 0.1, 0.4, None]))
    assert "weight_decay of 1 of 4 rows is not given: taken as the target's, 0.1" in said
    assert "the target's weight_decay is not given although it differs between runs" in said
    assert "weight_decay" not in remarks(sweep(weight_decay=[0.1, 0.1, 0.1, 0.1]))
    said = remarks(sweep(weight_decay=[0.1, 0.1, 0.0, 0.1]))
    assert "weight_decay of 1 of 4 rows is 0 and the target's 0.1, first row 2" in said
    assert "1 of 4 rows are of another recipe" not in said
    assert "the target's weight_decay is not given although it differs between runs" in said


def test_inputs_that_go_with_size_are_called_confounded():
    sizes, decays = [3e7, 6e7, 1.2e8, 2.4e8], [0.05, 0.1, 0.2, 0.4]
    said = remarks(sweep(params=sizes, weight_decay=decays))
    assert "weight_decay goes with params in all rows" in said
    said = remarks(sweep(params=sizes, weight_decay=[0.1, 0.4, 0.4, 0.1]))
    assert "goes with" not in said


def test_no_run_of_a_recipe_with_the_place_of_the_targets_is_said():
    tuner = small_tuner(target=replace(TARGET, inputs={"weight_decay": 0.1}))
    tuner.import_runs(sweep(weight_decay=[0.1, 0.1, 0.2, 0.2]))
    said = " ".join(tuner.recommend(inputs={"weight_decay": 0.0}).warnings)
    assert "every run is with weight decay, the target is not: 0 has no logarithm" in said
    assert "no logarithm" not in " ".join(tuner.recommend().warnings)


def test_inputs_come_back_from_an_export():
    tuner = small_tuner()
    tuner.import_runs(sweep(weight_decay=[0.1, 0.2, 0.2, None]))
    frame = trials_frame(tuner.study)
    assert list(frame.columns[-2:]) == ["weight_decay", "history"]
    again = small_tuner()
    again.import_runs(frame.rename(columns={"state": "status"}))
    assert [t.inputs for t in again.study.trials] == [t.inputs for t in tuner.study.trials]
    assert "weight_decay" not in trials_frame(small_study(target=TARGET))
