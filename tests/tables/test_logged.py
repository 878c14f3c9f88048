"""Tables of logged runs: three formats, one reading, and a clear word about every bad value."""

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import LoggedRun
from horizon_bo.errors import InvalidTableError
from horizon_bo.tables.logged import MOST_RUNS, logged_table, remarks_about
from tests.studies import logged, small_study

FRAME = pd.DataFrame(
    {
        "learning_rate": [1e-3, 2e-3, 4e-3],
        "params": [60_000_000] * 3,
        "tokens": [1_000_000_000] * 3,
        "loss": [3.1, 3.0, math.nan],
        "batch_tokens": [262_144, None, 262_144],
        "source": ["old", None, "new"],
        "diverged": [False, False, True],
        "colour": ["red", "green", "blue"],
    }
)


def frame_with(column: str, value: object) -> pd.DataFrame:
    values = FRAME[column].astype(object)
    values[1] = value
    return FRAME.assign(**{column: values})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".csv.gz"])
def test_every_format_gives_the_same_runs(tmp_path, suffix):
    path = tmp_path / f"runs{suffix}"
    if "csv" in suffix:
        FRAME.to_csv(path, index=False)
    elif suffix == ".jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    else:
        FRAME.to_parquet(path)
    table = logged_table(path)
    assert table.runs == logged_table(FRAME).runs
    assert table.remarks == ()
    first, second, third = table.runs
    assert first == LoggedRun(
        learning_rate=1e-3,
        params=6e7,
        tokens=1e9,
        loss=3.1,
        batch_tokens=262_144.0,
        source="old",
    )
    assert (second.batch_tokens, second.source) == (None, None)
    assert (third.diverged, third.loss) == (True, None)


def test_unknown_columns_are_kept_and_ignored():
    assert list(logged_table(FRAME).frame["colour"]) == ["red", "green", "blue"]


def test_more_runs_than_a_study_can_hold_are_one_line_and_points_of_their_curves_are_not():
    many = MOST_RUNS + 1
    frame = pd.DataFrame(
        {
            "learning_rate": np.linspace(1e-3, 2e-3, many),
            "params": 6e7,
            "tokens": 1e9,
            "loss": 3.0,
            "run": np.arange(many) // 1000,
            "step": np.arange(many) % 1000,
        }
    )
    with pytest.raises(InvalidTableError, match="holds 50001 runs, expected up to 50000; ") as said:
        logged_table(frame)
    assert "\n" not in str(said.value)
    assert len(logged_table(frame, last_of="run", by="step").runs) == 51


def test_a_list_of_runs_or_mappings_is_a_table():
    runs = [logged(), logged(source="old", diverged=True, loss=None)]
    assert logged_table(runs).runs == tuple(runs)
    mappings = [{"learning_rate": 2e-3, "params": 6e7, "tokens": 1e9, "loss": 3.1}]
    assert logged_table(mappings).runs == (logged(),)


def test_a_given_source_fills_only_the_rows_without_one():
    assert [run.source for run in logged_table(FRAME, source="logs").runs] == ["old", "logs", "new"]


@given(st.lists(st.floats(min_value=1e-9, max_value=1e3), min_size=1, max_size=20))
def test_a_number_is_read_as_it_was_written(tmp_path_factory, losses):
    path = tmp_path_factory.mktemp("tables") / "runs.csv"
    frame = pd.DataFrame({"learning_rate": losses, "params": 1.0, "tokens": 1.0, "loss": losses})
    frame.to_csv(path, index=False)
    assert [run.loss for run in logged_table(path, repeats=True).runs] == losses


@pytest.mark.parametrize("column", ["learning_rate", "params", "tokens"])
@pytest.mark.parametrize("value", [0, -1e-3, math.nan, math.inf, "fast", None])
def test_a_bad_value_is_named_by_row_and_column(column, value):
    with pytest.raises(InvalidTableError, match=f"{column} of row 1 in the table is ") as caught:
        logged_table(frame_with(column, value))
    assert "expected a finite number > 0; drop the row" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0.0, -2.0, -math.inf, "low"])
