"""Cells: which numbers and truths does a column of somebody's table hold?

The first cell that cannot be read is named by row and column. Rows are called by the frame's
index, which counts them from 0 as the table has them, also after some were left out.
"""

import math

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError

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


def numbers(frame: pd.DataFrame, column: str, name: str, wanted: str) -> np.ndarray:
    """The column as floats; NaN where nothing or NaN is given."""
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=math.nan)
    absent = values.isna() | (values.astype(str).str.strip() == "")
    cells = values.where(~absent, math.nan).tolist()
    found = np.array([_number(cell) for cell in cells], dtype=np.float64)
    said_nan = values.astype(str).str.strip().str.lower() == "nan"
    refuse(np.isnan(found) & ~(absent | said_nan).to_numpy(), frame, column, name, wanted)
    return found


def truths(frame: pd.DataFrame, column: str, name: str) -> np.ndarray:
    """The column as yes and no; a cell that holds nothing is a no."""
    found = frame[column].astype(object).map(lambda v: _TRUTHS.get(str(v).lower()))
    refuse(found.isna().to_numpy(), frame, column, name, "true or false")
    return found.to_numpy(dtype=bool)


def refuse(bad: np.ndarray, frame: pd.DataFrame, column: str, name: str, wanted: str) -> None:
    """Name the first bad cell of a column, where there is one."""
    if bad.any():
        position = int(np.flatnonzero(bad)[0])
        value = frame[column].tolist()[position]
        raise InvalidTableError(
            f"{column} of row {frame.index[position]} in {name} is {value!r}, expected {wanted}; "
            "drop the row or correct it"
        )


def _number(cell: object) -> float:
    """A cell as a number, NaN where it is none."""
    try:
        return math.nan if isinstance(cell, bool) else float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
