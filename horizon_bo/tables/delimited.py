"""Delimited: which cells does a CSV hold, whatever its separator, and is any row out of place?"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.quantities import quoted
from horizon_bo.tables.decimals import with_points
from horizon_bo.tables.encodings import opened

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
#: How many records tell the separator.
_SAMPLE = 50
#: Records that are turned into columns at once; columns of text take less memory than lists.
_CHUNK = 50_000
#: Longest cell, in characters; W&B writes a whole config into one.
_LONGEST_CELL = 1 << 20


class _Rows:
    """The records of a file, one after the other, with what is wrong with its end."""

    def __init__(self, path: Path, lines: Iterator[str], separator: str) -> None:
        self.path = path
        self.last = ""  # the last line as it stands in the file
        self.reader = csv.reader(
            self._lines(lines), delimiter=separator, skipinitialspace=True, strict=True
        )
        self.torn = False

    def _lines(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if "\0" in line:
                raise InvalidTableError(
                    f"{self.path} holds a zero byte, expected text; save it as CSV"
                )
            self.last = line
            yield line

    def __iter__(self) -> Iterator[list[str]]:
        """Records that hold anything; a quote that is still open at the end tears the last."""
        while True:
            before = self.reader.line_num
            try:
                record = next(self.reader)
            except StopIteration:
                return
            except csv.Error as error:
                one_line = self.reader.line_num - before <= 1
                if "unexpected end" in str(error) and one_line and before:
                    self.torn = True
                    return
                raise InvalidTableError(
                    f"line {self.reader.line_num} of {self.path} is no CSV ({error}), expected "
                    "each quote closed; repair it"
                ) from error
            if any(map(str.strip, record)):
                yield record


def delimited(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The cells of a delimited file as text, and what was taken in an unexpected way."""
    csv.field_size_limit(_LONGEST_CELL)
    separator, skipped = _separator(path)
    with opened(path) as file:
        rows = _Rows(path, islice(file, skipped, None), separator)
        records = iter(rows)
        header = next(records, None)
        if header is None:
            raise InvalidTableError(
                f"{path} cannot be read (it is empty), expected a header and one run a row; "
                "check the export"
            )
        names = [name.strip().lstrip("\ufeff") for name in header]
        parts, last = _gathered(records, len(names), path)
    ends = rows.last.endswith(("\n", "\r"))
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names, dtype=str)
    remarks = [f"the last line of {path} is half-written: left out"] if rows.torn else []
    if last is not None and not ends and not rows.torn and _cut_short(last, len(names), frame):
        remarks.append(
            f"the last line of {path} has no end and may be half-written: left out; end it with a "
            "new line if it is whole"
        )
        frame = frame.iloc[:-1] if len(last) >= len(names) else frame
    elif last is not None and len(last) < len(names):
        raise _out_of_place(len(frame), last, len(names), path)
    frame = _without_empty_columns(frame, len(names), names, path)
    return with_points(frame, separator), tuple(remarks)


def _gathered(
    records: Iterator[list[str]], width: int, path: Path
) -> tuple[list[pd.DataFrame], list[str] | None]:
    """Columns of text, part by part, and the last record, which is left out where it is short."""
    parts: list[pd.DataFrame] = []
    done, most, last = 0, width, None
    short: list[str] | None = None
    while chunk := list(islice(records, _CHUNK)):
        if short is not None:
            raise _out_of_place(done, short, width, path)
        last = chunk[-1]
        widths = set(map(len, chunk))
        most = max(most, *widths)
        if min(widths) < width:
            at = next(k for k, record in enumerate(chunk) if len(record) < width)
            if at < len(chunk) - 1:
                raise _out_of_place(done + at, chunk[at], width, path)
            short = chunk.pop()
        if len(widths) > 1 or most > width:
            chunk = [record + [""] * (most - len(record)) for record in chunk]
        cells = list(zip(*chunk, strict=True)) or [()] * most
        parts.append(
            pd.DataFrame({k: pd.Series(column, dtype="str") for k, column in enumerate(cells)})
        )
        done += len(chunk)
    return parts, last


def _out_of_place(row: int, record: list[str], width: int, path: Path) -> InvalidTableError:
    return InvalidTableError(
        f"row {row} of {path} has {len(record)} cells, expected {width} as in the header; "
        "complete or drop it"
    )


def _cut_short(last: list[str], width: int, frame: pd.DataFrame) -> bool:
    """Whether a last line without an end looks like one that is still being written."""
    if len(last) < width:
        return True
    before = frame.iloc[:-1, width - 1]
    least = int(before.str.strip().str.len().min()) if len(before) else 1
    return len(last[width - 1].strip()) < least


def _without_empty_columns(
    frame: pd.DataFrame, width: int, names: list[str], path: Path
) -> pd.DataFrame:
    """Named columns; what stands beyond the header, or below an empty name, must be empty."""
    kept, called = [], []
    for k in range(frame.shape[1]):
        column = frame.iloc[:, k]
        empty = bool((column.fillna("").str.strip() == "").all())
        if k >= width and not empty:
            row = int((column.fillna("").str.strip() != "").to_numpy().argmax())
            raise InvalidTableError(
                f"row {row} of {path} has more than {width} cells, the count of the header, and "
                f"beyond it {quoted(str(column.iloc[row]))}; quote cells that hold the separator, "
                "or name the column"
            )
        if k < width and (names[k] or not empty):
            kept.append(k)
            called.append(names[k] or f"column {k + 1}")
    frame = frame.iloc[:, kept].fillna("")
    frame.columns = pd.Index(called)
    return frame


def _separator(path: Path) -> tuple[str, int]:
    """The separator, and how many lines stand before the header.

    It is the one that gives most columns, as many in each of the first rows as in the header.
    """
    with opened(path) as file:
        head = list(islice(file, _SAMPLE))
    skipped = next((k for k, line in enumerate(head) if line.strip()), 0)
    said = re.fullmatch(r"\ufeff?\"?sep=(.)\"?\s*", head[skipped]) if head else None
    if said is not None:  # a line that Excel reads and writes
        return said[1], skipped + 1
    widths = {
        separator: width
        for separator in _SEPARATORS
        if (width := _width(head[skipped:], separator)) > 1
    }
    if widths:
        return max(widths, key=lambda separator: widths[separator]), skipped
    by_name = "\t" if path.suffixes[:1] and path.suffixes[0].lower() in (".tsv", ".tab") else ","
    return by_name, skipped


def _width(lines: list[str], separator: str) -> float:
    """How many columns a separator gives; 0 where rows do not agree on it."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        widths = [len(record) for record in reader if any(cell.strip() for cell in record)]
    except csv.Error:
        return 0
    if not widths:
        return 0
    (common, count), *_ = Counter(widths[1:] or widths).most_common(1)
    return widths[0] if common >= widths[0] and count >= len(widths[1:]) / 2 else 0
