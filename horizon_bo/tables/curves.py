"""Curves: are the rows of a table runs, or the points of learning curves?

A loss on the way is no final loss. Which rows are one run, and which is its last, the user says;
what looks so is said in any case.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.tables.cells import quoted_name, readable, told
from horizon_bo.tables.columns import COLUMNS, column_named
from horizon_bo.tables.guesses import name_parts

_RUNS = (
    r"(run|wandb|experiment|exp|trial|job|model)?_?(name|id|dir|key|uuid|hash)|run|trial|experiment"
)
_STEPS = r"(global|train|trainer_global|current|optimizer)?_?(step|iter|iteration|it|epoch|update)"
_PLANNED = (
    r"(max|total|num|n|train|training|num_train|num_training)_(steps|iters|iterations)"
    r"|max_(iter|step)|train_iters"
)
#: Rows that make a curve where no column counts steps; two may be readings of one trunk.
_FEW_ROWS = 3
#: Rows of a run before a rate that changes along it is taken for a schedule.
_MANY_ROWS = 5
#: Columns of text that are tried as the name of a run.
_MOST_TRIED = 30
#: A run that stopped before this share of its plan did not end.
_WHOLE = 0.98


def last_rows(
    frame: pd.DataFrame, run: str, by: str | None, name: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The last row of each run that has a loss, and what was left out.

    Args:
        frame: The table with our columns.
        run: The column, or columns separated by commas, whose values tell runs apart.
        by: What grows along a run; `None` takes a column of steps, else tokens.
        name: What to call the table in a message.
    """
    columns = [column_named(frame, part.strip(), name) for part in run.split(",")]
    along = column_named(frame, by, name) if by else step_column(frame) or "tokens"
    steps, unread = readable(frame[along])
    if unread.any():
        raise InvalidTableError(
            f"{quoted_name(along)} of row {frame.index[int(unread.argmax())]} in {name} is no "
            "number, expected one that grows along a run; name another with --by"
        )
    key = _codes(frame, columns)
    frame, remarks = _at_their_peak(frame, key)
    there = pd.Series(told(frame["loss"]))
    points = pd.DataFrame({"key": key, "step": np.nan_to_num(steps, nan=-np.inf)})
    some = np.asarray(there.groupby(key).transform("any"), dtype=bool)
    with_loss = points.loc[there.to_numpy() | ~some]
    last = np.sort(with_loss.sort_values(by="step", kind="stable").groupby("key").tail(1).index)
    kept = frame.iloc[last]
    remarks += [
        f"{len(frame)} rows of {name} are {len(kept)} runs: the last row of each "
        f"{' and '.join(map(quoted_name, columns))} by {quoted_name(along)} is kept"
    ]
    ends = np.asarray(points.groupby("key")["step"].transform("max"))[last]
    return kept, (*remarks, *_early(kept, ends, along))


