"""Hiding: which cells of a logged sweep can play the target, and why can the others not?

A cell is one size, length, batch and recipe. It can be hidden when its own losses show where its
best rate lies, and when enough runs remain that are as much smaller as the user's own small runs
will be and that the budget can buy. The largest such cells are taken, one of each size and length,
because cells that differ in batch or recipe alone would repeat much of the same evidence.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.evaluation.cases import Case, Problem, problem_on, recipe_of
from horizon_bo.evaluation.replay import affordable
from horizon_bo.evaluation.truth import FloatArray, optimum_log_sd, smoothed, token_slope, truth_of
from horizon_bo.study.horizons import positive, training_flops
from horizon_bo.study.trials import OWN_SOURCE, LoggedRun, Trial

#: Rates a cell must have been trained at, and how many of them on each side of the best one.
LEAST_RATES, LEAST_BESIDE = 5, 2
#: A best rate known worse than this (standard deviation, ln units: half an octave) judges nobody.
MOST_LOG_SD = 0.35
#: Runs there must be to buy, and how many of them the budget must buy together; fewer leave no
#: choice to judge.
LEAST_POOL, LEAST_BOUGHT = 5, 3
#: Largest run to buy, relative to the hidden size or length, where the user plans no target.
DEFAULT_RATIO = 0.5
#: Rates from which the lowest loss of a cell counts as its best.
_LEAST_RATES_OF_BEST = 3
#: Cells that the error names when none can be hidden.
_SHOWN = 3
#: Token counts are rounded to whole steps: 1,000,448 is half of 1,999,872.
_ROUNDING = 1.01


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How hard the backtest is.

    Args:
        cells: Most cells to hide.
        budget: What a method may spend, in target runs.
        params_ratio: Largest run to buy, relative to the hidden size.
        tokens_ratio: Longest run to buy, relative to the hidden length.
    """

    cells: int
    budget: float
    params_ratio: float
    tokens_ratio: float

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise InvalidSpaceError(f"cells is {self.cells}, expected at least 1; hide one or more")
        positive(self.budget, "budget", InvalidSpaceError, "give it in target runs")


@dataclass(frozen=True, kw_only=True)
class HiddenCell:
    """A cell that plays the target.

    Args:
        label: The cell in words.
        case: What is hidden, what may be bought, and the truth.
        params_ratio: The hidden size over the largest affordable one.
        tokens_ratio: The same of tokens.
        compute_ratio: The same of training compute.
        one_length: Whether the runs have a single length, so that what tokens buy is a belief.
    """

    label: str
    case: Case
    params_ratio: float
    tokens_ratio: float
    compute_ratio: float
    one_length: bool

    @property
    def place(self) -> tuple[float, float]:
        """Its size and length."""
        return (self.case.target_params, self.case.target_tokens)

    @property
    def truth(self) -> Mapping[str, Any]:
        """The smoothed losses of the cell."""
        assert self.case.truth is not None
        return self.case.truth


