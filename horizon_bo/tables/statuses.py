"""Endings: did a logged run end with a loss, diverge, fail, or is it still running?

    status, loss                     means
    ended (or no status), finite     completed
    ended (or no status), not so     diverged
    failed or killed, told as NaN    diverged: training blew up, and the script said so
    failed or killed, otherwise      failed: a loss read half way ranks rates wrongly
    pruned                           failed, for the same reason
    running or waiting               left out: import it when it has ended

A column `diverged` or `failed` overrules the status.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from horizon_bo.tables.cells import numbers, refuse, truths

#: What trackers call the state of a run, in lower case, and what it means here.
#: Source: the run states of W&B and Ray, MLflow's RunStatus, Optuna's TrialState, TensorBoard's
#: HParams status, and the status of a `Trial`.
_MEANINGS = {
    **dict.fromkeys(("finished", "complete", "completed", "success", "terminated"), "ended"),
    **dict.fromkeys(("crashed", "failed", "fail", "failure", "killed", "error"), "failed"),
    **dict.fromkeys(("running", "pending", "queued", "scheduled", "waiting"), "running"),
    **dict.fromkeys(("preempted", "preempting", "paused", "unfinished"), "running"),
    "pruned": "pruned",
    "diverged": "diverged",
    "": "ended",
}

#: Columns that may hold it, where none was mapped to `status`.
_STATUS_COLUMNS = ("status", "state", "State")


@dataclass(frozen=True)
class Endings:
    """How each row ended.

    Args:
        loss: Final losses, `None` for runs that have none.
        diverged: Training blew up.
        failed: The run says nothing.
        ended: Whether the run has ended at all.
        remarks: What was taken in a way the author may not expect.
    """

    loss: list[float | None]
    diverged: np.ndarray
    failed: np.ndarray
    ended: np.ndarray
    remarks: tuple[str, ...]


def endings(frame: pd.DataFrame, name: str) -> Endings:
    """How the runs of a table ended, by their loss and, where there is one, their status."""
    losses = numbers(frame, "loss", name, "a number > 0, or NaN for a diverged run")
    meaning, remarks = _meanings(frame, name)
    told = np.isposinf(losses) | _told_as_nan(pd.Series(frame["loss"]))
    diverged = (meaning == "diverged") | ((meaning == "failed") & told)
    failed = np.isin(meaning, ("failed", "pruned")) & ~told
    for column in ("diverged", "failed"):
        if column in frame:
            said = truths(frame, column, name)
            diverged = diverged | said if column == "diverged" else diverged & ~said
            failed = failed | said if column == "failed" else failed & ~said
    ended = (meaning != "running") | diverged | failed
    plain = ended & ~diverged & ~failed
    refuse(plain & (losses <= 0), frame, "loss", name, "a number > 0")
    lost = plain & ~np.isfinite(losses)
    counted = (
        (lost, "loss of {rows} is not finite, first row {row}: taken as diverged"),
        (
            failed & (meaning == "failed"),
            "{rows} failed, first row {row}: recorded as failed, they say nothing; those that "
            "blew up say more when a column `diverged` marks them",
        ),
        (
            failed & (meaning == "pruned"),
            "{rows} were pruned, first row {row}: recorded as failed, since a loss read before "
            "the schedule ends ranks rates wrongly",
        ),
        (~ended, "{rows} have not ended, first row {row}: left out, import them when they have"),
    )
    diverged = diverged | lost
    kept = [
        loss if completed else None
        for loss, completed in zip(losses.tolist(), plain & ~lost, strict=True)
    ]
    said = (_counted(rows, sentence, frame) for rows, sentence in counted if rows.any())
    return Endings(kept, diverged, failed, ended, (*remarks, *said))


def _meanings(frame: pd.DataFrame, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the status of each row means; "ended" where the table has no status."""
    column = next((column for column in _STATUS_COLUMNS if column in frame), None)
    if column is None:
        return np.full(len(frame), "ended"), ()
    cells = frame[column].astype(object)
    words = cells.where(cells.notna(), "").astype(str).str.strip().str.lower()
    meaning = words.map(_MEANINGS)
    unknown = meaning.isna().to_numpy()
    if not unknown.any():
        return meaning.to_numpy(dtype=str), ()
    word = cells.tolist()[int(np.flatnonzero(unknown)[0])]
    return np.full(len(frame), "ended"), (
        f"column {column!r} of {name} is ignored: {word!r} is no state of a run, such as "
        "finished, failed or diverged",
    )


def _told_as_nan(losses: pd.Series) -> np.ndarray:
    """Where a loss is written out as NaN, in contrast to a cell that holds nothing."""
    if pd.api.types.is_numeric_dtype(losses):
        return np.zeros(len(losses), dtype=bool)
    written = losses.map(lambda cell: isinstance(cell, str) and cell.strip().lower() == "nan")
    return written.to_numpy(dtype=bool)


def _counted(rows: np.ndarray, sentence: str, frame: pd.DataFrame) -> str:
    first = frame.index[int(np.flatnonzero(rows)[0])]
    return sentence.format(rows=f"{int(rows.sum())} of {len(frame)} rows", row=first)
