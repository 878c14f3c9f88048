"""Columns: which columns of somebody's table are the ones that a run needs?

A mapping gives our name and theirs, or a product of their columns, our other columns and numbers:

    learning_rate = optim.lr        tokens = steps * batch_tokens        batch_tokens = 524288

Trackers put a word before the names they keep (`config.`, `metrics.`, …). It may be left out where
that is unambiguous, and columns that then bear our own name need no mapping.
"""

import ast
import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from horizon_bo.errors import InvalidTableError
from horizon_bo.tables.cells import numbers

NEEDED = ("learning_rate", "params", "tokens", "loss")
#: Columns of numbers that must be positive where they are given.
POSITIVE = ("learning_rate", "params", "tokens", "batch_tokens", "flops", "loss_sd")
LABELS = ("source", "schedule", "averaging")
COLUMNS = tuple(dict.fromkeys((*NEEDED, *POSITIVE, *LABELS, "diverged", "status")))

#: What W&B, MLflow, Optuna and TensorBoard put before the names of what they keep.
_ROOTS = ("config", "summary", "params", "metrics", "user_attrs", "hparams", "scalars")

#: Columns that a message names at most.
_MOST_NAMED = 40


def ours(frame: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    """The table with our columns added, as mapped, or as found behind a tracker's first word.

    Args:
        frame: The table; cells that hold mappings (W&B's config and summary) are spread first.
        columns: For each of our columns theirs, or a product.
        name: What to call the table in a message.
    """
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        raise InvalidTableError(
            f"the mapping names {unknown[0]!r}, expected one of {', '.join(COLUMNS)}; correct it"
        )
    frame = _spread(frame)
    found = {column: _mapped(frame, columns, column, name, ()) for column in columns}
    for column in COLUMNS:
        if column not in frame and column not in found:
            theirs = _theirs(frame, column, name)
            found |= {} if theirs is None else {column: frame[theirs]}
    missing = [column for column in NEEDED if column not in frame and column not in found]
    if missing:
        raise InvalidTableError(
            f"{name} has no column {' and no column '.join(map(repr, missing))}, expected "
            f"{', '.join(NEEDED)}; {_named(frame)}: say which is meant, as in "
            f"--map {missing[0]}=COLUMN"
        )
    return frame.assign(**found)


def _mapped(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    column: str,
    name: str,
    inside: tuple[str, ...],
) -> "pd.Series | float":
    """One of our columns, as the mapping defines it; `inside` are those it is being part of."""
    text = columns[column].strip()
    inside = (*inside, column)
    other = text in columns and text not in inside
    if not other and (theirs := _theirs(frame, text, name)) is not None:
        return pd.Series(frame[theirs])
    product: pd.Series | float = 1.0
    for factor in (part.strip() for part in text.split("*")):
        if factor in columns and factor not in inside:
            defined = frame.assign(**{factor: _mapped(frame, columns, factor, name, inside)})
            value = pd.Series(numbers(defined, factor, name, "a number"), index=frame.index)
        elif (theirs := _theirs(frame, factor, name)) is not None:
            value = pd.Series(numbers(frame, theirs, name, "a number"), index=frame.index)
        elif (number := _constant(factor)) is not None:
            value = number
        else:
            raise InvalidTableError(
                f"{name} has no column {factor!r}, which {column} is mapped to; {_named(frame)}: "
                f"map one of them, or a product such as {column}=steps*524288"
            )
        product = value * product
    return product


def _theirs(frame: pd.DataFrame, column: str, name: str) -> str | None:
    """The column of that name, also behind a tracker's first word; `None` where there is none."""
    if column in frame:
        return column
    behind = [f"{root}.{column}" for root in _ROOTS if f"{root}.{column}" in frame]
    if len(behind) > 1:
        raise InvalidTableError(
            f"{column} in {name} may be {' or '.join(behind)}, expected to know which; "
            f"say so, as in --map {column}={behind[0]}"
        )
    return behind[0] if behind else None


def _constant(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _named(frame: pd.DataFrame) -> str:
    """The columns there are, for a message."""
    names = sorted(map(str, frame.columns))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"it has {', '.join(names[:_MOST_NAMED])}{more}" if names else "it has no columns"


def _spread(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with cells that hold mappings spread, as `config` into `config.optim.lr`.

    W&B's own export script writes such cells as Python prints them.
    """
    parsed = {
        column: [_mapping(cell) for cell in frame[column].tolist()]
        for column in frame
        if not is_numeric_dtype(frame[column].dtype)
    }
    nested = {column: cells for column, cells in parsed.items() if any(cells)}
    if not nested:
        return frame
    records = [
        {str(column): cell for column, cell in zip(nested, row, strict=True) if cell is not None}
        for row in zip(*nested.values(), strict=True)
    ]
    spread = pd.json_normalize(records).set_index(frame.index)
    flat = frame.drop(columns=list(nested))
    return flat.join(spread[[column for column in spread if column not in flat]])


def _mapping(cell: Any) -> dict[str, Any] | None:
    """The mapping that a cell is, or writes out as JSON or as Python does."""
    if isinstance(cell, dict):
        return cell
    if not (isinstance(cell, str) and cell.startswith("{")):
        return None
    try:
        value = json.loads(cell, parse_constant=str)
    except ValueError:
        try:
            value = ast.literal_eval(_NotFinite().visit(ast.parse(cell, mode="eval")))
        except (ValueError, SyntaxError):
            return None
    return value if isinstance(value, dict) else None


class _NotFinite(ast.NodeTransformer):
    """Writes `nan` and `inf` as words, since Python prints no literal for them."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(node.id) if node.id in ("nan", "inf") else node
