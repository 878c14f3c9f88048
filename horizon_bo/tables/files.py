"""Files: how is a file of rows (CSV, JSON, JSON lines, Parquet) read, whatever wrote it?

A delimited file is read as text, cell by cell: the separator, the encoding and the decimal sign
are found out, and a row with too many or too few cells is refused, so that nothing shifts. What was
still being written at the end of a file is left out, and said so.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from horizon_bo.errors import InvalidTableError, MissingExtraError
from horizon_bo.study.quantities import quoted
from horizon_bo.tables.delimited import delimited
from horizon_bo.tables.encodings import opened

DELIMITED = (".csv", ".tsv", ".tab", ".txt")
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
_KNOWN = "expected .csv, .tsv, .json, .jsonl, .ndjson or .parquet"


@dataclass(frozen=True)
class ReadTable:
    """A file's rows.

    Args:
        frame: The rows; cells of a delimited file are text, and empty text where nothing stands.
        remarks: What was taken in a way the author may not expect.
    """

    frame: pd.DataFrame
    remarks: tuple[str, ...] = ()


class Unreadable(ValueError):  # noqa: N818  # becomes one clear line in `read_file`
    """A file that is not what its name says."""


def read_file(path: Path) -> ReadTable:
    """The rows of a file, by the end of its name in whatever case, also compressed as .gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = (suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:] or [""])[0:1]
    ending = suffix[0] if suffix else ".gz"
    if ending not in (*DELIMITED, ".json", *LINES, *PARQUET):
        raise InvalidTableError(
            f"{path} ends in {quoted(path.suffix)}, {_KNOWN}; convert the table"
        )
    _refuse_no_file(path)
    try:
        return _read(path, ending)
    except ImportError as error:
        raise MissingExtraError(str(path), "pyarrow", "parquet") from error
    except (ValueError, OSError, EOFError, TypeError, KeyError, NotImplementedError) as error:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InvalidTableError(
            f"{path} cannot be read ({said}), expected {ending} with one run a row; repair it"
        ) from error
    except RecursionError as error:
        raise InvalidTableError(
            f"{path} cannot be read (it is nested too deeply), expected {ending} with one run a "
            "row; repair it"
        ) from error


def _refuse_no_file(path: Path) -> None:
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name too long for a file, or with a zero byte
        there = False
    if not there:
        raise InvalidTableError(
            f"{quoted(str(path))} is no file, expected a table of runs; check the path"
        )


def _read(path: Path, ending: str) -> ReadTable:
    if ending in PARQUET:
        return ReadTable(pd.read_parquet(path))
    if ending in DELIMITED:
        return ReadTable(*delimited(path))
    if ending in LINES:
        return _lines(path)
    with opened(path) as file:
        return ReadTable(_json_frame(file.read()))


def _lines(path: Path) -> ReadTable:
    """One JSON object a line; the last may be half-written."""
    columns = _Columns()
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=str, object_pairs_hook=_distinct)
            except (ValueError, RecursionError) as error:
                if not line.endswith("\n") and columns.count and not isinstance(error, _TwiceError):
                    said = f"line {number} of {path} is half-written: left out"
                    return ReadTable(columns.frame(), (said,))
                raise Unreadable(f"line {number}: {_said(error)}") from error
            if not isinstance(row, Mapping):
                raise Unreadable(f"line {number} is {quoted(row)}, expected an object")
            columns.add(row)
    return ReadTable(columns.frame())


def _said(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _json_frame(text: str) -> pd.DataFrame:
    """A JSON list of runs, or the mapping of columns that a data frame is written as."""
    runs = json.loads(text, parse_constant=str, object_pairs_hook=_distinct)
    del text  # as large as the file
    if isinstance(runs, list):
        return frame_of(runs)
    if not isinstance(runs, Mapping):
        raise Unreadable(f"it holds {quoted(runs)}, expected a list of objects")
    return pd.DataFrame(runs)


class _TwiceError(ValueError):
    """A JSON object has a name twice."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"an object has the name {quoted(twice)} twice")
    return found


def frame_of(rows: Iterable[Any], record: Callable[[Any], Any] = lambda row: row) -> pd.DataFrame:
    """Rows that are mappings, once `record` was applied, as a data frame."""
    columns = _Columns()
    for position, row in enumerate(rows):
        given = record(row)
        if not isinstance(given, Mapping):
            raise InvalidTableError(
                f"row {position} is a {type(row).__name__}, expected a LoggedRun or a mapping; "
                "convert it"
            )
        columns.add(given)
    return columns.frame()


class _Columns:
    """Rows gathered column by column, which takes less memory than the rows do."""

    def __init__(self) -> None:
        self.cells: dict[str, list[Any]] = {}
        self.count = 0

    def add(self, row: Mapping[Any, Any]) -> None:
        """One more row; a column that it lacks gets an empty cell."""
        for name, value in row.items():
            cells = self.cells.get(str(name))
            if cells is None:
                cells = self.cells[str(name)] = [None] * self.count
            cells.append(value)
        self.count += 1
        if len(row) < len(self.cells):
            for cells in self.cells.values():
                if len(cells) < self.count:
                    cells.append(None)

    def frame(self) -> pd.DataFrame:
        """The rows as a data frame."""
        return pd.DataFrame(
            {name: _typed(cells) for name, cells in self.cells.items()},
            index=pd.RangeIndex(self.count),
        )


def _typed(cells: list[Any]) -> pd.Series:
    """Cells as numbers where all are, else as they came: truth values stay apart from numbers."""
    if set(map(type, cells)) <= {int, float, type(None)}:
        try:
            return pd.Series(cells)
        except OverflowError:  # a whole number of hundreds of digits
            pass
    return pd.Series(cells, dtype=object)
