"""Shifts: does a damaged table ever become other runs, or more than one clear line?"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from horizon_bo.errors import HorizonBOError, InvalidTableError
from horizon_bo.tables.logged import logged_table
from tests.tables.sweeps import CSV, LOSSES, PLAIN, read, refused, sweep, written


def test_trailing_commas_shift_no_column(tmp_path):
    rows = [line + "," for line in CSV.splitlines()]
    for text in ("\n".join([CSV.splitlines()[0], *rows[1:]]), "\n".join(rows)):
        assert list(read(tmp_path, text + "\n").runs) == PLAIN


def test_a_cell_beyond_the_header_is_refused_by_row(tmp_path):
    lines = CSV.splitlines()
    said = refused(tmp_path, "\n".join([*lines[:2], lines[2] + ",7", *lines[3:]]) + "\n")
    assert "row 1 of" in said
    assert "has more than 4 cells, the count of the header, and beyond it '7'" in said


def test_a_row_with_too_few_cells_is_refused_by_row(tmp_path):
    lines = CSV.splitlines()
    for row in (1, 3):
        short = [*lines[: row + 1], lines[row + 1].rpartition(",")[0], *lines[row + 2 :]]
        said = refused(tmp_path, "\n".join(short) + "\n")
        assert f"row {row} of" in said
        assert "has 3 cells, expected 4 as in the header" in said


@pytest.mark.parametrize("cut", [1, 3, 6, 7, 12, 20])
def test_a_half_written_last_line_is_left_out_and_said(tmp_path, cut):
    table = read(tmp_path, CSV[: -1 - cut])
    assert list(table.runs) == PLAIN[:3]
    assert "half-written: left out" in table.remarks[0]


def test_a_last_line_without_an_end_that_is_whole_is_read(tmp_path):
    assert list(read(tmp_path, CSV[:-1]).runs) == PLAIN


def test_a_half_written_quote_or_json_line_is_left_out_and_said(tmp_path):
    quoted = sweep(Name="run, 1").to_csv(
        index=False, columns=["learning_rate", "params", "tokens", "loss", "Name"]
    )
    lines = sweep().to_json(orient="records", lines=True, double_precision=15)
    for text, name in ((quoted[:-4], "a.csv"), (lines[:-9], "a.jsonl")):
        table = read(tmp_path, text, name)
        assert list(table.runs) == PLAIN[:3]
        assert "half-written" in table.remarks[0]


def test_a_half_written_line_in_the_middle_is_refused(tmp_path):
    lines = sweep().to_json(orient="records", lines=True).splitlines()
    said = refused(tmp_path, "\n".join([lines[0], lines[1][:-9], *lines[2:]]) + "\n", "a.jsonl")
    assert "line 2" in said


@pytest.mark.parametrize("column", ["loss", "learning_rate", "params"])
@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet", "frame"])
def test_a_boolean_is_no_number(tmp_path, column, kind):
    frame = sweep(**{column: [True, True, False, True]})
    path = tmp_path / f"runs.{kind}"
    match kind:
        case "csv":
            frame.to_csv(path, index=False)
        case "json" | "jsonl":
            frame.to_json(path, orient="records", lines=kind == "jsonl")
        case "parquet":
            frame.to_parquet(path)
    with pytest.raises(InvalidTableError, match=f"{column} of row 0 in .* is '?[Tt]rue"):
        logged_table(frame if kind == "frame" else path)


@pytest.mark.parametrize("kind", ["csv", "frame"])
def test_second_columns_of_one_name_are_asked_about(tmp_path, kind):
    frame = sweep()
    frame.insert(4, "loss", [9.0, 9.1, 9.2, 9.3], allow_duplicates=True)
    given: Any = frame
    if kind == "csv":
        given = written(tmp_path, frame.to_csv(index=False))
    with pytest.raises(InvalidTableError) as caught:
        logged_table(given)
    assert "may be loss (column 4) or loss (column 5), expected to know which" in str(caught.value)
    assert list(logged_table(given, columns={"loss": "loss (column 4)"}).runs) == PLAIN


def test_second_columns_that_are_the_same_are_one():
    frame = sweep()
    frame.insert(4, "loss", frame["loss"].to_numpy(), allow_duplicates=True)
    assert list(logged_table(frame).runs) == PLAIN


def test_a_json_object_with_a_name_twice_is_refused(tmp_path):
    row = '{"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9, "loss": 3.1, "loss": 9.1}'
    for text, name in ((row + "\n", "a.jsonl"), (f"[{row}]", "a.json")):
        assert "an object has the name 'loss' twice" in refused(tmp_path, text, name)


def test_blank_rows_are_left_out(tmp_path):
    lines = CSV.splitlines()
    table = read(tmp_path, "\n".join([lines[0], "", *lines[1:3], ",,,", *lines[3:], "", ""]))
    assert list(table.runs) == PLAIN
    frame = pd.concat([sweep(), pd.DataFrame([{"loss": 1.0}])], ignore_index=True)
    table = logged_table(frame)
    assert list(table.runs) == PLAIN
    assert "1 of 5 rows of the table hold no rate, size and length" in table.remarks[0]


def test_an_index_with_a_name_is_a_column():
    assert list(logged_table(sweep().set_index("learning_rate")).runs) == PLAIN


HUGE = "1" + 400 * "0"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", CSV.replace("45000000", HUGE)),
        ("a.csv", CSV.replace("3.3587", HUGE)),
        ("a.jsonl", f'{{"learning_rate": 1e-3, "params": {HUGE}, "tokens": 1e9, "loss": 3}}\n'),
        ("a.jsonl", f'{{"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9, "loss": {HUGE}}}\n'),
        ("a.json", f'[{{"learning_rate": 1e-3, "params": {"9" * 5000}, "tokens": 1, "loss": 3}}]'),
        ("a.json", "[" * 100_000),
        ("a.json", "[" * 100_000 + "]" * 100_000),
        ("a.jsonl", '{"a": ' * 100_000 + "1" + "}" * 100_000 + "\n"),
        ("a.csv", 'config,loss\n"' + "{" * 100_000 + '",3.1\n'),
        ("a.csv", 'config,loss\n"' + "{'a':" * 50_000 + '",3.1\n'),
        ("a.csv", "x" * 100_000 + ",loss\n1,2\n"),
        ("a.csv", '"' + "x" * 2_000_000 + '",loss\n1,2\n'),
        ("a.csv", "a,b\n\0,2\n"),
        ("a.csv", ""),
        ("a.csv", "\n\n"),
        ("a.csv", "learning_rate,params,tokens,loss\n"),
        ("a.json", "3"),
        ("a.json", '"runs"'),
        ("a.json", '{"loss": 3}'),
        ("a.jsonl", "3\n"),
        ("a.jsonl", "[1]\n"),
        ("a.csv.gz", "no gzip"),
        ("a.csv", CSV.replace("45000000", "fast" * 5000)),
    ],
)
def test_what_is_no_table_is_one_clear_line(tmp_path, name, text):
    refused(tmp_path, text, name)


@pytest.mark.parametrize("value", [b"3.1", [3.1], {"a": 1}, np.array([3.1]), "x" * 9000, 1 + 2j])
@pytest.mark.parametrize("column", ["learning_rate", "loss", "source", "diverged", "status", "id"])
def test_bytes_lists_and_the_like_in_cells_are_one_clear_line_or_ignored(tmp_path, value, column):
    frame = sweep(**{column: pd.Series([value] * 4, dtype=object)})
    if not isinstance(value, complex | dict):
        frame.to_parquet(tmp_path / "runs.parquet")
        given: Any = tmp_path / "runs.parquet"
    else:
        given = frame
    try:
        runs = logged_table(given).runs
    except HorizonBOError as error:
        said = str(error)
    else:
        said, losses = "", [run.loss for run in runs]
        assert losses == list(LOSSES)
    assert "\n" not in said
    assert len(said) < 1000


def test_a_path_too_long_for_a_file_is_one_clear_line():
    with pytest.raises(InvalidTableError, match="is no file"):
        logged_table("x" * 5000 + ".csv")


def test_mappings_that_go_in_circles_end():
    ours = ["learning_rate", "params", "tokens", "loss", "batch_tokens", "flops", "loss_sd"]
    columns = {name: "*".join(other for other in ours if other != name) for name in ours}
    with pytest.raises(InvalidTableError, match="has no column"):
        logged_table(pd.DataFrame({"a": [1.0]}), columns=columns)
