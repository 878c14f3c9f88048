"""Cells: which numbers and truths does a column of somebody's table hold?

The first cell that cannot be read is named by row and column. Rows are called by the frame's
index, which counts them from 0 as the table has them, also after some were left out.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.quantities import quantity, quoted, real

#: What a cell may say that holds nothing, in lower case. NaN is not among them: as a loss it
#: means something.
NOTHING = ("", "na", "n/a", "#n/a", "null", "none", "<na>", "-", "—", "–")

_TRUTHS = {
    "true": True,
    "1": True,
    "1.0": True,
    "yes": True,
    "false": False,
    "0": False,
    "0.0": False,
    "no": False,
    "nan": False,
    **dict.fromkeys(NOTHING, False),
}


def numbers(frame: pd.DataFrame, column: str, name: str, wanted: str) -> np.ndarray:
    """The column as floats; NaN where nothing or NaN is given."""
    found, unread = readable(frame[column])
    refuse(unread, frame, column, name, wanted)
    return found


def readable(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column as floats, NaN where nothing or NaN is given, and where it can not be read."""
    if _is_of_numbers(values):
        found = values.to_numpy(dtype=np.float64, na_value=math.nan)
        return found, np.zeros(len(values), dtype=bool)
    cells = values.to_numpy(dtype=object)
    found = _plain(cells)
    return _one_by_one(cells) if found is None else (found, np.zeros(len(cells), dtype=bool))


def as_numbers(values: Any) -> pd.Series:
    """A column of text as floats, where every cell is a finite number; else as it is."""
    found = None if _is_of_numbers(values) else _plain(values.to_numpy(dtype=object))
    return values if found is None else pd.Series(found, index=values.index)


def truths(frame: pd.DataFrame, column: str, name: str) -> np.ndarray:
    """The column as yes and no; a cell that holds nothing is a no."""
    found = [_TRUTHS.get(word) for word in words(frame[column])]
    refuse(np.array([truth is None for truth in found]), frame, column, name, "true or false")
    return np.array(found, dtype=bool)


def truth(word: str) -> bool | None:
    """Yes or no, as a word in lower case says it; `None` where it says neither."""
    return _TRUTHS.get(word)


def words(values: Any) -> list[str]:
    """Each cell as a word in lower case, empty where it holds nothing."""
    cells = values.to_numpy(dtype=object)
    if pd.api.types.infer_dtype(cells, skipna=False) != "string":
        return [_word(cell) for cell in cells]
    codes, different = pd.factorize(cells)
    return np.array([_word(cell) for cell in different], dtype=object)[codes].tolist()


def told(values: Any) -> np.ndarray:
    """Where a column holds anything."""
    if _is_of_numbers(values):
        return ~np.isnan(values.to_numpy(dtype=np.float64, na_value=math.nan))
    return np.array(words(values)) != ""


def _word(cell: object) -> str:
    word = cell.strip().lower() if isinstance(cell, str) else "" if _absent(cell) else _text(cell)
    return "" if word in NOTHING else word


def refuse(bad: np.ndarray, frame: pd.DataFrame, column: str, name: str, wanted: str) -> None:
    """Name the first bad cell of a column, where there is one."""
    if bad.any():
        position = int(np.flatnonzero(bad)[0])
        value = frame[column].iloc[position]
        value = value.item() if isinstance(value, np.generic) else value
        raise InvalidTableError(
            f"{quoted_name(column)} of row {frame.index[position]} in {name} is {quoted(value)}, "
            f"expected {wanted}; drop the row or correct it"
        )


def quoted_name(column: str) -> str:
    """A column's name for a message, shortened where it is long."""
    return quoted(column)[1:-1] if len(column) > 60 else column


def _is_of_numbers(values: pd.Series) -> bool:
    """Whether a column is of real numbers by its type; truth values are none."""
    return (
        pd.api.types.is_numeric_dtype(values)
        and not pd.api.types.is_bool_dtype(values)
        and not pd.api.types.is_complex_dtype(values)
    )


def _plain(cells: np.ndarray) -> np.ndarray | None:
    """A column of text whose cells are all finite numbers as Python reads them."""
    if pd.api.types.infer_dtype(cells, skipna=False) != "string":
        return None
    try:
        found = cells.astype(np.float64)
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _one_by_one(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each cell as a number, and where it is none although it holds something."""
    known: dict[str, float | None] = {}
    found, unread = np.full(len(cells), math.nan), np.zeros(len(cells), dtype=bool)
    for k, cell in enumerate(cells):
        if isinstance(cell, str):
            if cell not in known:
                known[cell] = math.nan if cell.strip().lower() in NOTHING else quantity(cell)
            number = known[cell]
        else:
            number = math.nan if _absent(cell) else real(cell)
        unread[k] = number is None
        found[k] = math.nan if number is None else number
    return found, unread


def _absent(cell: object) -> bool:
    """Whether a cell holds nothing; a list or mapping always holds something."""
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return isinstance(cell, float) and math.isnan(cell)


def _text(cell: object) -> str:
    return quoted(cell.item() if isinstance(cell, np.generic) else cell).lower()