def test_a_loss_that_cannot_be_is_named(value):
    with pytest.raises(InvalidTableError, match="loss of row 1 in the table is "):
        logged_table(frame_with("loss", value))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_means_diverged_and_is_said_so(value):
    table = logged_table(frame_with("loss", value))
    assert [run.diverged for run in table.runs] == [False, True, True]
    assert table.remarks == ("loss of 1 of 3 rows is not finite, first row 1: taken as diverged",)


@pytest.mark.parametrize("value", ["perhaps", 2, 0.5])
def test_a_divergence_that_is_no_yes_or_no_is_named(value):
    with pytest.raises(InvalidTableError, match="diverged of row 1 in the table is "):
        logged_table(frame_with("diverged", value))


@pytest.mark.parametrize(
    ("value", "diverged"),
    [(True, True), ("True", True), (1, True), ("yes", True), ("false", False), (None, False)],
)
def test_a_divergence_may_be_written_in_many_ways(value, diverged):
    assert logged_table(frame_with("diverged", value)).runs[1].diverged is diverged


@pytest.mark.parametrize("column", ["learning_rate", "params", "tokens", "loss"])
def test_a_missing_column_is_named(column):
    with pytest.raises(InvalidTableError, match=f"has no column '{column}'"):
        logged_table(FRAME.drop(columns=column))


def test_no_rows_are_no_table(tmp_path):
    FRAME.head(0).to_csv(tmp_path / "runs.csv", index=False)
    for table in (tmp_path / "runs.csv", FRAME.head(0), []):
        with pytest.raises(InvalidTableError, match="has 0 rows"):
            logged_table(table)


def test_repeated_ids_are_named():
    with pytest.raises(InvalidTableError, match="id of row 2 in the table is 7 for the second"):
        logged_table(FRAME.assign(id=[7, 8, 7]))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("no.csv", None, "is no file"),
        ("runs.xlsx", b"", "ends in '.xlsx'"),
        ("runs.csv", b"", "cannot be read"),
        ("runs.csv", b"\xff\xfe\x00\x01\x80", "cannot be read"),
        ("runs.jsonl", b"{not json", "cannot be read"),
        ("runs.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, name, content, expected):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidTableError, match=expected) as caught:
        logged_table(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [3, None, [1, 2], [["a"]]])
def test_a_thing_that_is_no_table_is_named(table):
    with pytest.raises(InvalidTableError, match="convert it"):
        logged_table(table)


def test_rates_in_another_unit_are_accepted_with_a_remark():
    table = logged_table([logged(), logged(learning_rate=3.0)])
    (said,) = remarks_about(table, small_study())
    assert "learning_rate of 1 of 2 rows is outside the space" in said
    assert "first row 1 with 3;" in said


def test_a_table_of_diverged_runs_is_accepted_with_a_remark():
    table = logged_table([logged(loss=None, diverged=True)] * 2)
    assert remarks_about(table, small_study()) == (
        "all 2 rows diverged: they say only which rates are too high",
    )


@pytest.mark.alone
def test_five_thousand_rows_are_checked_in_well_under_a_second():
    rates = np.geomspace(1e-4, 1e-2, 5_000)
    frame = pd.DataFrame({"learning_rate": rates, "params": 6e7, "tokens": 1e9, "loss": 3.0})
    began = time.perf_counter()
    assert len(logged_table(frame).runs) == 5_000
    assert time.perf_counter() - began < 1.0


def test_a_json_line_table_reads_large_counts_exactly(tmp_path):
    row = {"learning_rate": 1e-3, "params": 1_073_741_824, "tokens": 100_000_000_000, "loss": 2.2}
    (tmp_path / "runs.jsonl").write_text(json.dumps(row) + "\n")
    (run,) = logged_table(tmp_path / "runs.jsonl").runs
    assert (run.params, run.tokens) == (1_073_741_824.0, 100_000_000_000.0)
