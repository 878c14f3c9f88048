"""Runs: which rows of a table can a law be fitted to, and is the table enough to tell?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.horizons import FLOPS_PER_PARAM_TOKEN

FloatArray = NDArray[np.float64]

#: A table of runs: columns of equal length by name, as lists, arrays or series.
Table = Mapping[str, Any]

#: Rows named in a remark; the rest are counted.
_NAMED_ROWS = 8

#: Two columns whose logs correlate beyond this cannot be told apart.
_COLLINEAR = 0.9999


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Usable rows of a table, as columns of equal length.

    Args:
        columns: Values by name, all finite and positive.
        rows: 0-based place of each row in the table it came from.
        remarks: What was left out and why.
    """

    columns: Mapping[str, FloatArray]
    rows: NDArray[np.int64]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of usable rows."""
        return len(self.rows)

    def __getitem__(self, name: str) -> FloatArray:
        """One column."""
        return self.columns[name]

    def log(self, name: str) -> FloatArray:
        """Natural logs of one column."""
        return np.log(self.columns[name])

    def where(self, keep: NDArray[np.bool_]) -> "Runs":
        """The rows that a mask keeps."""
        columns = {name: values[keep] for name, values in self.columns.items()}
        return Runs(columns=columns, rows=self.rows[keep], remarks=self.remarks)

    def groups(self, *names: str) -> NDArray[np.int64]:
        """Number of the cell that each row belongs to; rows agree on `names` within a cell."""
        keys = np.column_stack([self.columns[name] for name in names])
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def read_runs(table: Table, needed: Sequence[str]) -> Runs:
    """The rows that hold a positive number in every needed column and did not diverge.

    `flops` is filled in as 6 · params · tokens where both are there.

    Args:
        table: Columns by name; a column of the table that is not needed is ignored.
        needed: Names of the columns that must be there.
    """
    missing = [name for name in needed if name not in table and name != "flops"]
    if missing:
        raise InvalidTableError(
            f"table has the columns {', '.join(table)}, "
            f"expected also {', '.join(missing)}; add them"
        )
    columns = {name: _numbers(table, name) for name in needed if name in table}
    if "flops" in needed and "flops" not in columns:
        size, length = _numbers(table, "params"), _numbers(table, "tokens")
        columns["flops"] = FLOPS_PER_PARAM_TOKEN * size * length
    keep = np.ones(len(next(iter(columns.values()))), dtype=bool)
    remarks = []
    if "diverged" in table:
        diverged = np.array([_claims(value) for value in table["diverged"]])
        remarks += _left_out(keep & diverged, "diverged")
        keep &= ~diverged
    for name, values in columns.items():
        bad = ~(np.isfinite(values) & (values > 0))
        remarks += _left_out(keep & bad, f"{name} is not a positive number")
        keep &= ~bad
    rows = np.flatnonzero(keep)
    columns = {name: values[keep] for name, values in columns.items()}
    return Runs(columns=columns, rows=rows, remarks=tuple(remarks))


def _numbers(table: Table, name: str) -> FloatArray:
    try:
        return np.asarray(table[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidTableError(
            f"column {name} holds {error}, expected numbers; correct the table"
        ) from error


def _claims(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1", "1.0", "yes")


def _left_out(rows: NDArray[np.bool_], why: str) -> list[str]:
    places = np.flatnonzero(rows)
    if not places.size:
        return []
    named = ", ".join(str(place) for place in places[:_NAMED_ROWS])
    more = f" and {places.size - _NAMED_ROWS} more" if places.size > _NAMED_ROWS else ""
    return [f"{places.size} rows left out because {why}: rows {named}{more}"]


def best_of_cells(runs: Runs, cell: Sequence[str] = ("params", "tokens")) -> Runs:
    """The run of the lowest loss in each cell: what laws of a tuned loss describe."""
    groups = runs.groups(*cell)
    order = np.lexsort((runs["loss"], groups))
    first = np.unique(groups[order], return_index=True)[1]
    keep = np.zeros(len(runs), dtype=bool)
    keep[order[first]] = True
    return runs.where(keep)


def require_identifiable(runs: Runs, coefficients: int, levels: Mapping[str, int]) -> None:
    """Refuse a table that cannot tell the coefficients apart, saying what it lacks.

    Args:
        runs: The usable rows.
        coefficients: How many are to be fitted.
        levels: How many different values each column needs.
    """
    lacking = []
    if len(runs) <= coefficients:
        lacking.append(f"more than {coefficients} usable runs (there are {len(runs)})")
    for name, least in levels.items():
        count = np.unique(runs[name]).size
        if count < least:
            lacking.append(f"at least {least} different {name} (there are {count})")
    names = list(levels)
    if not lacking:
        for index, first in enumerate(names):
            lacking += [
                f"{first} and {second} that do not move together"
                for second in names[index + 1 :]
                if abs(np.corrcoef(runs.log(first), runs.log(second))[0, 1]) > _COLLINEAR
            ]
    if lacking:
        raise InvalidTableError(
            f"table of {len(runs)} usable runs does not identify the law, expected "
            f"{' and '.join(lacking)}; add such runs"
        )
