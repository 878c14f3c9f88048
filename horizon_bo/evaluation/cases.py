"""Cases: what does a replay hide, and which logged runs may it buy?

The rows of the target's cell (its size and length, at every batch) are hidden. The pool is every
other row within the case's limits.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from horizon_bo.errors import HorizonBOError, InvalidSpaceError, InvalidTableError
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace, positive, training_flops
from horizon_bo.study.inputs import target_inputs, told
from horizon_bo.study.quantities import quoted
from horizon_bo.study.trials import OWN_SOURCE, LoggedRun, Study, Trial
from horizon_bo.tables.logged import LoggedTable, logged_table

#: Names the folder of public sweeps.
DATA_VARIABLE = "HORIZON_BO_DATA"

POOL_BATCHES = ("same", "any")
#: Fields of a case that are positive numbers.
_COUNTS = (
    *("target_params", "target_tokens", "batch_tokens", "only_params"),
    *("max_params_ratio", "max_tokens_ratio", "max_run_cost"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One replay problem on a logged sweep.

    Args:
        name: Its label; the part before the first size names the group.
        sweep: A table's path, or its name in one of the data folders.
        target_params: Non-embedding parameters of the target, a count.
        target_tokens: Training tokens of the target, a count.
        batch_tokens: Tokens per step of the target; `None` takes the one of its rows.
        pool_batch: `"same"` buys only rows of the target's batch, `"any"` at every batch.
        max_params_ratio: Largest size of a row relative to the target; `None` means any.
        max_tokens_ratio: Longest row relative to the target; `None` means any.
        only_params: Buy rows of this size alone; `None` means any.
        max_run_cost: Dearest row, in target runs; `None` means any.
        optimizer: Whose rate it is, by name; `None` takes the one of the target's rows, else AdamW.
        parametrization: `"standard"` or `"mup"`.
        experts: Whether sizes are the active ones of a mixture of experts.
        recipe: Source, schedule and averaging (`recipe_of`) of the target and of every row to
            buy; `None` takes the target's from its rows and buys rows of every recipe.
        truth: The smoothed curve at the target, for scoring; never seen by a method.
    """

    name: str
    sweep: str
    target_params: float
    target_tokens: float
    batch_tokens: float | None = None
    pool_batch: str = "same"
    max_params_ratio: float | None = None
    max_tokens_ratio: float | None = None
    only_params: float | None = None
    max_run_cost: float | None = None
    optimizer: str | None = None
    parametrization: str = "standard"
    experts: bool = False
    recipe: tuple[str, str, str] | None = None
    truth: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) is not None or name in ("target_params", "target_tokens"):
                what = f"{name} of case {quoted(self.name)}"
                positive(getattr(self, name), what, InvalidSpaceError, "correct the case")
        recipe = self.recipe or ("", "", "")
        for name, fits in (
            ("name", isinstance(self.name, str)),
            ("sweep", isinstance(self.sweep, str)),
            ("optimizer", self.optimizer is None or isinstance(self.optimizer, str)),
            ("parametrization", isinstance(self.parametrization, str)),
            ("experts", isinstance(self.experts, bool)),
            ("recipe", len(recipe) == 3 and all(isinstance(part, str) for part in recipe)),
            ("truth", self.truth is None or isinstance(self.truth, Mapping)),
        ):
            if not fits:
                raise InvalidSpaceError(
                    f"{name} of case {quoted(self.name)} is {quoted(getattr(self, name))}, "
                    "expected it as `backtest` writes it; correct the case"
                )
        if self.pool_batch not in POOL_BATCHES:
            raise InvalidSpaceError(
                f"pool_batch of case {self.name} is {self.pool_batch!r}, expected one of "
                f"{POOL_BATCHES}; correct the case"
            )


@dataclass(frozen=True)
class Problem:
    """A case with its rows: the target, and the runs that may be bought.

    `study` has neither budget spent nor trials; `pool` holds one finished trial per row.
    """

    case: Case
    optimizer: str
    target: Horizon
    space: SearchSpace
    source: str
    pool: tuple[Trial, ...]

    def study(self, *, budget: float, prior_center: float | None, seed: int) -> Study:
        """The empty study a replay starts from; the budget is in target runs.

        Neither laws fitted to the sweep nor what was learnt from it and its relatives get a say.
        """
        return Study(
            optimizer=self.optimizer,
            parametrization=self.case.parametrization,
            experts=self.case.experts,
            target=self.target,
            space=self.space,
            budget=budget * self.target.flops,
            prior_center=prior_center,
            seed=seed,
            source=self.source,
            excluded_data=(Path(self.case.sweep).stem,),
        )


def load_cases(path: Path) -> tuple[Case, ...]:
    """The cases of a JSON file, in order."""
    names = {f.name for f in fields(Case)}
    try:
        entries = json.loads(path.read_text())
        return tuple(Case(**{k: v for k, v in e.items() if k in names}) for e in entries)
    except HorizonBOError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidTableError(
            f"{path} cannot be read as cases ({error}), expected a JSON list of objects with name, "
            "sweep, target_params and target_tokens; correct it"
        ) from error


