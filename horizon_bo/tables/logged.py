"""Tables: how does a logged sweep (CSV, Parquet, JSON, data frame, tracker) become runs?

Each column is checked as a whole, and the first bad value is named by row and column. Rows count
from 0, the header aside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.inputs import INPUTS, input_fault, input_range
from horizon_bo.study.trials import LoggedRun, Study
from horizon_bo.tables import doubts
from horizon_bo.tables.cells import numbers, readable, refuse
from horizon_bo.tables.columns import AUTO, LABELS, NEEDED, POSITIVE, ours
from horizon_bo.tables.curves import curves, last_rows, stopped_early
from horizon_bo.tables.files import frame_of, read_file
from horizon_bo.tables.guesses import GUESSED
from horizon_bo.tables.repeats import names_of, repeated
from horizon_bo.tables.statuses import endings
from horizon_bo.tables.trackers import tracked_runs

Table = str | PathLike[str] | pd.DataFrame | Sequence[LoggedRun | Mapping[str, Any]]

_WANTED = "a finite number > 0"
#: Runs that a table may hold: as many take 20 MB of a study and some 0.6 GB of memory to read in.
MOST_RUNS = 50_000


@dataclass(frozen=True)
class LoggedTable:
    """Runs read from a table.

    Args:
        runs: One per row that has ended, in order.
        remarks: What was taken in a way the author may not expect.
        frame: The table as read, with our columns added and those that runs do not use.
        rows: Which row of the table each run is.
    """

    runs: tuple[LoggedRun, ...]
    remarks: tuple[str, ...]
    frame: pd.DataFrame
    rows: tuple[int, ...]


def logged_table(
    table: Table,
    *,
    source: str | None = None,
    columns: Mapping[str, str] | Literal["auto"] | None = None,
    last_of: str | None = None,
    by: str | None = None,
    repeats: bool = False,
) -> LoggedTable:
    """Logged runs from a file, a tracker, a data frame or a list, checked.

    Args:
        table: A path ending in .csv, .tsv, .json, .jsonl, .ndjson or .parquet, a tracker such as
            `"mlflow:sqlite:///mlflow.db#sweep"`, a data frame, or runs.
        source: Recipe of rows that name none.
        columns: Which column, or product of columns and numbers, is which of ours, as in
            `{"learning_rate": "optim.lr", "tokens": "steps*524288"}`; `"auto"`, for all or for
            one, takes what names and values suggest; `None` where they bear our names.
        last_of: Column whose values tell runs apart, where rows are points of learning curves:
            the last row of each run is kept.
        by: Column that grows along a run; `None` takes steps, else tokens.
        repeats: Rows that repeat another exactly are runs of their own, not counted once.
    """
    if by is not None and last_of is None:
        raise InvalidTableError(
            f"by is {by!r} without last_of, expected the column that tells runs apart; name it"
        )
    frame, name, remarks = _frame(table)
    mapping: dict[str, str] = {}
    mapping |= dict.fromkeys(GUESSED, AUTO) if columns == AUTO else dict(columns or {})
    found = ours(frame, mapping, name)
    told = [column for column in NEEDED[:3] if column not in found.constants]
    frame, remarks = _with_settings(found.frame, told, name, (*remarks, *found.remarks))
    if last_of is not None:
        frame, said = last_rows(frame, last_of, by, name)
    else:
        said = curves(frame, name)
    meant = isinstance(table, list | tuple) and all(isinstance(row, LoggedRun) for row in table)
    checked = _checked(frame, name, source, repeats=repeats or meant)
    unused = doubts.unused_settings(checked.frame.reset_index(drop=True), found.used)
    return LoggedTable(
        checked.runs, (*remarks, *said, *checked.remarks, *unused), found.frame, checked.rows
    )


def remarks_about(logged: LoggedTable, study: Study) -> tuple[str, ...]:
    """What about these runs looks wrong for this study, such as rates in another unit."""
    return doubts.remarks_about(logged.runs, logged.rows, study)


def columns_of(path: str, batch_tokens: float | None = None) -> dict[str, list[Any]]:
    """The columns of a file as they are called there, of one batch only when asked.

    Laws need other columns than tuning does, so that none is asked for; each fit names what it
    lacks. Columns of which every cell is a number, or nothing, are numbers.
    """
    frame, name, _ = _frame(path)
    columns = {
        str(column).strip().casefold() if str(column).strip().casefold() in POSITIVE else column: (
            _numbers_or_text(frame.iloc[:, k])
        )
        for k, column in enumerate(frame.columns)
    }
    if batch_tokens is None:
        return columns
    if "batch_tokens" not in columns:
        raise InvalidTableError(
            f"{name} has no column batch_tokens, expected it with --batch-tokens; add it"
        )
    found = numbers(
        pd.DataFrame({"batch_tokens": columns["batch_tokens"]}), "batch_tokens", name, _WANTED
    )
    kept = np.flatnonzero(np.isclose(found, batch_tokens))
    return {column: [cells[k] for k in kept] for column, cells in columns.items()}


def _numbers_or_text(values: pd.Series) -> list[Any]:
    found, unread = readable(values)
    truth = pd.api.types.is_bool_dtype(values)
    return values.tolist() if truth or unread.any() or np.isnan(found).all() else found.tolist()


def _frame(table: Table) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """The rows of a table of any kind, what to call it in messages, and remarks."""
    remarks: tuple[str, ...] = ()
    if isinstance(table, pd.DataFrame):
        frame, name = table, "the table"
    elif isinstance(table, str) and (tracked := tracked_runs(table)) is not None:
        frame, name, remarks = tracked.frame, table, tracked.remarks
    elif isinstance(table, str | PathLike):
        read = read_file(Path(fspath(table)))
        frame, name, remarks = read.frame, fspath(table), read.remarks
    elif isinstance(table, Sequence):
        frame, name = frame_of(table, _record), "the list of runs"
    else:
        raise InvalidTableError(
            f"a table of type {type(table).__name__} arrived, expected a path, a data frame or a "
            "list of runs; convert it to one of these"
        )
    named = any(part is not None for part in frame.index.names)
    frame = frame.reset_index(drop=not named)
    if not len(frame):
        raise InvalidTableError(f"{name} has 0 rows, expected at least one run; check the export")
    return frame, name, remarks


def _record(row: Any) -> Any:
    if isinstance(row, LoggedRun):
        told = {field.name: getattr(row, field.name) for field in fields(row)}
        return told | told.pop("inputs")
    return row


def _with_settings(
    frame: pd.DataFrame, columns: Sequence[str], name: str, remarks: tuple[str, ...]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that say anything of where they belong: a rate, a size or a length."""
    nothing = np.ones(len(frame), dtype=bool)
    for column in columns:
        found, unread = readable(frame[column])
        nothing &= np.isnan(found) & ~unread
    if not nothing.any() or nothing.all():
        return frame, remarks
    said = (
        f"{int(nothing.sum())} of {len(frame)} rows of {name} hold no rate, size and length, first "
        f"row {frame.index[int(nothing.argmax())]}: left out"
    )
    return frame.loc[~nothing], (*remarks, said)