@dataclass(frozen=True)
class Hiding:
    """The cells to hide, and one line for each larger one that cannot be."""

    cells: tuple[HiddenCell, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    params: float
    tokens: float
    batch_tokens: float | None
    recipe: tuple[str, str, str]
    runs: tuple[LoggedRun, ...]

    @property
    def flops(self) -> float:
        """Median compute of its runs, in FLOP."""
        known = sorted(training_flops(run.params, run.tokens, run.flops) for run in self.runs)
        return known[len(known) // 2]

    @property
    def trained(self) -> list[LoggedRun]:
        return [run for run in self.runs if not (run.diverged or run.failed)]

    @property
    def rates(self) -> list[float]:
        """Distinct rates that trained, ascending."""
        return sorted({run.learning_rate for run in self.trained})

    @property
    def label(self) -> str:
        parts = [f"{self.params:.4g} params x {self.tokens:.4g} tokens"]
        if self.batch_tokens is not None:
            parts.append(f"batch {self.batch_tokens:.6g}")
        source, schedule, averaging = self.recipe
        parts += [] if source == OWN_SOURCE else [source]
        return ", ".join([*parts, schedule, *([] if averaging == "none" else [averaging])])


def pool_ratio(given: float | None, name: str, planned: float | None) -> float:
    """Largest run to buy relative to the hidden one: as given, as planned, or a half.

    Args:
        given: What the user asked for, at most 1.
        name: What that is called.
        planned: The planned target over the largest logged run.
    """
    if given is None:
        return DEFAULT_RATIO if planned is None else min(1.0, 1 / planned)
    todo = "give a share of the hidden run such as 0.25"
    if positive(given, name, InvalidSpaceError, todo) > 1:
        raise InvalidSpaceError(f"{name} is {given:g}, expected at most 1; {todo}")
    return float(given)


def hidden_cells(sweep: Path, runs: Sequence[LoggedRun], terms: Terms) -> Hiding:
    """The largest cells that can be hidden, and why larger ones cannot."""
    found: list[HiddenCell] = []
    unused: list[str] = []
    alike = 0
    for cell in _cells_of(runs):
        if len(found) == terms.cells:
            break
        if (cell.params, cell.tokens) in {hidden.place for hidden in found}:
            alike += 1
            continue
        outcome = _hidden(cell, sweep, runs, terms)
        if isinstance(outcome, HiddenCell):
            found.append(outcome)
        else:
            unused.append(f"{cell.label}: {outcome}")
    if not found:
        raise InvalidSpaceError(
            f"{sweep.name} has {len(unused)} cells of which none can be hidden "
            f"({'; '.join(unused[:_SHOWN])}{'; …' if len(unused) > _SHOWN else ''}), expected one "
            f"with {LEAST_RATES} rates about its best and smaller runs beside it; log more rates, "
            "or raise --params-ratio, --tokens-ratio or --budget"
        )
    if alike:
        unused.append(
            f"{alike} more of a size and length that are hidden, at another batch or recipe"
        )
    return Hiding(tuple(found), tuple(unused))


def _cells_of(runs: Sequence[LoggedRun]) -> list[_Cell]:
    """All cells: the dearest first, and of equally dear ones that with the most runs."""
    groups: dict[tuple, list[LoggedRun]] = {}
    for run in runs:
        key = (run.params, run.tokens, run.batch_tokens, recipe_of(run))
        groups.setdefault(key, []).append(run)
    cells = [_Cell(*key, runs=tuple(members)) for key, members in groups.items()]
    return sorted(cells, key=lambda cell: (-cell.flops, -len(cell.runs)))


def _hidden(cell: _Cell, sweep: Path, runs: Sequence[LoggedRun], terms: Terms) -> HiddenCell | str:
    """The cell as a target, or why it cannot be one."""
    if len(cell.rates) < LEAST_RATES:
        return f"rates that trained: {len(cell.rates)}, expected {LEAST_RATES}"
    if cell.batch_tokens is None and any(run.batch_tokens is not None for run in runs):
        return "its batch_tokens are unknown, those of other rows are not"
    pool = _pool_of(_case(cell, sweep, runs, terms), runs, terms.budget)
    if len(pool) < LEAST_POOL:
        return (
            f"affordable runs of at most {terms.params_ratio:.3g} of its size and "
            f"{terms.tokens_ratio:.3g} of its tokens: {len(pool)}, expected {LEAST_POOL}"
        )
    least = sum(sorted(trial.flops for trial in pool)[:LEAST_BOUGHT]) / cell.flops
    if least > terms.budget:
        return (
            f"its {LEAST_BOUGHT} cheapest runs to buy cost {100 * least:.3g} % of it, expected "
            f"within the budget of {100 * terms.budget:.3g} %"
        )
    log_rates, losses = _losses(cell)
    bowl = smoothed(log_rates, losses)
    below = sum(math.log(rate) < bowl.log_optimum for rate in cell.rates)
    above = len(cell.rates) - below
    if min(below, above) < LEAST_BESIDE:
        return f"rates below its best one: {below}, above: {above}, expected {LEAST_BESIDE} each"
    log_sd = optimum_log_sd(bowl, log_rates)
    if log_sd > MOST_LOG_SD:
        return (
            f"its best rate is known to {log_sd / math.log(2):.1f} octaves only, "
            f"expected {MOST_LOG_SD / math.log(2):.1f}"
        )
    best = _best_losses(cell, runs)
    truth = truth_of(bowl, log_rates, log_sd, token_slope(best, (cell.params, cell.tokens)))
    return HiddenCell(
        label=cell.label,
        case=_case(cell, sweep, runs, terms, truth),
        params_ratio=cell.params / max(trial.params for trial in pool),
        tokens_ratio=cell.tokens / max(trial.tokens for trial in pool),
        compute_ratio=cell.flops / max(trial.flops for trial in pool),
        one_length=len({tokens for _, tokens in best}) == 1,
    )


def _case(
    cell: _Cell,
    sweep: Path,
    runs: Sequence[LoggedRun],
    terms: Terms,
    truth: Mapping[str, Any] | None = None,
) -> Case:
    """The replay problem; its name says everything, the runs included, so resuming is safe."""
    told = repr(runs).replace(", inputs={}", "")  # what was begun before there were any goes on
    digest = f"{zlib.crc32(told.encode()):08x}"
    limits = f"at most {terms.params_ratio:.6g} of size and {terms.tokens_ratio:.6g} of tokens"
    exact = f"{cell.params:.12g}-{cell.tokens:.12g}"
    batch = "" if cell.batch_tokens is None else f" b{cell.batch_tokens:g}"
    return Case(
        name=f"{sweep.stem}-{exact}{batch} {'/'.join(cell.recipe)} {limits} {digest}",
        sweep=str(sweep),
        target_params=cell.params,
        target_tokens=cell.tokens,
        batch_tokens=cell.batch_tokens,
        max_params_ratio=_ROUNDING * terms.params_ratio,
        max_tokens_ratio=_ROUNDING * terms.tokens_ratio,
        recipe=cell.recipe,
        truth=truth,
    )


def _pool_of(case: Case, runs: Sequence[LoggedRun], budget: float) -> list[Trial]:
    """What the budget can buy."""
    try:
        problem: Problem = problem_on(case, runs)
    except InvalidSpaceError:  # nothing is within the limits
        return []
    return affordable(problem.pool, problem.study(budget=budget, prior_center=None, seed=0))


def _losses(cell: _Cell) -> tuple[FloatArray, FloatArray]:
    rates = [run.learning_rate for run in cell.trained]
    return np.log(np.array(rates)), np.array([run.loss for run in cell.trained], dtype=np.float64)


def _best_losses(cell: _Cell, runs: Sequence[LoggedRun]) -> dict[tuple[float, float], float]:
    """Lowest loss at each size and length of the cell's batch and recipe."""
    alike = _cells_of(
        [
            run
            for run in runs
            if run.batch_tokens == cell.batch_tokens and recipe_of(run) == cell.recipe
        ]
    )
    return {
        (other.params, other.tokens): min(run.loss for run in other.trained if run.loss)
        for other in alike
        if len(other.rates) >= _LEAST_RATES_OF_BEST
    }
