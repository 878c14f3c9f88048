"""How a logged run ended: by its loss, and by the word its tracker has for it."""

import math

import numpy as np
import pandas as pd
import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.evaluation.cases import Case, problem_on
from horizon_bo.study.changes import import_runs, observe
from horizon_bo.tables.logged import logged_table
from tests.studies import logged, small_study, small_tuner


def table_of(status: list[object], loss: list[object], **columns: object) -> pd.DataFrame:
    places = {"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9}
    rows = {"status": status, "loss": pd.Series(loss, dtype=object)}
    return pd.DataFrame({**rows, **places, **columns})


ENDINGS = {
    "finished": ("finished", 3.0, "completed"),
    "MLflow's": ("FINISHED", 3.0, "completed"),
    "nothing said": (None, 3.0, "completed"),
    "finished without a loss": ("finished", None, "diverged"),
    "finished with infinity": ("finished", math.inf, "diverged"),
    "crashed half way": ("crashed", 3.5, "failed"),
    "crashed at once": ("failed", None, "failed"),
    "killed": ("KILLED", 3.5, "failed"),
    "crashed on NaN": ("crashed", "NaN", "diverged"),
    "crashed on infinity": ("crashed", "Infinity", "diverged"),
    "pruned": ("PRUNED", 3.5, "failed"),
    "our own word": ("diverged", None, "diverged"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_run_ends_as_its_tracker_and_its_loss_say(name):
    status, loss, expected = ENDINGS[name]
    (run,) = logged_table(table_of([status], [loss])).runs
    assert import_runs(small_study(), [run]).trials[0].status == expected
    assert (run.loss is not None) == (expected == "completed")


def test_every_kind_of_ending_is_counted_in_a_remark():
    status = ["finished", "finished", "failed", "crashed", "pruned", "running", "running"]
    loss = [3.0, None, None, 3.3, 3.4, 3.5, None]
    table = logged_table(table_of(status, loss))
    assert len(table.runs) == 5
    said = " | ".join(table.remarks)
    assert "loss of 1 of 7 rows is not finite, first row 1: taken as diverged" in said
    assert "2 of 7 rows failed, first row 2: recorded as failed" in said
    assert "1 of 7 rows were pruned, first row 4: recorded as failed" in said
    assert "2 of 7 rows have not ended, first row 5: left out" in said


def test_a_column_that_says_diverged_overrules_the_status():
    table = logged_table(table_of(["failed", "failed"], [3.5, 3.5], diverged=[True, False]))
    assert [(run.diverged, run.failed) for run in table.runs] == [(True, False), (False, True)]


def test_a_failed_run_without_a_place_is_left_out_and_said_so():
    rates = {"learning_rate": [1e-3, math.nan]}
    table = logged_table(table_of(["finished", "failed"], [3.0, None], **rates))
    assert len(table.runs) == 1
    assert "1 failed rows lack a rate or size: left out" in table.remarks


def test_a_row_after_one_left_out_is_still_called_by_its_own_number():
    sizes = {"params": [6e7, 6e7, -1.0]}
    with pytest.raises(InvalidTableError, match="params of row 2 in the table is -1"):
        logged_table(table_of(["running", "finished", "finished"], [3.0, 3.0, 3.0], **sizes))


def test_an_unknown_word_leaves_out_its_own_rows_only_and_is_said():
    table = logged_table(table_of(["finished", "halb fertig", "COMPLETED"], [3.0, 3.1, 3.2]))
    assert [run.loss for run in table.runs] == [3.0, 3.2]
    assert (
        "1 of 3 rows have no known state of a run in column 'status', first row 1 with 'halb"
        in (table.remarks[0])
    )


def test_a_column_that_names_no_state_at_all_is_ignored_and_said_so():
    table = logged_table(table_of(["California", "Texas"], [3.0, 3.1]))
    assert [run.loss for run in table.runs] == [3.0, 3.1]
    assert "column 'status' of the table is ignored: 'California'" in table.remarks[0]


def test_runs_that_are_all_running_are_no_table():
    with pytest.raises(InvalidTableError, match="has 0 of 2 rows that have ended"):
        logged_table(table_of(["running", "running"], [3.0, 3.0]))


def test_an_empty_cell_of_a_csv_is_no_loss_and_nan_is_one(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        "learning_rate,params,tokens,loss,State\n"
        "1e-3,6e7,1e9,3.123456789012345,finished\n"
        "1e-3,6e7,1e9,NaN,crashed\n"
        "1e-3,6e7,1e9,,crashed\n"
    )
    table = logged_table(path)
    assert [run.loss for run in table.runs] == [3.123456789012345, None, None]
    assert [run.diverged for run in table.runs] == [False, True, False]
    assert [run.failed for run in table.runs] == [False, False, True]


def test_a_sweep_that_has_grown_is_imported_again_without_doubling_what_was_there(tmp_path):
    path = tmp_path / "runs.csv"
    status, loss = ["finished", "failed", "finished", "running"], [3.0, None, 3.05, None]
    table_of(status, loss).to_csv(path, index=False)
    tuner = small_tuner()
    tuner.import_runs(path)
    assert [trial.status for trial in tuner.study.trials] == ["completed", "failed", "completed"]
    table_of([*status[:3], "finished"], [*loss[:3], 3.1]).to_csv(path, index=False)
    remarks = tuner.import_runs(path)
    assert [trial.loss for trial in tuner.study.trials] == [3.0, None, 3.05, 3.1]
    assert "3 of 4 runs are in the study already: left out" in remarks


def test_runs_handed_over_one_by_one_are_all_meant():
    tuner = small_tuner()
    for _ in range(2):
        assert tuner.import_runs([logged()]) == ()
    assert len(tuner.study.trials) == 2


def test_a_failed_run_is_not_for_sale_in_a_replay():
    runs = [logged(), logged(learning_rate=1e-3, loss=None, failed=True), logged(params=1.2e8)]
    case = Case(name="c", sweep="s.csv", target_params=1.2e8, target_tokens=1e9)
    assert [trial.row for trial in problem_on(case, runs).pool] == [0]


def test_a_failed_run_says_nothing_and_costs_what_it_took():
    failed = logged(failed=True, loss=None)
    study = import_runs(small_study(), [failed])
    assert (study.trials[0].status, study.spent) == ("failed", 0.0)
    charged = observe(small_study(), logged(loss=None), failed=True)
    assert charged.trials[0].status == "failed"
    assert np.isclose(charged.spent, 6 * 6e7 * 1e9)
    assert logged_table([failed, logged()]).runs == (failed, logged())


@pytest.mark.parametrize(
    ("column", "cells", "status"),
    [
        ("exit_code", [0, 137], ["completed", "failed"]),
        ("ExitCode", ["0:0", "0:15"], ["completed", "failed"]),
        ("Exit Code", ["", "1"], ["completed", "failed"]),
        ("success", [True, False], ["completed", "failed"]),
        ("finished", ["yes", "no"], ["completed"]),
        ("done", [1, 0], ["completed"]),
        ("done", [0.3, 0.7], ["completed", "completed"]),  # a share: about something else
        ("success", ["a", "b"], ["completed", "completed"]),
    ],
)
def test_an_exit_code_or_a_yes_and_no_says_how_runs_ended_where_nothing_else_does(
    column, cells, status
):
    frame = table_of(["", ""], [3.0, 3.1]).drop(columns="status").assign(**{column: cells})
    table = logged_table(frame)
    tuner = small_tuner()
    tuner.import_runs(list(table.runs))
    assert [trial.status for trial in tuner.study.trials] == status
    said = f"column {column!r} is taken to say how runs ended"
    assert (said in table.remarks) == (status != ["completed", "completed"])
    assert len(logged_table(frame.assign(state=["finished", "finished"])).runs) == 2
