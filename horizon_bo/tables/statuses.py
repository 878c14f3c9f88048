"""Endings: did a logged run end with a loss, diverge, fail, or is it still running?

    status, loss                     means
    ended (or no status), finite     completed
    ended (or no status), not so     diverged
    failed or killed, told as NaN    diverged: training blew up, and the script said so
    failed or killed, otherwise      failed: a loss read half way ranks rates wrongly
    pruned                           failed, for the same reason
    running or waiting               left out: import it when it has ended
    a word that nobody uses          left out, and said so

A column `diverged` or `failed` overrules the status.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from horizon_bo.study.quantities import quoted
from horizon_bo.tables.cells import numbers, refuse, truth, truths, words

#: What trackers and schedulers call the state of a run, in lower case, and what it means here.
#: Source: the run states of W&B, Ray Tune and Ray jobs, MLflow's RunStatus, Optuna's TrialState,
#: Ax's TrialStatus, TensorBoard's HParams status, Slurm's sacct(1) job states with their short
#: forms, Kubernetes' phases, and the status of a `Trial`.
_STATES = {
    "ended": (
        "finished complete completed success succeeded terminated done ok ended passed cd published"
    ),
    "failed": (
        "crashed failed fail failure killed error errored aborted abandoned canceled cancelled "
        "cancelling canceling ca f timeout timed_out timedout to deadline dl node_fail nf "
        "boot_fail bf launch_failed reconfig_fail out_of_memory oom revoked rv special_exit se "
        "stopped stopping evicted exit exited lost interrupted"
    ),
    "running": (
        "running pending queued scheduled waiting preempted preempting pr paused unfinished r pd "
        "candidate staged dispatched created submitted started starting in_progress inprogress "
        "configuring cf completing cg suspended s requeued rq requeue_fed rf requeue_hold rh "
        "resv_del_hold rd resizing rs signaling si stage_out so st active initializing retrying"
    ),
    "pruned": "pruned early_stopped early_stopping",
    "diverged": "diverged",
}
_MEANINGS = {word: meaning for meaning, known in _STATES.items() for word in known.split()}
_MEANINGS[""] = "ended"

#: What sacct puts behind a state, and Python in front of one.
_BY_SOMEBODY = re.compile(r"\s+by\s+\S+$")
_OF_AN_ENUM = re.compile(r"^\w*(?:state|status)\.")

#: Columns that may hold it, where none was mapped to `status`.
_STATUS_COLUMNS = (
    "status",
    "state",
    "run_state",
    "job_state",
    "jobstate",
    "trial_status",
    "run_status",
)
#: Columns that tell it otherwise, without what separates their words: the code a process ended
#: with, Slurm's with a signal (`0:15`), and truths, by what a no means.
_EXIT_CODES = ("exitcode", "exitstatus", "returncode", "derivedexitcode")
_EXIT_CODE = re.compile(r"(-?\d+)(?:\.0)?(?::(\d+))?")
_SAID_YES = {
    **dict.fromkeys(("success", "succeeded", "successful", "issuccessful"), "failed"),
    **dict.fromkeys(("finished", "isfinished", "completed", "iscompleted", "done"), "running"),
}


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
    ended = ~np.isin(meaning, ("running", "unknown")) | diverged | failed
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
        (
            ~ended & (meaning == "running"),
            "{rows} have not ended, first row {row}: left out, import them when they have",
        ),
    )
    diverged = diverged | lost
    kept = [
        loss if completed else None
        for loss, completed in zip(losses.tolist(), plain & ~lost, strict=True)
    ]
    said = (_counted(rows, sentence, frame) for rows, sentence in counted if rows.any())
    return Endings(kept, diverged, failed, ended, (*remarks, *said))


def _meanings(frame: pd.DataFrame, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the status of each row means; "ended" where the table has no status.

    A word that is no state leaves its own rows out, unless no row has a word that is one: then
    the column is about something else.
    """
    column = status_column(frame)
    if column is None:
        return _meanings_otherwise(frame)
    said = pd.Series(words(frame[column]), dtype=object)
    known = {word: _meaning(word) for word in said.unique()}
    unknown = said.map({word: meaning is None for word, meaning in known.items()}).to_numpy(bool)
    if not unknown.any():
        return said.map(known).to_numpy(dtype=str), ()
    first = int(np.flatnonzero(unknown)[0])
    word = quoted(frame[column].iloc[first])
    if not any(known[word] for word in known if word):
        return np.full(len(frame), "ended"), (
            f"column {column!r} of {name} is ignored: {word} is no state of a run, such as "
            "finished, failed or diverged",
        )
    count = int(unknown.sum())
    return said.map({word: meaning or "unknown" for word, meaning in known.items()}).to_numpy(
        dtype=str
    ), (
        f"{count} of {len(frame)} rows have no known state of a run in column {column!r}, first "
        f"row {frame.index[first]} with {word}: left out",
    )


def _meanings_otherwise(frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """What an exit code, or a yes and no, says of each row of a table without a status."""
    for column in frame.columns:
        key = re.sub(r"[\s_-]+", "", column.lower())
        if key in _EXIT_CODES:
            codes = [_EXIT_CODE.fullmatch(word or "0") for word in words(frame[column])]
            good = [code and int(code[1]) == int(code[2] or 0) == 0 for code in codes]
            bad = "failed"
        elif key in _SAID_YES:
            good, bad = [truth(word or "yes") for word in words(frame[column])], _SAID_YES[key]
        else:
            continue
        if all(each is not None for each in good):
            said = f"column {column!r} is taken to say how runs ended"
            meaning = np.where(np.array(good, dtype=bool), "ended", bad)
            return meaning, () if all(good) else (said,)
    return np.full(len(frame), "ended"), ()


def _meaning(word: str) -> str | None:
    """What a state means; also `CANCELLED by 1000`, `TrialState.COMPLETE`, and `OUT_OF_ME+`."""
    plain = _BY_SOMEBODY.sub("", _OF_AN_ENUM.sub("", word)).strip()
    if plain.endswith("+"):  # sacct cuts at ten characters
        found = {m for known, m in _MEANINGS.items() if known.startswith(plain[:-1])}
        return found.pop() if len(found) == 1 and len(plain) > 2 else None
    return _MEANINGS.get(plain, _MEANINGS.get(re.sub(r"[\s-]+", "_", plain)))


def status_column(frame: pd.DataFrame) -> str | None:
    """The column that says how runs ended, whatever case its name is in."""
    by_name = {str(column).strip().lower(): column for column in reversed(list(frame.columns))}
    return next((by_name[column] for column in _STATUS_COLUMNS if column in by_name), None)


def _told_as_nan(losses: pd.Series) -> np.ndarray:
    """Where a loss is written out as NaN, in contrast to a cell that holds nothing."""
    if pd.api.types.is_numeric_dtype(losses):
        return np.zeros(len(losses), dtype=bool)
    return np.array([word.lstrip("+-") == "nan" for word in words(losses)], dtype=bool) & np.array(
        [isinstance(cell, str) for cell in losses.to_numpy(dtype=object)], dtype=bool
    )


def _counted(rows: np.ndarray, sentence: str, frame: pd.DataFrame) -> str:
    first = frame.index[int(np.flatnonzero(rows)[0])]
    return sentence.format(rows=f"{int(rows.sum())} of {len(frame)} rows", row=first)
