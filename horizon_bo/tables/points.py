"""Points: which columns of a file are one run's learning curve?

Tokens are a column of that name, or steps times the batch; what else they are called the user says,
as of any table.
"""

import math
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path

import numpy as np
import pandas as pd

from horizon_bo.errors import UnfinishedCurveError
from horizon_bo.tables.cells import readable, refuse, told
from horizon_bo.tables.columns import AUTO, ours
from horizon_bo.tables.curves import step_column
from horizon_bo.tables.files import read_file

#: Fewest points that show anything.
_FEWEST = 5


def curve_points(
    table: str | PathLike[str] | pd.DataFrame,
    columns: Mapping[str, str] | None,
    batch_tokens: float | None,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Tokens and losses of a curve by growing tokens, and what was taken in an unexpected way.

    A row without a loss is left out; one whose loss is NaN or infinite was lost.

    Args:
        table: A file of points (CSV, TSV, JSON, JSON lines, Parquet), or a data frame.
        columns: Where they bear other names, which column is `tokens` and which `loss`.
        batch_tokens: Tokens per step, by which steps count tokens; `None` where nobody said.
    """
    if isinstance(table, pd.DataFrame):
        name, frame, remarks = "the table", table, ()
    else:
        name = fspath(table)
        found = read_file(Path(name))
        frame, remarks = found.frame, found.remarks
    _refuse_few(len(frame), name)
    given = {"loss": AUTO, **(columns or {})}
    if "tokens" not in given and "tokens" not in map(str.lower, map(str, frame.columns)):
        step = step_column(frame)
        if step is not None and batch_tokens is not None:
            given["tokens"] = f"{step}*{batch_tokens!r}"
    mapped = ours(frame, {**given, "learning_rate": "1", "params": "1"}, name)
    points = mapped.frame.loc[told(mapped.frame["loss"])]
    values = []
    for column in ("tokens", "loss"):
        numbers, unread = readable(points[column])
        refuse(unread, points, column, name, "a number")
        values.append(numbers)
    tokens, losses = values
    counted = tokens > 0  # a point before the first step has seen none
    _refuse_few(int(counted.sum()) if all(map(math.isfinite, tokens)) else 0, name)
    order = np.argsort(tokens[counted], kind="stable")
    return tokens[counted][order], losses[counted][order], (*remarks, *mapped.remarks)


def _refuse_few(count: int, name: str) -> None:
    if count < _FEWEST:
        raise UnfinishedCurveError(
            f"{name} has {count} points with tokens and a loss, expected at least {_FEWEST}; wait "
            "for more of the run"
        )
