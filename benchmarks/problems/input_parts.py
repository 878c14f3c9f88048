"""InputParts: which sweeps vary a number of the recipe, and which of their runs are hidden?

Every run carries the number twice: as the input it is, and as its authors set it, in its `source`
(a warm-up as a share of the run and in steps). Nothing else of the recipe differs within a part.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from horizon_bo.evaluation.cases import find_sweep
from horizon_bo.study.inputs import coordinate
from horizon_bo.study.trials import LoggedRun

SHIPPED, ABLATIONS = "stdlib_gpt.csv", "sweeps/fantastic_ablations.csv"
SCHEDULES = "schedules.csv"
#: Size that is hidden in the ablations; most of their runs are at the one below it.
HIDDEN_SIZE = 301_989_888
#: Rates of a cell under one setting from which it may be hidden.
FEWEST_RATES = 3

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class VaryingInput:
    """A number of the recipe that differs between the runs of a sweep.

    Args:
        name: Of the input.
        sweep: Its file.
        column: Where the sweep says how it was set.
        value: The input of a row.
        where: Values that the columns of a row must hold one of.
        by_optimizer: Whether each optimizer is a sweep of its own whose second size is hidden;
            else the longest cells are, each under one setting at a time.
    """

    name: str
    sweep: str
    column: str
    value: Callable[[Row], float]
    where: Mapping[str, Sequence[Any]]
    by_optimizer: bool = False


@dataclass(frozen=True)
class Part:
    """A sweep with some of its runs hidden; all name the input and how it was set.

    Args:
        varying: What differs between them.
        name: What is hidden.
        optimizer: Of all runs.
        seen: The runs that are believed.
        hidden: The runs that are to be foretold.
    """

    varying: VaryingInput
    name: str
    optimizer: str
    seen: Sequence[LoggedRun]
    hidden: Sequence[LoggedRun]


_ABLATED = ("baseline", "learning_rate")
_OURS = {
    "batch_tokens": [1024],
    "seed": [0],
    "averaging": ["none"],
    "parametrization": ["standard"],
}
_OURS_AT_ONE_DECAY = {**_OURS, "weight_decay": [0.1]}
#: Where cosine ends in the sweep that ships, and its cooldowns' share of a run.
_FINAL, _COOLED = {"cosine": 0.1, "constant": 1.0}, {"constant": 0.0, "wsd": 0.2}
#: Of one 124M model: schedules that differ in their last rate, and in how long they come down.
_ENDS = {"cos_to_0": 0.0, "cos_to_10pct": 0.1, "constant": 1.0}
_LINEAR = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.994)
_DECAYS = {"constant": 0.0} | {f"wsd_linear_{share:g}": share for share in _LINEAR}
_ONE_MODEL = {"params": [123_587_328], "dataset": ["slimpajama"], "arch": ["llama_norm"]}

#: Every input that a sweep varies.
VARYING = (
    VaryingInput(
        name="weight_decay",
        sweep=SHIPPED,
        column="weight_decay",
        value=lambda row: row["weight_decay"],
        where={**_OURS, "schedule": ["cosine"]},
    ),
    VaryingInput(
        name="weight_decay",
        sweep=ABLATIONS,
        column="weight_decay",
        value=lambda row: row["weight_decay"],
        where={"varied": [*_ABLATED, "weight_decay"]},
        by_optimizer=True,
    ),
    VaryingInput(
        name="warmup_share",
        sweep=ABLATIONS,
        column="warmup",
        value=lambda row: row["warmup"] * row["batch_tokens"] / row["tokens"],
        where={"varied": [*_ABLATED, "warmup"]},
        by_optimizer=True,
    ),
    VaryingInput(
        name="beta2",
        sweep=ABLATIONS,
        column="beta2",
        value=lambda row: row["beta2"],
        where={"varied": [*_ABLATED, "beta2"]},
        by_optimizer=True,
    ),
    VaryingInput(
        name="final_share",
        sweep=SHIPPED,
        column="schedule",
        value=lambda row: _FINAL[row["schedule"]],
        where={**_OURS_AT_ONE_DECAY, "schedule": list(_FINAL)},
    ),
    VaryingInput(
        name="final_share",
        sweep=SCHEDULES,
        column="schedule",
        value=lambda row: _ENDS[row["schedule"]],
        where={**_ONE_MODEL, "schedule": list(_ENDS)},
    ),
    VaryingInput(
        name="decay_share",
        sweep=SHIPPED,
        column="schedule",
        value=lambda row: _COOLED[row["schedule"]],
        where={**_OURS_AT_ONE_DECAY, "schedule": list(_COOLED)},
    ),
    VaryingInput(
        name="decay_share",
        sweep=SCHEDULES,
        column="schedule",
        value=lambda row: _DECAYS[row["schedule"]],
        where={**_ONE_MODEL, "schedule": list(_DECAYS)},
    ),
)


def parts(varying: VaryingInput) -> Iterator[Part]:
    """All parts of a sweep."""
    runs = _runs(varying)
    if varying.by_optimizer:
        for optimizer in sorted({str(run.optimizer) for run in runs}):
            own = [run for run in runs if run.optimizer == optimizer]
            part = _part(varying, optimizer, own, [r.params == HIDDEN_SIZE for r in own])
            if all(len(_settings(some)) > 1 for some in (part.seen, part.hidden)):
                yield part
        return
    longest = _longest_cells(runs)
    runs = [run for run in runs if run.params in longest]
    for params, tokens in longest.items():
        cell = [run for run in runs if (run.params, run.tokens) == (params, tokens)]
        for setting, own in _settings(cell).items():
            if _may_be_hidden(varying, own):
                name = f"{params:.0f} parameters, {tokens:.0f} tokens, {setting}"
                yield _part(varying, name, runs, [run in own for run in runs])


def _runs(varying: VaryingInput) -> list[LoggedRun]:
    """The runs of a sweep that say the input."""
    rows = pd.read_csv(find_sweep(varying.sweep)).to_dict("records")
    wanted = [row for row in rows if all(row[name] in of for name, of in varying.where.items())]
    return [_run(varying, row) for row in wanted if not pd.isna(row[varying.column])]


def _run(varying: VaryingInput, row: Row) -> LoggedRun:
    """A row as a run."""
    names = ("learning_rate", "params", "tokens", "batch_tokens", "optimizer")
    return LoggedRun(
        **{name: row[name] for name in names if name in row},
        loss=None if row["diverged"] else row["loss"],
        diverged=bool(row["diverged"]),
        inputs={varying.name: varying.value(row)},
        source=f"{varying.column} {row[varying.column]}",
    )


def _settings(runs: Sequence[LoggedRun]) -> dict[str, list[LoggedRun]]:
    """Runs by how the input was set."""
    found: dict[str, list[LoggedRun]] = {}
    for run in runs:
        found.setdefault(str(run.source), []).append(run)
    return found


def _longest_cells(runs: Sequence[LoggedRun]) -> dict[float, float]:
    """Tokens of the longest cell of each size that holds enough rates under several settings."""
    rates: dict[tuple[float, float], dict[str, set[float]]] = {}
    for run in runs:
        cell = rates.setdefault((run.params, run.tokens), {})
        cell.setdefault(str(run.source), set()).add(run.learning_rate)
    full = lambda cell: sum(len(tried) >= FEWEST_RATES for tried in cell.values())  # noqa: E731
    return dict(sorted(place for place, cell in rates.items() if full(cell) > 1))


def _may_be_hidden(varying: VaryingInput, runs: Sequence[LoggedRun]) -> bool:
    """Whether runs of one setting have rates enough, and a place among other settings."""
    enough = len({run.learning_rate for run in runs}) >= FEWEST_RATES
    return enough and math.isfinite(coordinate(varying.name, runs[0].inputs[varying.name] or 0.0))


def _part(
    varying: VaryingInput, name: str, runs: Sequence[LoggedRun], here: Sequence[bool]
) -> Part:
    split = lambda wanted: [r for r, hide in zip(runs, here, strict=True) if hide == wanted]  # noqa: E731
    return Part(varying, name, runs[0].optimizer or "adamw", split(False), split(True))
