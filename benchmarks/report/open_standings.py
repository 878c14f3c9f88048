"""Open standings: who is ahead where anything may be run, and how sure is that?

Reads the lines of `open_race`. Races are paired by target and seed: every method met the same
world, guess and noise. Targets of one group of recipes are not independent, nor are seeds of one
target, so means are bootstrapped in layers: groups, then targets of each, then seeds of each.
"""

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr, studentized_range

from benchmarks.report.standings import alike, together
from horizon_bo.evaluation.score import AT_STOP, state_at

Line = Mapping[str, Any]
FloatArray = NDArray[np.float64]

#: Where races are read, in target runs, beside their own end.
BUDGETS = (0.002, 0.01, 0.02, 0.05, 0.10)
#: A race is won for good once its regret stays below this share of the loss.
FOUND = 1e-3
_RESAMPLES, _LEVEL = 4_000, 0.95


@dataclass(frozen=True)
class Race:
    """One finished race."""

    method: str
    group: str
    case: str
    seed: int
    states: tuple[Line, ...]
    error: str | None

    @property
    def world(self) -> tuple[str, str, int]:
        """What it is paired by."""
        return self.group, self.case, self.seed

    def overhead(self, budget: float | str) -> float:
        """Spend plus what would buy the regret back, in target runs, as things stood then."""
        return float(state_at(self.states, budget)["overhead"])

    def found_at(self) -> float:
        """Spend from which on the regret stays small, in target runs; infinite if never."""
        good = [state["regret"] < FOUND * state["minimum"] for state in self.states]
        first = len(good) - next((k for k, g in enumerate(reversed(good)) if not g), len(good))
        return float(self.states[first]["spent"]) if first < len(good) else math.inf


def load(packed: Path) -> list[Race]:
    """The finished races of packed lines; one that failed ends with the last thing it said."""
    held: dict[tuple[str, str, str, int], list[Line]] = defaultdict(list)
    for line in map(json.loads, gzip.decompress(packed.read_bytes()).decode().splitlines()):
        held[(line["method"], line["group"], line["case"], line["seed"])].append(line)
    races = []
    for key, lines in held.items():
        states = tuple(line for line in lines if "error" not in line)
        error = next((line["error"] for line in lines if "error" in line), None)
        if states and lines[-1].get("final"):
            races.append(Race(*key, states, error))
    return races


def shared(races: Sequence[Race]) -> list[Race]:
    """The races of the worlds that every method has met."""
    methods = {race.method for race in races}
    met: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for race in races:
        met[race.world].add(race.method)
    return [race for race in races if met[race.world] == methods]


def _nested(
    worlds: Sequence[tuple[str, str, int]], values: FloatArray
) -> Mapping[str, Mapping[str, list[float]]]:
    """Values by group, then by target; a value a seed."""
    tree: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (group, case, _), value in zip(worlds, values, strict=True):
        tree[group][case].append(float(value))
    return tree


def layered(worlds: Sequence[tuple[str, str, int]], values: FloatArray) -> tuple[float, float]:
    """Ends of the 95 % interval of a mean over worlds: groups, targets and seeds resampled.

    Every group counts alike, and every target of a group.
    """
    groups = [list(map(np.array, cases.values())) for cases in _nested(worlds, values).values()]
    generator = np.random.default_rng(0)
    seeds = lambda own, n: own[generator.integers(len(own), size=(n, len(own)))].mean(1)  # noqa: E731
    targets = lambda own, n: _resampled(own, seeds, n, generator)  # noqa: E731
    means = _resampled(groups, targets, _RESAMPLES, generator)
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _resampled(
    of: Sequence[Any],
    mean: Callable[[Any, int], FloatArray],
    times: int,
    generator: np.random.Generator,
) -> FloatArray:
    """So many means over members drawn with replacement, each drawn afresh within by `mean`."""
    found = np.empty((times, len(of)))
    drawn = generator.integers(len(of), size=found.shape)
    for k, member in enumerate(of):
        found[drawn == k] = mean(member, int((drawn == k).sum()))
    return found.mean(1)


def balanced(worlds: Sequence[tuple[str, str, int]], values: FloatArray) -> float:
    """Mean over worlds in which groups count alike, and targets of a group."""
    tree = _nested(worlds, values)
    return float(
        np.mean([np.mean([np.mean(seeds) for seeds in cases.values()]) for cases in tree.values()])
    )


@dataclass(frozen=True)
class Paired:
    """One method less another over the worlds that both met."""

    difference: float
    interval: tuple[float, float]
    ahead: float
    ahead_interval: tuple[float, float]
    worlds: int


def paired(races: Sequence[Race], one: str, other: str, score: Callable[[Race], float]) -> Paired:
    """How far one method's score lies below another's, and how often it does; ties count half."""
    of = {(race.method, race.world): score(race) for race in races}
    worlds = sorted(w for m, w in of if m == one and (other, w) in of)
    gap = np.array([of[one, world] - of[other, world] for world in worlds])
    ahead = np.where(gap < 0, 1.0, np.where(gap == 0, 0.5, 0.0))
    return Paired(
        balanced(worlds, gap),
        layered(worlds, gap),
        balanced(worlds, ahead),
        layered(worlds, ahead),
        len(worlds),
    )


