"""Backtest: how well would the tuner have done on a user's own logged sweep?

The largest cells are hidden in turn (`hiding`), the tuner buys from the smaller runs (`replay`),
and what it would have recommended is scored against the smoothed losses of the hidden cell
(`truth`). Every cell is replayed from three states of knowledge: the prior that the library takes
by itself, and guesses of the best rate three times too low and too high.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.evaluation.cases import find_sweep
from horizon_bo.evaluation.hiding import HiddenCell, Terms, hidden_cells, pool_ratio
from horizon_bo.evaluation.replays import KEY, Task, read_lines, replay_tasks, run_replays
from horizon_bo.evaluation.score import AT_STOP, Outcome, outcome, states_at
from horizon_bo.store.threads import one_thread
from horizon_bo.study.horizons import positive
from horizon_bo.study.trials import LoggedRun
from horizon_bo.tables.logged import LoggedTable, logged_table

Sweep = str | PathLike[str] | pd.DataFrame | Sequence[LoggedRun | Mapping[str, Any]]
Watch = Callable[[Iterator[float]], object]

#: What a replay starts from: the library's own prior, or a guess this many times the best rate.
STARTS: Mapping[str, float | None] = {"own prior": None, "3x too low": 1 / 3, "3x too high": 3.0}
OWN_PRIOR = "own prior"

#: Methods that buy runs, with the seeds each is replayed with. Uniform runs vary much by seed.
SEEDS: Mapping[str, int] = {"horizon": 1, "random": 3}
#: The prior's recommendation before any run: the first state of every replay.
NO_RUN = "no run"
#: The tuner when it is stopped where it first advises to.
AT_ITS_STOP = "horizon, at its own stop"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One replay and its lines.

    Args:
        cell: What was hidden.
        start: What the replay started from, a key of `STARTS`.
        method: A key of `SEEDS`.
        seed: Seed of the replay.
        states: Its lines, in order.
    """

    cell: HiddenCell
    start: str
    method: str
    seed: int
    states: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One recommendation for one hidden cell.

    Args:
        cell: What was hidden.
        start: What the replay started from, a key of `STARTS`.
        method: `horizon`, `random`, `NO_RUN` or `AT_ITS_STOP`.
        seed: Seed of the replay.
        runs: Runs bought.
        learning_rate: The recommendation.
        outcome: Its score.
    """

    cell: HiddenCell
    start: str
    method: str
    seed: int
    runs: int
    learning_rate: float
    outcome: Outcome

    @property
    def regret_percent(self) -> float:
        """Regret in per cent of the hidden cell's lowest loss."""
        return 100 * self.outcome.regret / self.cell.truth["minimum"]

    @property
    def best_rate(self) -> float:
        """The hidden cell's best rate."""
        return self.cell.truth["optimum"]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many intervals held the best rate, and the 95 % range of the rate behind that count.

    The range is exact for independent cells (Clopper and Pearson, 1934, Biometrika 26(4)).
    """

    hits: int
    cells: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What a backtest found.

    Args:
        terms: How hard it was.
        cells: What was hidden, the dearest first.
        unused: One line for each cell that could not be hidden.
        remarks: What the user may not expect.
        replays: Every replay with its lines.
        scores: Every recommendation with its score.
        planned_ratios: The planned target over the largest logged run in size and in tokens.
    """

    terms: Terms
    cells: tuple[HiddenCell, ...]
    unused: tuple[str, ...]
    remarks: tuple[str, ...]
    replays: tuple[Replayed, ...]
    scores: tuple[Scored, ...]
    planned_ratios: tuple[float | None, float | None]

    def of(self, method: str, start: str | None = None) -> tuple[Scored, ...]:
        """The scores of a method, from one start or from all."""
        return tuple(
            score
            for score in self.scores
            if score.method == method and start in (None, score.start)
        )

    def coverage(self, level: int, start: str = OWN_PRIOR) -> Coverage:
        """How often the tuner's 50 or 90 % interval held the best rate."""
        outcomes = [score.outcome for score in self.of("horizon", start)]
        hits = [o.hit_50 if level == 50 else o.hit_90 for o in outcomes]
        count = sum(bool(hit) for hit in hits)
        span = binomtest(count, len(hits)).proportion_ci(0.95, method="exact")
        return Coverage(hits=count, cells=len(hits), low=float(span.low), high=float(span.high))