def _at_their_peak(frame: pd.DataFrame, key: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """The table with each run's highest rate in all its rows: a schedule lowers it on the way."""
    rates, unread = readable(frame["learning_rate"])
    by_run = pd.Series(rates).groupby(key)
    peak = np.asarray(by_run.transform("max"))
    if unread.any() or not (rates < peak).any():
        return frame, []
    runs = len(np.unique(key[rates < peak]))
    said = f"learning_rate changes along {runs} runs: the highest of each is taken as its peak"
    return frame.assign(learning_rate=peak), [said]


def curves(frame: pd.DataFrame, name: str) -> tuple[str, ...]:
    """Whether a table looks like points of learning curves, in one line."""
    rates, params = (readable(frame[column])[0] for column in ("learning_rate", "params"))
    if len(frame) < 4:
        return ()
    step = step_column(frame)
    places = pd.DataFrame({"params": params} | ({} if step else {"rate": rates}))
    if float(places.duplicated(keep=False).mean()) < 0.5:
        return ()
    along = step or "tokens"
    steps = readable(frame[along])[0]
    for columns in _run_columns(frame, without={along}):
        key = _codes(frame, columns)
        sizes = pd.Series(key).groupby(key).transform("size").to_numpy()
        least = 2 if step is not None and columns[0] not in COLUMNS else _FEW_ROWS
        if float(np.mean(sizes >= least)) < 0.5:
            continue
        one_size = bool(np.all(np.asarray(pd.Series(params).groupby(key).nunique()) <= 1))
        points = pd.DataFrame({"key": key, "step": steps, "rate": rates})
        apart = not points.duplicated(["key", "step"]).any()
        if one_size and apart and _one_rate(points, scheduled=least == 2):
            runs = ",".join(columns)
            return (
                f"{len(frame)} rows of {name} look like {len(np.unique(key))} learning curves, by "
                f"{quoted_name(along)}: a loss on the way is no final loss; "
                f"--last-of {quoted_name(runs)} --by {quoted_name(along)} keeps the last row of "
                "each",
            )
    return ()


def _one_rate(points: pd.DataFrame, *, scheduled: bool) -> bool:
    """Whether each run has one rate, or where one is logged as it goes, what a schedule makes."""
    if np.all(np.asarray(points.groupby("key")["rate"].nunique()) <= 1):
        return True
    ordered = points.sort_values(["key", "step"])
    change = ordered.groupby("key")["rate"].diff()
    fell = (change < 0).groupby(ordered["key"]).cummax()
    rises_again = bool((fell & (change > 0)).any())
    lengths = np.unique(ordered["key"], return_counts=True)[1]
    return scheduled and not rises_again and bool(np.median(lengths) >= _MANY_ROWS)


def stopped_early(frame: pd.DataFrame, ended: np.ndarray) -> tuple[str, ...]:
    """Rows that ended, as they say, before the steps that were planned, in one line."""
    planned = next((c for c in frame.columns if _is(c, _PLANNED)), None)
    reached = step_column(frame)
    if planned is None or reached is None or _is(reached, r".*epoch"):
        return ()
    share = readable(frame[reached])[0] / readable(frame[planned])[0]
    early = ended & (share < _WHOLE)
    if not early.any() or early.sum() > 0.5 * ended.sum():  # then they count something else
        return ()
    row = int(np.flatnonzero(early)[0])
    return (
        f"{int(early.sum())} of {len(frame)} rows stopped before the {quoted_name(planned)} that "
        f"were planned, first row {frame.index[row]} at {share[row]:.0%}: a loss half way ranks "
        "rates wrongly; drop them, or mark them as failed",
    )


def _early(runs: pd.DataFrame, ends: np.ndarray, along: str) -> tuple[str, ...]:
    """Runs that end where no other of their size does, before three that end together."""
    size = readable(runs["params"])[0]
    table = pd.DataFrame({"size": size, "end": ends})
    together = np.asarray(table.groupby(["size", "end"])["end"].transform("size"))
    common = table.assign(end=np.where(together >= _FEW_ROWS, ends, np.nan))
    latest = np.asarray(common.groupby("size")["end"].transform("max"))
    early = (together == 1) & (ends < latest)
    if not early.any():
        return ()
    row = int(np.flatnonzero(early)[0])
    return (
        f"{int(early.sum())} of {len(runs)} runs end before others of their size, first row "
        f"{runs.index[row]} at {quoted_name(along)} {ends[row]:g}: a loss half way ranks rates "
        "wrongly; drop them if they did not finish",
    )


def _run_columns(frame: pd.DataFrame, without: set[str]) -> list[list[str]]:
    """What may tell runs apart, the likeliest first; last of all, their settings."""
    theirs = [c for c in frame.columns if c not in COLUMNS and c not in without]
    named = [c for c in theirs if _is(c, _RUNS)]
    text = [c for c in theirs if c not in named and not pd.api.types.is_numeric_dtype(frame[c])]
    settings = [c for c in ("learning_rate", "params", "batch_tokens") if c in frame]
    return [*([c] for c in (*named, *text)[:_MOST_TRIED]), settings]


def step_column(frame: pd.DataFrame) -> str | None:
    """The column that counts steps along a run, where there is one of numbers that differ."""
    for column in frame.columns:
        if column not in COLUMNS and _is(column, _STEPS):
            steps, unread = readable(frame[column])
            if not unread.any() and np.isfinite(steps).sum() > 1 and np.nanstd(steps) > 0:
                return column
    return None


def _is(column: str, pattern: str) -> bool:
    return any(re.fullmatch(pattern, key.strip("_")) for key in name_parts(column))


def _codes(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """A number for each different set of values of these columns."""
    return frame[list(columns)].astype(str).groupby(list(columns), sort=False).ngroup().to_numpy()