def mean_ranks(races: Sequence[Race], score: Callable[[Race], float]) -> dict[str, float]:
    """Rank of each method within a target by its mean over seeds, averaged over targets."""
    methods = sorted({race.method for race in races})
    by_case: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for race in shared(races):
        by_case[race.case][race.method].append(score(race))
    rows = [[float(np.mean(found[m])) for m in methods] for found in by_case.values()]
    ranks = rankdata(np.array(rows), axis=1).mean(0)
    return dict(sorted(zip(methods, map(float, ranks), strict=True), key=lambda item: item[1]))


def critical_difference(methods: int, targets: int) -> float:
    """Mean ranks further apart than this differ at the 5 % level.

    Source: Demšar (2006), JMLR 7, section 3.2.2 (Nemenyi's test).
    """
    quantile = float(studentized_range.ppf(_LEVEL, methods, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * targets))


def agreement(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[float, int]:
    """Rank correlation of two orders of the methods that both have, and their number."""
    both = sorted(set(ours) & set(theirs))
    if len(both) < 3:
        return math.nan, len(both)
    found = spearmanr([ours[m] for m in both], [theirs[m] for m in both])
    return float(found.statistic), len(both)  # type: ignore[attr-defined]  # scipy has no stubs


def table(races: Sequence[Race]) -> str:
    """Overhead of each method at budgets and at its end; methods that did alike share a row."""
    races = shared(races)
    columns: list[float | str] = [*BUDGETS, AT_STOP]
    names = list(mean_ranks(races, lambda race: race.overhead(AT_STOP)))
    rows = {name: _cells([r for r in races if r.method == name], columns) for name in names}
    head = ["method", *(f"{b:.1%}" for b in BUDGETS), "own end (95 %)", "spent", "found", "failed"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    held = [f"| {together(some)} | {' | '.join(rows[some[0]])} |" for some in alike(names, rows)]
    return "\n".join([*lines, *held])


def _cells(races: Sequence[Race], columns: Sequence[float | str]) -> tuple[str, ...]:
    worlds = [race.world for race in races]
    shown = []
    for column in columns:
        values = np.array([race.overhead(column) for race in races])
        mean = f"{100 * balanced(worlds, values):.1f}"
        if column == AT_STOP:
            low, high = layered(worlds, values)
            mean += f" ({100 * low:.1f} … {100 * high:.1f})"
        shown.append(mean)
    spent = balanced(worlds, np.array([race.states[-1]["spent"] for race in races]))
    found = np.mean([math.isfinite(race.found_at()) for race in races])
    failed = sum(race.error is not None for race in races)
    return (*shown, f"{spent:.1%}", f"{found:.0%}", f"{failed}")


def ahead_table(races: Sequence[Race], one: str) -> str:
    """How likely a method is ahead of each other one at each budget."""
    others = [name for name in mean_ranks(races, lambda r: r.overhead(AT_STOP)) if name != one]
    columns: list[float | str] = [*BUDGETS, AT_STOP]
    head = [f"{one} against", *(f"{b:.1%}" for b in BUDGETS), "own end", "overhead less (95 %)"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for other in others:
        found = [paired(races, one, other, lambda r, c=c: r.overhead(c)) for c in columns]
        low, high = found[-1].interval
        gap = f"{100 * found[-1].difference:+.1f} ({100 * low:+.1f} … {100 * high:+.1f})"
        lines.append(f"| {other} | {' | '.join(f'{f.ahead:.0%}' for f in found)} | {gap} |")
    return "\n".join(lines)


def draw_ranks(ranks: Mapping[str, float], targets: int, path: Path) -> None:
    """The critical-difference figure: mean ranks, and bars over methods not told apart."""
    import matplotlib.pyplot as plt

    names = sorted(ranks, key=lambda name: ranks[name])
    values = [ranks[name] for name in names]
    apart = critical_difference(len(names), targets)
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(names) + 1.2))
    axes.plot(values, range(len(names)), "o", color="black")
    for k, name in enumerate(names):
        axes.annotate(name, (values[k], k), xytext=(6, -3), textcoords="offset points", fontsize=8)
    for level, (first, last) in enumerate(groups_alike(values, apart)):
        place = -1 - 0.5 * level
        axes.plot([values[first], values[last]], [place, place], lw=3, color="grey")
    axes.set_xlabel(f"mean rank over {targets} targets, 1 is best; bars join what differs by "
                    f"less than {apart:.1f}", fontsize=8)  # fmt: skip
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.margins(x=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def groups_alike(values: Sequence[float], apart: float) -> Iterable[tuple[int, int]]:
    """Longest stretches of ascending values whose ends are no further apart, two or more each."""
    ends = -1
    for first in range(len(values)):
        last = max(k for k in range(len(values)) if values[k] <= values[first] + apart)
        if last > first and last > ends:
            ends = last
            yield first, last
