"""Standings: who finds the target's rate with least compute, and how sure is that?

Reads the lines that `bench` wrote. Every method is scored twice: by its own recommendation, and by
the shared read-out (a least-squares law) on its runs, under its name with `+ law`. The score at a
budget is that of the replay that was told this budget, or of the next larger one where there is
none. A replay that failed counts with the last thing it said. A method that makes no use of the
prior centre was replayed once and counts under each; where it had only a guess before its first
run, that is the centre.
"""

import gzip
import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from horizon_bo.evaluation.cases import Case
from horizon_bo.evaluation.score import Outcome, group_of, outcome, state_at, summarised

Line = Mapping[str, Any]

#: What counts as found: a loss this share above the best one at the target.
FOUND = 1e-3
SHARED = " + law"
_RESAMPLES = 4_000
_LEVEL = 0.90
#: Digits of a regret (nats) and of a spend (target runs) that tell two answers apart: a hundredth
#: of what the tables print, so that one set of runs read in another order is the same.
_REGRET_DIGITS, _SPEND_DIGITS = 6, 4


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The states of one replay, in order; `budget` in target runs."""

    experiment: str
    method: str
    case: str
    center: float | None
    seed: int
    budget: float
    states: tuple[Line, ...]
    error: str | None = None

    @property
    def group(self) -> str:
        """Kind of case: `same`, `any`, `own-size` or a synthetic one."""
        return group_of(self.case)


def load(folder: Path) -> list[Replay]:
    """The finished replays of a folder of `bench`, or of one that holds it packed.

    Packed, the files of `EXPERIMENT-BUDGET/` are one `EXPERIMENT-BUDGET.jsonl.gz`.
    """
    held: dict[tuple[Any, ...], list[Line]] = {}
    plain = [(file.parent.name, file.read_text()) for file in sorted(folder.glob("*/*.jsonl"))]
    packed = [
        (file.name.removesuffix(".jsonl.gz"), gzip.decompress(file.read_bytes()).decode())
        for file in sorted(folder.glob("*.jsonl.gz"))
    ]
    for name, text in [*plain, *packed]:
        experiment = name.rsplit("-", 1)[0]
        for line in map(json.loads, text.splitlines()):
            key = (experiment, line["method"], line["case"], line["prior_center"])
            held.setdefault((*key, line["seed"], line["budget"]), []).append(line)
    replays = []
    for key, lines in held.items():
        if any(line.get("final") for line in lines):
            states = tuple(line for line in lines if "error" not in line)
            error = next((line["error"] for line in lines if "error" in line), None)
            names = ("experiment", "method", "case", "center", "seed", "budget")
            replays.append(Replay(**dict(zip(names, key, strict=True)), states=states, error=error))
    return replays


def twice(replays: Iterable[Replay]) -> Iterator[Replay]:
    """Each replay as it was and, if it made a run, as the shared read-out would have answered."""
    for replay in replays:
        yield replay
        if len(replay.states) < 2:
            continue
        read = tuple(
            {
                **state,
                "learning_rate": state["readout"],
                **dict.fromkeys(("interval_50", "interval_90", "expected_regret")),
                "stop": False,
            }
            for state in replay.states
        )
        yield _changed(replay, method=replay.method + SHARED, states=read)


def at_centers(replays: Iterable[Replay]) -> Iterator[Replay]:
    """Replays without a prior centre, once for each centre that others started from."""
    given = list(replays)
    centers: dict[str, set[float]] = {}
    for replay in given:
        if replay.center is not None:
            centers.setdefault(replay.case, set()).add(replay.center)
    for replay in given:
        if replay.center is not None:
            yield replay
            continue
        for center in sorted(centers.get(replay.case, ())):
            states = tuple(
                {**state, "learning_rate": center}
                if state["step"] == 0 and state["learning_rate"] == state["guess"]
                else state
                for state in replay.states
            )
            yield _changed(replay, center=center, states=states)


def _changed(replay: Replay, **values: Any) -> Replay:
    return Replay(**{**vars(replay), **values})


@dataclass(frozen=True, kw_only=True)
class Result:
    """One replay at one budget."""

    replay: Replay
    outcome: Outcome


def results(
    replays: Sequence[Replay], cases: Mapping[str, Case], budget: float | str
) -> list[Result]:
    """The state of each replay at a budget, from the replay that was told the nearest one above."""
    best: dict[tuple[Any, ...], Replay] = {}
    for replay in replays:
        if not isinstance(budget, str) and replay.budget < budget - 1e-9:
            continue
        key = (replay.method, replay.case, replay.center, replay.seed)
        if key not in best or _fits_better(replay, best[key], budget):
            best[key] = replay
    found = []
    for replay in best.values():
        state = _state(replay, budget)
        found.append(Result(replay=replay, outcome=outcome(state, cases[replay.case])))
    return found


def _fits_better(replay: Replay, other: Replay, budget: float | str) -> bool:
    """The smaller budget; at a method's own stop the larger one, which leaves it the choice."""
    return replay.budget > other.budget if isinstance(budget, str) else replay.budget < other.budget