def backtest(
    table: Sweep,
    *,
    cells: int = 4,
    budget: float = 0.1,
    params_ratio: float | None = None,
    tokens_ratio: float | None = None,
    target_params: float | None = None,
    target_tokens: float | None = None,
    out: Path | None = None,
    jobs: int = 1,
    watch: Watch = deque(maxlen=0).extend,
) -> Backtest:
    """Hide the largest cells of a sweep in turn and score what the tuner would have said.

    Args:
        table: A path, a data frame or logged runs.
        cells: Most cells to hide.
        budget: What may be spent on each, in runs of the hidden cell.
        params_ratio: Largest run to buy, relative to the hidden size; `None` takes what the
            planned target implies (largest logged size over `target_params`), or else a half.
        tokens_ratio: The same of tokens.
        target_params: Size of the run that the user plans, a count.
        target_tokens: Its tokens, a count.
        out: File of lines that an interrupted backtest resumes from; `None` keeps nothing.
        jobs: Processes, of one thread each.
        watch: Runs the replays by exhausting an iterator of the fraction done.
    """
    with _files(table, out) as (sweep, logged, lines):
        planned = (
            _planned_ratio(target_params, "target_params", [run.params for run in logged.runs]),
            _planned_ratio(target_tokens, "target_tokens", [run.tokens for run in logged.runs]),
        )
        terms = Terms(
            cells=cells,
            budget=budget,
            params_ratio=pool_ratio(params_ratio, "params_ratio", planned[0]),
            tokens_ratio=pool_ratio(tokens_ratio, "tokens_ratio", planned[1]),
        )
        hiding = hidden_cells(sweep, logged.runs, terms)
        tasks = _tasks(hiding.cells, terms.budget)
        with one_thread():
            watch(run_replays([task for task, *_ in tasks], lines, jobs=jobs))
        replays = tuple(_replayed(tasks, read_lines(lines)))
    return Backtest(
        terms=terms,
        cells=hiding.cells,
        unused=hiding.unused,
        remarks=(*logged.remarks, *_remarks(hiding.cells)),
        replays=replays,
        scores=tuple(score for replay in replays for score in _scores(replay, terms.budget)),
        planned_ratios=planned,
    )


@contextmanager
def _files(table: Sweep, out: Path | None) -> Iterator[tuple[Path, LoggedTable, Path]]:
    """The sweep as a file that other processes can read, its runs, and the file of lines."""
    with TemporaryDirectory() as folder:
        lines = Path(folder) / "backtest.jsonl" if out is None else out
        if isinstance(table, str | PathLike):
            sweep = find_sweep(fspath(table))
        else:
            sweep = Path(folder) / "runs.csv"
            logged_table(table, repeats=True).frame.to_csv(sweep, index=False)
        yield sweep, logged_table(sweep, repeats=True), lines


def _planned_ratio(planned: float | None, name: str, logged: Sequence[float]) -> float | None:
    if planned is None:
        return None
    return positive(planned, name, InvalidSpaceError, "give a count") / max(logged)


def _tasks(cells: Sequence[HiddenCell], budget: float) -> list[tuple[Task, HiddenCell, str]]:
    """Every replay to make, with its cell and what it starts from."""
    tasks = []
    for cell in cells:
        for start, factor in STARTS.items():
            # rounded, so that another machine's last digit does not make it another replay
            center = None if factor is None else float(f"{factor * cell.truth['optimum']:.6g}")
            # a least-squares law takes no guess, so uniform runs have one start
            for method in SEEDS if factor is None else ["horizon"]:
                made = replay_tasks(
                    [cell.case],
                    [method],
                    prior_centers=[center],
                    seeds=SEEDS[method],
                    budget=budget,
                )
                tasks += [(task, cell, start) for task in made]
    return tasks


def _replayed(
    tasks: Sequence[tuple[Task, HiddenCell, str]], lines: Sequence[Mapping[str, Any]]
) -> Iterator[Replayed]:
    for task, cell, start in tasks:
        states = tuple(line for line in lines if task.key == tuple(line[name] for name in KEY))
        yield Replayed(cell=cell, start=start, method=task.method, seed=task.seed, states=states)


def _scores(replay: Replayed, budget: float) -> Iterator[Scored]:
    """Scores of one replay: at its budget, and the tuner's at its stop and before any run."""
    at: dict[str, float | str] = {replay.method: budget}
    if replay.method == "horizon":
        at |= {AT_ITS_STOP: AT_STOP, NO_RUN: 0.0}
    for method, end in at.items():
        (state,) = states_at(replay.states, end)
        yield Scored(
            cell=replay.cell,
            start=replay.start,
            method=method,
            seed=replay.seed,
            runs=state["step"],
            learning_rate=state["learning_rate"],
            outcome=outcome(state, replay.cell.case),
        )


def _remarks(cells: Sequence[HiddenCell]) -> tuple[str, ...]:
    """What the user may not expect of these cells."""
    return tuple(
        f"{cell.label}: its recipe was logged at one length, so what tokens buy there, and the "
        "overhead, rest on the tuner's prior"
        for cell in cells
        if cell.one_length
    )
