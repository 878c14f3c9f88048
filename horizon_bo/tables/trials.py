"""Trials: how does a study look as a table, and as runs that another study may import?"""

from dataclasses import fields, replace
from pathlib import Path

import pandas as pd

from horizon_bo.errors import InvalidTableError
from horizon_bo.study.history import Change
from horizon_bo.study.inputs import INPUTS
from horizon_bo.study.trials import LoggedRun, Study, Trial

#: What a table of trials holds, in this order; `history` is what was changed and why.
COLUMNS = (
    *("id", "state", "learning_rate", "params", "tokens", "batch_tokens", "loss", "loss_sd"),
    *("flops", "charged", "schedule", "averaging", "source", "name", "history"),
)


def trials_frame(study: Study) -> pd.DataFrame:
    """Every trial of a study, one a row; inputs have a column where any trial names them."""
    inputs = [name for name in INPUTS if any(name in trial.inputs for trial in study.trials)]
    names = (*COLUMNS[:-1], *inputs, COLUMNS[-1])
    rows = [[_cell(trial, name) for name in names] for trial in study.trials]
    return pd.DataFrame(rows, columns=pd.Index(names))


def _cell(trial: Trial, name: str) -> object:
    if name == "history":
        return _history(trial)
    return trial.inputs.get(name) if name in INPUTS else getattr(trial, name)


def write_trials(path: Path, study: Study) -> None:
    """Write every trial to a CSV file that any study may import, costs and states included.

    Raises:
        InvalidTableError: The file cannot be written.
    """
    frame = trials_frame(study).rename(columns={"state": "status"})
    frame["status"] = [trial.status for trial in study.trials]
    try:
        frame.to_csv(path, index=False)
    except OSError as error:
        raise InvalidTableError(
            f"{path} cannot be written ({error.strerror}), expected a path in a folder that is "
            "there; choose another"
        ) from error


def carried(
    study: Study, label: str, source: str | None = None
) -> tuple[list[LoggedRun], tuple[str, ...]]:
    """The runs of a study that have ended, for another, and a remark on those that have not.

    Args:
        study: The study.
        label: What it is called, from which runs without a name get theirs.
        source: Recipe of runs under the study's own; `None` leaves it as it is.
    """
    ended = [trial for trial in study.trials if trial.status != "pending"]
    waiting = len(study.trials) - len(ended)
    runs = [_logged(trial, label) for trial in ended if trial.state != "withdrawn"]
    if source is not None:
        runs = [replace(r, source=source) if r.source == study.source else r for r in runs]
    if not runs:
        raise InvalidTableError(
            f"{label} has {len(study.trials)} runs of which none has ended, expected one; import "
            "it when its runs have"
        )
    said = []
    if waiting:
        said.append(
            f"{waiting} runs of {label} are pending: left out, import them when they have ended"
        )
    if (vocabulary := study.target.vocabulary) is not None:
        said.append(
            f"parameters in {label} hold an embedding of {vocabulary:g} tokens: import them into a "
            f"study that counts so, begun with --vocabulary {vocabulary:g}"
        )
    return runs, tuple(said)


def _logged(trial: Trial, label: str) -> LoggedRun:
    same = {
        field.name: getattr(trial, field.name)
        for field in fields(LoggedRun)
        if field.name not in ("optimizer", "diverged", "failed", "name")  # the source names it
    }
    return LoggedRun(
        **same,
        diverged=trial.status == "diverged",
        failed=trial.status == "failed",
        name=trial.name or f"{label} {trial.id}",
    )


def _history(trial: Trial) -> str:
    """What was changed after a trial had ended, and why, in words."""
    return "; ".join(map(_said, trial.changes))


def _said(change: Change) -> str:
    lost = change.before.get("loss") is not None or change.kind == "withdrawn"
    old = [
        f"{name} was {value:.6g}" if isinstance(value, float) else f"{name} was {value}"
        for name, value in change.before.items()
        if name != "charged" and value is not None and not (lost and name == "status")
    ]
    why = "" if change.reason is None else f" ({change.reason})"
    return f"{change.kind}{why}" + (f": {', '.join(old)}" if old else "")
