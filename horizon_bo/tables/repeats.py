"""Repeats: does a table hold the same run twice, and which run is which?"""

import re
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.quantities import quoted
from horizon_bo.tables.cells import NOTHING, readable
from horizon_bo.tables.columns import LABELS, NUMBERS
from horizon_bo.tables.guesses import name_parts

#: What a run is called by, the surest first.
_IDS = ("id", "run_id", "runid", "trial_id", "uuid", "run_name", "runname", "name", "run", "trial")
_SEEDS = r"(\w+_)?(seed|replicate|repeat|repetition|rep|fold)(_\w+)?"


def repeated(
    frame: pd.DataFrame, kept: np.ndarray, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which of the rows that are kept repeat one before exactly, and how many they are.

    A row repeats another where all their cells are the same, or where setting, recipe, seed and a
    loss are: two runs seldom agree in every digit.
    """
    frame, again = frame.loc[kept], np.zeros(len(frame), dtype=bool)
    again[kept] = _twice(frame)
    if not again.any():
        return again, ()
    first = frame.index[int(again[kept].argmax())]
    return again, (
        f"{int(again.sum())} of {len(frame)} rows of {name} repeat another row exactly, first row "
        f"{first}: counted once; --repeats counts them as runs",
    )


def _twice(frame: pd.DataFrame) -> np.ndarray:
    again = _hashes(frame).duplicated().to_numpy()
    loss = readable(frame["loss"])[0]
    kept = [c for c in NUMBERS if c in frame]
    said: dict[str, object] = {column: readable(frame[column])[0] for column in kept}
    seeds = [c for c in frame.columns if any(re.fullmatch(_SEEDS, key) for key in name_parts(c))]
    words = [c for c in (*LABELS, "diverged", "failed", *seeds) if c in frame]
    said |= {column: frame[column].astype(str).to_numpy() for column in words}
    alike = _hashes(pd.DataFrame(said)).duplicated().to_numpy()
    return again | (alike & np.isfinite(loss))


def names_of(frame: pd.DataFrame, name: str) -> list[str | None]:
    """What each row's run is called, where a column tells them all apart; else nothing.

    A column `id` must tell them apart.
    """
    known = {str(column).strip().lower().replace(" ", "_"): column for column in frame.columns}
    for key in _IDS:
        if key not in known:
            continue
        if key != "id" and len(frame[known[key]].astype(str).unique()) < len(frame) / 2:
            continue
        cells = frame[known[key]].astype(object)
        called = [None if _nothing(cell) else _called(cell) for cell in cells]
        told = [cell for cell in called if cell is not None]
        if told and len(set(told)) == len(told):
            return called
        if key == "id":
            _refuse_repeated(called, frame, known[key], name)
    return [None] * len(frame)


def _refuse_repeated(called: list[str | None], frame: pd.DataFrame, column: str, name: str) -> None:
    repeated = pd.Series(called, dtype=object)
    repeated = repeated.duplicated() & repeated.notna()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        value = frame[column].iloc[row]
        value = value.item() if isinstance(value, np.generic) else value
        raise InvalidTableError(
            f"id of row {frame.index[row]} in {name} is {quoted(value)} for the second time, "
            "expected each run once; drop the row, rename the column, or keep the last row of "
            f"each run with --last-of {column}"
        )


def _nothing(cell: object) -> bool:
    return str(cell).strip().lower() in (*NOTHING, "nan", "nat")


def _called(cell: object) -> str:
    """A name as text: a number that was read as a float is called as a whole one."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _hashes(frame: pd.DataFrame) -> pd.Series:
    """A number for each row, the same for the same cells."""
    hashed: Any = import_module("pandas.util")  # whose stubs name nothing
    try:
        return hashed.hash_pandas_object(frame, index=False)
    except TypeError:  # lists and mappings
        return hashed.hash_pandas_object(frame.astype(str), index=False)
