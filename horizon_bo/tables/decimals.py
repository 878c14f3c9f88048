"""Decimals: does a comma in the cells of a table stand for a point, or does it group thousands?

seen somewhere in the table          a comma in 524,288 is
4,1059 or 0,5                        a decimal one
3.95, 45,000,000 or 1,234.5          one of thousands
both                                 not known: the cell is refused where it is needed
neither, and columns split by ; ⇥ |  a decimal one
neither, and columns split by ,      not known
"""

import re

import pandas as pd

#: A number with one comma, before a suffix such as M or %.
_ONE_COMMA = r"^[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*(?:[A-Za-z]{0,2}|%)$"
#: Such a number that may be thousands.
_MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}(?!\d)(?![eE])")
#: What only a decimal point explains, or commas that group thousands.
_POINT = r"^[+-]?(?:0\.\d+|\d+\.\d{1,2}|\d+\.\d{4,}|\d+\.\d+[eE].*|\d{1,3}(?:,\d{3}){2,}.*)$"
#: Thousands grouped by points, as where commas are decimal.
_POINTED = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?$|^[+-]?[1-9]\d{0,2}\.\d{3},\d+$"


def with_points(frame: pd.DataFrame, separator: str) -> pd.DataFrame:
    """The cells of a table of text with a decimal point, where they have a decimal comma."""
    columns = [frame.iloc[:, k].str.strip() for k in range(frame.shape[1])]
    commas = [_matching(column, _ONE_COMMA) for column in columns]
    cells = {
        cell
        for column, found in zip(columns, commas, strict=True)
        if found is not None
        for cell in column[found].unique()
    }
    pointed = separator != "," and any(_matching(c, _POINTED) is not None for c in columns)
    if not cells and not pointed:
        return frame
    decimal = pointed or any(not _MAYBE_THOUSANDS.match(cell) for cell in cells)
    point = any(_has(column, _POINT) for column in columns)
    decimal = decimal or (not point and separator != ",")
    if not (decimal or point):
        return frame
    changed = [
        _written(column, found, decimal, point)
        for column, found in zip(columns, commas, strict=True)
    ]
    found = pd.concat(changed, axis=1)
    found.columns = frame.columns
    return found


def _written(column: pd.Series, found: pd.Series | None, decimal: bool, point: bool) -> pd.Series:
    if decimal and not point and (grouped := _matching(column, _POINTED)) is not None:
        plain = column.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        column = column.where(~grouped, plain)
    if found is None:
        return column
    if decimal and point:  # both stand in one table: only what cannot be misread is changed
        found = found & ~pd.Series(column.str.match(_MAYBE_THOUSANDS.pattern))
    return column.where(~found, column.str.replace(",", "." if decimal else "", regex=False))


def _matching(column: pd.Series, pattern: str) -> pd.Series | None:
    """Where a column of text matches; `None` where nowhere."""
    sign = "," if pattern == _ONE_COMMA else "."
    some = column.str.contains(sign, regex=False)
    if not some.any():
        return None
    found = some & column.str.match(pattern)
    return found if found.any() else None


def _has(column: pd.Series, pattern: str) -> bool:
    return bool(column.str.match(pattern).any())