def _checked(frame: pd.DataFrame, name: str, source: str | None, *, repeats: bool) -> LoggedTable:
    """The runs of a table with our columns; its frame is of the rows that became runs."""
    ending = endings(frame, name)
    nameless = ending.failed & ~_placed(frame, name) if ending.failed.any() else ending.failed
    kept = ending.ended & ~nameless
    completed = np.array([loss is not None for loss in ending.loss], dtype=bool)
    remarks = (*ending.remarks, *stopped_early(frame, completed))
    if nameless.any():
        remarks = (*remarks, f"{nameless.sum()} failed rows lack a rate or size: left out")
    if not kept.any():
        raise InvalidTableError(
            f"{name} has 0 of {len(frame)} rows that have ended and say anything, expected one; "
            "import it when its runs have"
        )
    if not repeats:
        again, said = repeated(frame, kept, name)
        kept, remarks = kept & ~again, (*remarks, *said)
    frame = frame.loc[kept]
    if len(frame) > MOST_RUNS:
        raise InvalidTableError(
            f"{name} holds {len(frame)} runs, expected up to {MOST_RUNS}; import those nearest the "
            "target, or, where rows are points of learning curves, the last of each with last_of"
        )
    columns: dict[str, list[Any]] = {
        column: _positive_column(frame, column, name) for column in POSITIVE if column in frame
    }
    columns["name"] = names_of(frame, name)
    columns["loss"] = [loss for loss, there in zip(ending.loss, kept, strict=True) if there]
    columns["diverged"] = ending.diverged[kept].tolist()
    columns["failed"] = ending.failed[kept].tolist()
    columns |= {column: _labels(frame, column, name) for column in LABELS if column in frame}
    if any(name in frame for name in INPUTS):
        columns["inputs"] = _inputs(frame, name)
    if source is not None:
        named = columns.get("source", [None] * len(frame))
        columns["source"] = [label or source for label in named]
    names, rows = tuple(columns), zip(*columns.values(), strict=True)
    runs = tuple(LoggedRun(**dict(zip(names, row, strict=True))) for row in rows)
    return LoggedTable(runs, remarks, frame, tuple(frame.index.tolist()))


def _inputs(frame: pd.DataFrame, name: str) -> list[dict[str, float]]:
    """The numbers of each run's recipe, those left out of which nothing stands."""
    told: list[dict[str, float]] = [{} for _ in range(len(frame))]
    for column in (column for column in INPUTS if column in frame):
        wanted = f"{input_range(column)}: {INPUTS[column].unit}"
        found = numbers(frame, column, name, wanted)
        different, codes = np.unique(found, return_inverse=True)
        faulty = [not math.isnan(v) and input_fault(column, v) is not None for v in different]
        refuse(np.array(faulty, dtype=bool)[codes], frame, column, name, wanted)
        for inputs, value in zip(told, found.tolist(), strict=True):
            if not math.isnan(value):
                inputs[column] = value
    return told


def _labels(frame: pd.DataFrame, column: str, name: str) -> list[str | None]:
    """Names of recipes, `None` where nothing stands."""
    cells = frame[column].to_numpy(dtype=object)
    odd = [isinstance(cell, list | tuple | dict | set | bytes | np.ndarray) for cell in cells]
    refuse(np.array(odd, dtype=bool), frame, column, name, "a name")
    return [
        None
        if cell is None or cell is pd.NA or cell != cell or not str(cell).strip()
        else str(cell)
        for cell in cells
    ]


def _placed(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Rows that say where they belong: a rate, a size and a length."""
    places = [numbers(frame, column, name, _WANTED) for column in NEEDED if column != "loss"]
    return np.all([np.isfinite(place) & (place > 0) for place in places], axis=0)


def _positive_column(frame: pd.DataFrame, column: str, name: str) -> list[float | None]:
    found = numbers(frame, column, name, _WANTED)
    absent = np.isnan(found)
    bad = ~np.isfinite(found) | (found <= 0)
    refuse(bad if column in NEEDED else bad & ~absent, frame, column, name, _WANTED)
    return [None if gone else number for gone, number in zip(absent, found.tolist(), strict=True)]