def find_sweep(name: str, beside: Path | None = None) -> Path:
    """The file of a sweep: that path, beside the cases, in the data folder, or in the package."""
    folders = [Path(), *([beside] if beside else [])]
    if os.environ.get(DATA_VARIABLE):
        folders.append(Path(os.environ[DATA_VARIABLE]))
    folders.append(Path(str(files("horizon_bo") / "data")))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise InvalidTableError(
        f"sweep {name!r} is in none of {', '.join(map(str, folders))}, expected a table of runs; "
        f"give its path or set {DATA_VARIABLE}"
    )


def load_problem(case: Case, beside: Path | None = None) -> Problem:
    """Split a sweep into the hidden target and the pool."""
    path = find_sweep(case.sweep, beside)
    return problem_on(case, _table(path, path.stat().st_mtime_ns).runs)


def problem_on(case: Case, runs: Sequence[LoggedRun]) -> Problem:
    """The problem a case poses on these runs; a pool row's number is its position in `runs`."""
    hidden = [run for run in runs if _in_target_cell(run, case) and _of_recipe(run, case)]
    batch = _target_batch(case, hidden)
    own = [run for run in hidden if run.batch_tokens == batch] or hidden
    measured = [run.flops for run in own if run.flops is not None]
    target = Horizon(
        params=case.target_params,
        tokens=case.target_tokens,
        batch_tokens=batch,
        schedule=_commonest(own, "schedule") or "cosine",
        averaging=_commonest(own, "averaging") or "none",
        inputs=target_inputs({}, [told(run.inputs) for run in own], ()),
        **({"flops": sorted(measured)[len(measured) // 2]} if measured else {}),
    )
    pool = [
        (row, run)
        for row, run in enumerate(runs)
        if not (run.failed or _in_target_cell(run, case)) and _within_limits(run, case, target)
    ]
    if not pool:
        raise InvalidSpaceError(
            f"case {case.name} leaves 0 of {len(runs)} rows to buy, expected some; widen the limits"
        )
    space = _space_of([run for _, run in pool], target)
    source = _commonest(own, "source") or OWN_SOURCE
    optimizer = case.optimizer or _commonest(own, "optimizer") or "adamw"
    study = Study(
        optimizer=optimizer, target=target, space=space, budget=target.flops, source=source
    )
    trials = tuple(
        study.trial_from(run, trial_id=position, charged=True, row=row)
        for position, (row, run) in enumerate(pool)
    )
    return Problem(case, optimizer, target, space, source, trials)


@lru_cache(maxsize=8)
def _table(path: Path, changed_ns: int) -> LoggedTable:
    """A table as it was when it last changed."""
    return logged_table(path, repeats=True)


def _in_target_cell(run: LoggedRun, case: Case) -> bool:
    return run.params == case.target_params and run.tokens == case.target_tokens


def recipe_of(run: LoggedRun) -> tuple[str, str, str]:
    """Source, schedule and averaging of a run, with the words for what it leaves out."""
    return (run.source or OWN_SOURCE, run.schedule or "cosine", run.averaging or "none")


def _of_recipe(run: LoggedRun, case: Case) -> bool:
    return case.recipe is None or recipe_of(run) == tuple(case.recipe)


def _target_batch(case: Case, hidden: Sequence[LoggedRun]) -> float | None:
    if case.batch_tokens is not None:
        return float(case.batch_tokens)
    batches = {run.batch_tokens for run in hidden}
    if len(batches) > 1:
        raise InvalidSpaceError(
            f"the target's rows have batches {sorted(filter(None, batches))}, expected to know "
            "which is meant; give --batch-tokens"
        )
    return batches.pop() if batches else None


def _within_limits(run: LoggedRun, case: Case, target: Horizon) -> bool:
    flops = training_flops(run.params, run.tokens, run.flops)
    limits = (
        (flops / target.flops, case.max_run_cost),
        (run.params / target.params, case.max_params_ratio),
        (run.tokens / target.tokens, case.max_tokens_ratio),
    )
    if any(limit is not None and ratio > limit for ratio, limit in limits):
        return False
    if case.only_params is not None and run.params != case.only_params:
        return False
    if not _of_recipe(run, case):
        return False
    return (
        case.pool_batch == "any"
        or None in (run.batch_tokens, target.batch_tokens)
        or (run.batch_tokens == target.batch_tokens)
    )


def _commonest(runs: Sequence[LoggedRun], name: str) -> str | None:
    counts = Counter(label for run in runs if (label := getattr(run, name)) is not None)
    return counts.most_common(1)[0][0] if counts else None


def _space_of(pool: Sequence[LoggedRun], target: Horizon) -> SearchSpace:
    rates = [run.learning_rate for run in pool]
    batches = sorted({run.batch_tokens for run in pool if run.batch_tokens is not None})
    return SearchSpace(
        learning_rate=(min(rates), max(rates)),
        scales=[Scale(params=params) for params in sorted({run.params for run in pool})],
        tokens=sorted({run.tokens for run in pool}),
        batch_tokens=batches or None,
        schedules=sorted({run.schedule or target.schedule for run in pool}),
        averagings=sorted({run.averaging or target.averaging for run in pool}),
    )
