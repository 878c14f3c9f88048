"""Tables: how does a logged sweep (CSV, Parquet, JSONL, data frame) become runs?

Each column is checked as a whole, and the first bad value is named by row and column. Rows count
from 0, the header aside.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.trials import LoggedRun, Study

NEEDED = ("learning_rate", "params", "tokens", "loss")
#: Columns of numbers that must be positive where they are given.
_POSITIVE = ("learning_rate", "params", "tokens", "batch_tokens", "flops", "loss_sd")
_LABELS = ("source", "schedule", "averaging")

_TRUTHS = {
    "true": True,
    "1": True,
    "1.0": True,
    "yes": True,
    "false": False,
    "0": False,
    "0.0": False,
    "no": False,
    "": False,
    "nan": False,
    "none": False,
}


@dataclass(frozen=True)
class LoggedTable:
    """Runs read from a table.

    Args:
        runs: One per row, in order.
        remarks: What was taken in a way the author may not expect.
        frame: The table as read, with the columns that runs do not use.
    """

    runs: tuple[LoggedRun, ...]
    remarks: tuple[str, ...]
    frame: pd.DataFrame


def logged_table(
    table: "str | PathLike[str] | pd.DataFrame | Sequence[LoggedRun | Mapping[str, Any]]",
    *,
    source: str | None = None,
) -> LoggedTable:
    """Logged runs from a file, a data frame or a list, checked.

    Args:
        table: A path ending in .csv, .jsonl or .parquet, a data frame, or runs.
        source: Recipe of rows that name none.
    """
    if isinstance(table, pd.DataFrame):
        frame, name = table, "the table"
    elif isinstance(table, str | PathLike):
        frame, name = _read(Path(fspath(table))), fspath(table)
    elif isinstance(table, Sequence):
        frame, name = _frame_of(table), "the list of runs"
    else:
        raise InvalidTableError(
            f"a table of type {type(table).__name__} arrived, expected a path, a data frame or a "
            "list of runs; convert it to one of these"
        )
    return _checked(frame.reset_index(drop=True), name, source)


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
        ".csv": pd.read_csv,
        ".jsonl": lambda file: pd.read_json(file, lines=True),
        ".parquet": pd.read_parquet,
    }
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in readers:
        raise InvalidTableError(
            f"{path} ends in {path.suffix!r}, expected .csv, .jsonl or .parquet; convert the table"
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
    missing = [column for column in NEEDED if column not in frame]
    if missing:
        raise InvalidTableError(
            f"{name} has no column {missing[0]!r}, expected {', '.join(NEEDED)}; "
            f"rename one of {', '.join(map(str, frame.columns)) or 'its columns'}"
        )
    if not len(frame):
        raise InvalidTableError(f"{name} has 0 rows, expected at least one run; check the export")
    _refuse_repeated_ids(frame, name)
    columns: dict[str, list[Any]] = {
        column: _positive_column(frame, column, name) for column in _POSITIVE if column in frame
    }
    columns["diverged"], columns["loss"], remarks = _outcomes(frame, name)
    for column in _LABELS:
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


def _refuse_repeated_ids(frame: pd.DataFrame, name: str) -> None:
    if "id" in frame and (repeated := frame["id"].duplicated() & frame["id"].notna()).any():
        row = int(np.flatnonzero(repeated)[0])
        raise InvalidTableError(
            f"id of row {row} in {name} is {frame['id'].tolist()[row]!r} for the second time, "
            "expected each run once; drop the row or rename the column"
        )


def _numbers(frame: pd.DataFrame, column: str, name: str, wanted: str) -> np.ndarray:
    """The column as floats; NaN where nothing is given."""
    values = frame[column]
    numbers = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)
    said_nan = values.isna() | (values.astype(str).str.strip().str.lower().isin(["nan", ""]))
    _refuse(np.isnan(numbers) & ~said_nan.to_numpy(), frame, column, name, wanted)
    return numbers


def _positive_column(frame: pd.DataFrame, column: str, name: str) -> list[float | None]:
    wanted = "a finite number > 0"
    numbers = _numbers(frame, column, name, wanted)
    absent = np.isnan(numbers)
    bad = ~np.isfinite(numbers) | (numbers <= 0)
    _refuse(bad if column in NEEDED else bad & ~absent, frame, column, name, wanted)
    return [None if gone else number for gone, number in zip(absent, numbers.tolist(), strict=True)]


def _outcomes(
    frame: pd.DataFrame, name: str
) -> tuple[list[bool], list[float | None], tuple[str, ...]]:
    losses = _numbers(frame, "loss", name, "a number > 0, or NaN for a diverged run")
    diverged = np.zeros(len(frame), dtype=bool)
    if "diverged" in frame:
        truths = frame["diverged"].astype(object).map(lambda v: _TRUTHS.get(str(v).lower()))
        _refuse(truths.isna().to_numpy(), frame, "diverged", name, "true or false")
        diverged = truths.to_numpy(dtype=bool)
    _refuse(~diverged & (losses <= 0), frame, "loss", name, "a number > 0")
    lost = ~np.isfinite(losses) & ~diverged
    remarks: tuple[str, ...] = ()
    if lost.any():
        row = int(np.flatnonzero(lost)[0])
        remarks = (
            f"loss of {int(lost.sum())} of {len(frame)} rows is not finite, first row {row}: "
            "taken as diverged",
        )
    diverged = diverged | lost
    kept = [None if gone else loss for gone, loss in zip(diverged, losses.tolist(), strict=True)]
    return diverged.tolist(), kept, remarks


def _refuse(bad: np.ndarray, frame: pd.DataFrame, column: str, name: str, wanted: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = frame[column].tolist()[row]
        raise InvalidTableError(
            f"{column} of row {row} in {name} is {value!r}, expected {wanted}; "
            "drop the row or correct it"
        )
