"""Tables: how does a logged sweep (CSV, Parquet, JSON, data frame, tracker) become runs?

Each column is checked as a whole, and the first bad value is named by row and column. Rows count
from 0, the header aside.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.trials import LoggedRun, Study
from horizon_bo.tables.cells import numbers, refuse
from horizon_bo.tables.columns import LABELS, NEEDED, POSITIVE, ours
from horizon_bo.tables.statuses import endings
from horizon_bo.tables.trackers import tracked_runs

#: What an empty cell of a CSV may say. NaN is not among them: as a loss it means something.
_NOTHING = ["", "NA", "N/A", "#N/A", "null", "NULL", "None", "<NA>"]

_WANTED = "a finite number > 0"


@dataclass(frozen=True)
class LoggedTable:
    """Runs read from a table.

    Args:
        runs: One per row that has ended, in order.
        remarks: What was taken in a way the author may not expect.
        frame: The table as read, with our columns added and those that runs do not use.
    """

    runs: tuple[LoggedRun, ...]
    remarks: tuple[str, ...]
    frame: pd.DataFrame


def logged_table(
    table: "str | PathLike[str] | pd.DataFrame | Sequence[LoggedRun | Mapping[str, Any]]",
    *,
    source: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> LoggedTable:
    """Logged runs from a file, a tracker, a data frame or a list, checked.

    Args:
        table: A path ending in .csv, .json, .jsonl or .parquet, a tracker such as
            `"mlflow:sqlite:///mlflow.db#sweep"`, a data frame, or runs.
        source: Recipe of rows that name none.
        columns: Which column, or product of columns and numbers, is which of ours, as in
            `{"learning_rate": "optim.lr", "tokens": "steps*524288"}`; `None` where they bear our
            names.
    """
    remarks: tuple[str, ...] = ()
    if isinstance(table, pd.DataFrame):
        frame, name = table, "the table"
    elif isinstance(table, str) and (tracked := tracked_runs(table)) is not None:
        frame, name, remarks = tracked.frame, table, tracked.remarks
    elif isinstance(table, str | PathLike):
        frame, name = _read(Path(fspath(table))), fspath(table)
    elif isinstance(table, Sequence):
        frame, name = _frame_of(table), "the list of runs"
    else:
        raise InvalidTableError(
            f"a table of type {type(table).__name__} arrived, expected a path, a data frame or a "
            "list of runs; convert it to one of these"
        )
    frame = ours(frame.reset_index(drop=True), columns or {}, name)
    checked = _checked(frame, name, source)
    return LoggedTable(checked.runs, (*remarks, *checked.remarks), frame)


def remarks_about(logged: LoggedTable, study: Study) -> tuple[str, ...]:
    """What about these runs looks wrong for this study, such as rates in another unit."""
    low, high = study.space.learning_rate
    rates = np.array([run.learning_rate for run in logged.runs])
    outside = np.flatnonzero((rates < low) | (rates > high))
    remarks = []
    if len(outside):
        row = int(outside[0])
        remarks.append(
            f"learning_rate of {len(outside)} of {len(rates)} rows is outside the space "
            f"[{low:g}, {high:g}], first row {row} with {rates[row]:g}; check its unit"
        )
    if all(run.diverged for run in logged.runs):
        remarks.append(f"all {len(rates)} rows diverged: they say only which rates are too high")
    return tuple(remarks)


def _read(path: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": lambda file: pd.read_csv(file, keep_default_na=False, na_values=_NOTHING),
        ".json": _json_frame,
        ".jsonl": lambda file: pd.read_json(file, lines=True),
        ".parquet": pd.read_parquet,
    }
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in readers:
        raise InvalidTableError(
            f"{path} ends in {path.suffix!r}, expected .csv, .json, .jsonl or .parquet; "
            "convert the table"
        )
    if not path.is_file():
        raise InvalidTableError(f"{path} is no file, expected a table of runs; check the path")
    try:
        return readers[suffix](path)
    except ImportError as error:
        raise InvalidTableError(
            f"{path} needs pyarrow, expected it installed; pip install 'horizon-bo[parquet]'"
        ) from error
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidTableError(
            f"{path} cannot be read ({said}), expected {suffix} with one run a row; repair it"
        ) from error


def _json_frame(file: Path) -> pd.DataFrame:
    """A JSON list of runs, or the mapping of columns that a data frame is written as."""
    runs = json.loads(file.read_text(), parse_constant=str)
    if isinstance(runs, list):
        return _frame_of(runs)
    return pd.DataFrame(runs)


def _frame_of(rows: Sequence[LoggedRun | Mapping[str, Any]]) -> pd.DataFrame:
    for position, row in enumerate(rows):
        if not isinstance(row, LoggedRun | Mapping):
            raise InvalidTableError(
                f"row {position} is a {type(row).__name__}, expected a LoggedRun or a mapping; "
                "convert it"
            )
    records = [
        {field.name: getattr(row, field.name) for field in fields(row)}
        if isinstance(row, LoggedRun)
        else dict(row)
        for row in rows
    ]
    return pd.DataFrame.from_records(records) if records else pd.DataFrame(columns=list(NEEDED))


def _checked(frame: pd.DataFrame, name: str, source: str | None) -> LoggedTable:
    if not len(frame):
        raise InvalidTableError(f"{name} has 0 rows, expected at least one run; check the export")
    _refuse_repeated_ids(frame, name)
    ending = endings(frame, name)
    nameless = ending.failed & ~_placed(frame, name)
    kept = ending.ended & ~nameless
    remarks = ending.remarks
    if nameless.any():
        remarks = (*remarks, f"{nameless.sum()} failed rows lack a rate or size: left out")
    if not kept.any():
        raise InvalidTableError(
            f"{name} has 0 of {len(frame)} rows that have ended and say anything, expected one; "
            "import it when its runs have"
        )
    frame = frame.loc[kept]
    columns: dict[str, list[Any]] = {
        column: _positive_column(frame, column, name) for column in POSITIVE if column in frame
    }
    columns["loss"] = [loss for loss, there in zip(ending.loss, kept, strict=True) if there]
    columns["diverged"] = ending.diverged[kept].tolist()
    columns["failed"] = ending.failed[kept].tolist()
    for column in LABELS:
        if column in frame:
            absent = frame[column].isna() | (frame[column] == "")
            labels = zip(frame[column].tolist(), absent, strict=True)
            columns[column] = [None if gone else str(label) for label, gone in labels]
    if source is not None:
        named = columns.get("source", [None] * len(frame))
        columns["source"] = [label or source for label in named]
    rows = zip(*columns.values(), strict=True)
    runs = tuple(LoggedRun(**dict(zip(columns, row, strict=True))) for row in rows)
    return LoggedTable(runs, remarks, frame)


def _placed(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Rows that say where they belong: a rate, a size and a length."""
    places = [numbers(frame, column, name, _WANTED) for column in NEEDED if column != "loss"]
    return np.all([np.isfinite(place) & (place > 0) for place in places], axis=0)


def _refuse_repeated_ids(frame: pd.DataFrame, name: str) -> None:
    if "id" in frame and (repeated := frame["id"].duplicated() & frame["id"].notna()).any():
        row = int(np.flatnonzero(repeated)[0])
        raise InvalidTableError(
            f"id of row {row} in {name} is {frame['id'].tolist()[row]!r} for the second time, "
            "expected each run once; drop the row or rename the column"
        )


def _positive_column(frame: pd.DataFrame, column: str, name: str) -> list[float | None]:
    found = numbers(frame, column, name, _WANTED)
    absent = np.isnan(found)
    bad = ~np.isfinite(found) | (found <= 0)
    refuse(bad if column in NEEDED else bad & ~absent, frame, column, name, _WANTED)
    return [None if gone else number for gone, number in zip(absent, found.tolist(), strict=True)]