def _state(replay: Replay, budget: float | str) -> Line:
    if not replay.states:  # it failed before it said anything, so its guess stands
        return {
            "target_params": math.nan,
            "target_tokens": math.nan,
            "spent": 0.0,
            "learning_rate": replay.center,
            **dict.fromkeys(("interval_50", "interval_90", "expected_regret")),
        }
    return state_at(replay.states, budget)


def answers(at: Mapping[str, Sequence[Result]]) -> dict[str, Hashable]:
    """What each method lost and spent in every replay, as far as tables can show it."""
    return {name: frozenset(map(_answer, found)) for name, found in at.items()}


def _answer(result: Result) -> Hashable:
    replay, reached = result.replay, result.outcome
    place = (replay.case, replay.center, replay.seed, replay.error is None)
    lost, spent = round(reached.regret, _REGRET_DIGITS), round(reached.spent, _SPEND_DIGITS)
    return *place, lost, spent, reached.hit_90


def alike(names: Sequence[str], *told: Mapping[str, Hashable]) -> list[list[str]]:
    """Methods of which everything told is equal stand together, in the order given."""
    held: dict[Hashable, list[str]] = {}
    for name in names:
        held.setdefault(tuple(of_name.get(name) for of_name in told), []).append(name)
    return list(held.values())


def together(names: Sequence[str]) -> str:
    """One label for several methods; a read-out that they share is named once."""
    if all(name.endswith(SHARED) for name in names):
        return ", ".join(name.removesuffix(SHARED) for name in names) + SHARED
    return ", ".join(names)


def table_row(found: Sequence[Result]) -> dict[str, Any]:
    """Means over replays, with intervals from resampling (size, length) cells."""
    outcomes = [result.outcome for result in found]
    regret_low, regret_high = by_cell(outcomes, [1e3 * o.regret for o in outcomes])
    over_low, over_high = by_cell(outcomes, [o.overhead for o in outcomes])
    suggested = [wall for r in found for wall in later_suggestions(r.replay)]
    return {
        **summarised(outcomes),
        "regret_low": regret_low,
        "regret_high": regret_high,
        "overhead_low": over_low,
        "overhead_high": over_high,
        "wall_s": float(np.median(suggested)) if suggested else 0.0,
        "peak_mib": max((s["peak_mib"] for r in found for s in r.replay.states), default=0),
        "failed": sum(result.replay.error is not None for result in found),
    }


def later_suggestions(replay: Replay) -> list[float]:
    """Wall seconds of the suggestions in the second half of a replay.

    Many rivals start with runs that no model chose, and those cost nothing.
    """
    walls = [state["wall_s"] for state in replay.states if not state.get("final")]
    return walls[len(walls) // 2 :]


def by_cell(outcomes: Sequence[Outcome], values: Sequence[float]) -> tuple[float, float]:
    """Ends of the 90 % bootstrap interval of a mean, whole cells resampled."""
    cells = sorted({o.cell for o in outcomes})
    of_cell = [[v for o, v in zip(outcomes, values, strict=True) if o.cell == c] for c in cells]
    sums, counts = np.array([sum(v) for v in of_cell]), np.array([len(v) for v in of_cell])
    drawn = np.random.default_rng(0).integers(len(cells), size=(_RESAMPLES, len(cells)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def spend_until_found(replay: Replay, case: Case) -> float:
    """Spend, in target runs, from which the regret stays within `FOUND` of the loss; else inf."""
    truth = case.truth
    assert truth is not None
    within = [outcome(s, case).regret <= FOUND * truth["minimum"] for s in replay.states]
    last_miss = max((k for k, good in enumerate(within) if not good), default=-1)
    found = last_miss + 1
    return float(replay.states[found]["spent"]) if found < len(replay.states) else math.inf


def paired(
    ours: Sequence[Result], theirs: Sequence[Result]
) -> tuple[float, tuple[float, float], float]:
    """Mean difference in overhead (theirs − ours), its interval by cell, and a Wilcoxon p-value.

    Differences are averaged over centres and seeds first, so that a case counts once.
    """
    own = _by_case(ours)
    other = _by_case(theirs)
    shared = sorted(own.keys() & other.keys())
    differences = np.array([other[name] - own[name] for name in shared])
    cells = {r.outcome.case: r.outcome for r in ours}
    interval = by_cell([cells[name] for name in shared], differences.tolist())
    p_value = float(wilcoxon(differences).pvalue) if np.any(differences) else 1.0
    return float(differences.mean()), interval, p_value


def _by_case(found: Sequence[Result]) -> dict[str, float]:
    held: dict[str, list[float]] = {}
    for result in found:
        held.setdefault(result.outcome.case, []).append(result.outcome.overhead)
    return {name: float(np.mean(values)) for name, values in held.items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values of many comparisons (Holm, 1979)."""
    adjusted, worst = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = worst
    return adjusted
