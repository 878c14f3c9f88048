"""Standings tables: what do the standings look like as Markdown?"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.ablations import ABLATIONS
from benchmarks.harness.methods import entries
from benchmarks.measurements.makespan import SLOTS
from benchmarks.report.standings import (
    FOUND,
    SHARED,
    Replay,
    Result,
    alike,
    answers,
    holm,
    paired,
    results,
    spend_until_found,
    table_row,
    together,
)
from horizon_bo.evaluation.cases import Case
from horizon_bo.evaluation.score import AT_STOP, outcome

OURS = "horizon"
#: The budget at which methods are ordered and compared in pairs, in target runs.
MAIN_BUDGET = 0.10
#: Rows of the table for people in a hurry.
_SHORT = 5

#: Experiments by the largest run's share of the target's size and of its tokens.
POOLS = {"main": "1/2", "quarter": "1/4", "eighth": "1/8"}

Cases = Mapping[str, Case]


def of(replays: Sequence[Replay], experiment: str, group: str) -> list[Replay]:
    """The replays of one experiment on one group of cases."""
    return [r for r in replays if (r.experiment, r.group) == (experiment, group)]


def methods_of(replays: Sequence[Replay]) -> list[str]:
    """The methods that were replayed, in the order met."""
    return list(dict.fromkeys(r.method for r in replays))


def complete(replays: Sequence[Replay]) -> tuple[list[Replay], list[Replay]]:
    """Replays of the methods that met every case and centre that ours met, and of the others."""
    met: dict[str, set[tuple[str, float | None]]] = {}
    for r in replays:
        if r.budget == MAIN_BUDGET:
            met.setdefault(r.method, set()).add((r.case, r.center))
    whole = {name for name, places in met.items() if places >= met[OURS]}
    return (
        [r for r in replays if r.method in whole],
        [r for r in replays if r.method not in whole],
    )


def by_method(found: Sequence[Result]) -> dict[str, list[Result]]:
    """Results of each method, in the order met."""
    held: dict[str, list[Result]] = {}
    for result in found:
        held.setdefault(result.replay.method, []).append(result)
    return held


def ordered(replays: Sequence[Replay], cases: Cases) -> list[str]:
    """Methods by mean regret at the main budget, best first."""
    at = by_method(results(replays, cases, MAIN_BUDGET))
    return sorted(at, key=lambda name: np.mean([r.outcome.regret for r in at[name]]))


def in_sample(method: str, cases: Cases, replays: Sequence[Replay]) -> bool:
    """Whether the rule was fitted to a sweep it is replayed on here."""
    entry = entries().get(method.removesuffix(SHARED))
    sweeps = {Path(cases[r.case].sweep).stem for r in replays}
    return entry is not None and bool(sweeps & set(entry.in_sample))


def regret_table(replays: Sequence[Replay], cases: Cases, budgets: Sequence[float]) -> str:
    """Mean regret in thousandths of the loss unit at each budget, a method a row, best first."""
    return _by_budget(replays, cases, list(budgets), "regret", _regret_cell)


def overhead_table(replays: Sequence[Replay], cases: Cases, budgets: Sequence[float]) -> str:
    """Mean overhead in target runs at each budget and at each method's own stop."""
    return _by_budget(replays, cases, [*budgets, AT_STOP], "overhead", _overhead_cell)


def _by_budget(
    replays: Sequence[Replay],
    cases: Cases,
    budgets: Sequence[float | str],
    quantity: str,
    cell: Callable[[Sequence[Result] | None], str],
) -> str:
    rows = {b: by_method(results(_within(replays, b), cases, b)) for b in budgets}
    heads = [f"{quantity} at {b:.3g} %" if b else "" for b in _percent(budgets)]
    heads = [head or f"{quantity} at own stop" for head in heads]
    lines = [f"| method | replays | failed | {' | '.join(heads)} |"]
    lines.append("| --- " * (len(heads) + 3) + "|")
    for names in alike(ordered(replays, cases), *map(answers, rows.values())):
        held = [r for r in replays if r.method == names[0] and r.budget == MAIN_BUDGET]
        failed = sum(r.error is not None for r in held)
        cells = [str(len(held)), str(failed), *(cell(rows[b].get(names[0])) for b in budgets)]
        lines.append(f"| {_label(names, cases, replays)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _within(replays: Sequence[Replay], budget: float | str) -> Sequence[Replay]:
    """At a method's own stop, the replays that were told the main budget."""
    if not isinstance(budget, str):
        return replays
    return [r for r in replays if r.budget == MAIN_BUDGET]


def _percent(budgets: Sequence[float | str]) -> list[float | None]:
    return [None if isinstance(b, str) else 100 * b for b in budgets]


def _label(names: Sequence[str], cases: Cases, replays: Sequence[Replay]) -> str:
    if any(in_sample(name, cases, replays) for name in names):
        return f"*{together(names)}* (in-sample)"
    return _bold(names)


def _bold(names: Sequence[str]) -> str:
    return f"**{together(names)}**" if OURS in names else together(names)


def _regret_cell(found: Sequence[Result] | None) -> str:
    if not found:
        return "–"
    row = table_row(found)
    return f"{row['regret_mean']:.1f} ({row['regret_low']:.1f} … {row['regret_high']:.1f})"


def _overhead_cell(found: Sequence[Result] | None) -> str:
    if not found:
        return "–"
    row = table_row(found)
    low, high = row["overhead_low"], row["overhead_high"]
    return f"{row['overhead']:.1%} ({low:.1%} … {high:.1%})"


def detail_table(replays: Sequence[Replay], cases: Cases, budget: float) -> str:
    """Spread, distance, calibration and cost of computing at one budget."""
    at = by_method(results(replays, cases, budget))
    lines = [
        "| method | median | p90 | worst | % of loss | saved | octaves | 90 % hits | width "
        "| interval score | claimed / realised | s per suggestion | MiB |",
        "| --- " * 13 + "|",
    ]
    zero = {_place(r): r.outcome.regret for r in at.get("zero", ())}
    for names in alike([n for n in ordered(replays, cases) if n in at], answers(at)):
        name = names[0]
        row = table_row(at[name])
        costs = [table_row(at[n]) for n in names]
        saved = [zero[_place(r)] - r.outcome.regret for r in at[name] if _place(r) in zero]
        share = np.mean([r.outcome.regret / _minimum(cases[r.outcome.case]) for r in at[name]])
        parts = [
            together(names),
            *(f"{row[f'regret_{key}']:.1f}" for key in ("median", "p90", "worst")),
            f"{share:.2%}",
            _shown(1e3 * float(np.mean(saved)) if saved else None, ".1f"),
            f"{row['octaves']:.2f}",
            _shown(row["hit_90"], ".0%"),
            _shown(row["width_90"], ".1f"),
            _shown(row["interval_score"], ".1f"),
            _shown(row["claimed_ratio"], ".1f"),
            " / ".join(f"{cost['wall_s']:.2g}" for cost in costs),
            " / ".join(f"{cost['peak_mib']:.0f}" for cost in costs),
        ]
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join(lines)


def _minimum(case: Case) -> float:
    assert case.truth is not None
    return float(case.truth["minimum"])


def _place(result: Result) -> tuple[str, float | None]:
    return result.replay.case, result.replay.center


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def found_table(replays: Sequence[Replay], cases: Cases) -> str:
    """Compute until the regret stays within a thousandth of the loss, of the longest replays."""
    longest: dict[str, float] = {}
    for replay in replays:
        longest[replay.method] = max(longest.get(replay.method, 0.0), replay.budget)
    spends: dict[str, list[float]] = {}
    for replay in replays:
        if replay.budget == longest[replay.method] and replay.states:
            spend = spend_until_found(replay, cases[replay.case])
            spends.setdefault(replay.method, []).append(spend)
    lines = [
        f"| method | budget | median spend until within {FOUND:.1%} | 75 % of replays | reached |",
        "| --- | --- | --- | --- | --- |",
    ]
    best_first = sorted(spends, key=lambda n: (np.median(spends[n]), -_reached(spends[n])))
    ends = [by_method(results(replays, cases, budget)) for budget in set(longest.values())]
    found = {name: tuple(sorted(values)) for name, values in spends.items()}
    for name, *others in alike(best_first, found, *map(answers, ends)):
        values = np.array(spends[name])
        quartile = np.sort(values)[math.ceil(0.75 * len(values)) - 1]
        cells = [_spend(np.median(values)), _spend(quartile), f"{_reached(values):.0%}"]
        label = together([name, *others])
        lines.append(f"| {label} | {longest[name]:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _reached(spends: Sequence[float] | np.ndarray) -> float:
    return float(np.isfinite(spends).mean())


def _spend(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "not within the budget"


def paired_table(replays: Sequence[Replay], cases: Cases) -> str:
    """Overhead of every method less ours at their own stops, corrected for many comparisons.

    A method that never stops is scored at the end of the main budget.
    """
    at = by_method(results(_within(replays, AT_STOP), cases, AT_STOP))
    ours = at.pop(OURS)
    rivals = {n: f for n, f in at.items() if not in_sample(n, cases, replays)}
    compared = {name: paired(_on_same(ours, found), found) for name, found in rivals.items()}
    adjusted = holm({name: p for name, (_, _, p) in compared.items()})
    lines = [
        "| method | overhead more than ours | p | p, Holm |",
        "| --- | --- | --- | --- |",
    ]
    for names in alike(sorted(compared, key=lambda name: compared[name][0]), answers(at)):
        mean, (low, high), p = compared[names[0]]
        cells = [f"{mean:+.1%} ({low:+.1%} … {high:+.1%})", f"{p:.3f}", f"{adjusted[names[0]]:.3f}"]
        lines.append(f"| {together(names)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _on_same(ours: Sequence[Result], theirs: Sequence[Result]) -> list[Result]:
    """Our results in the cases and centres where the other method has one."""
    places = {_place(result) for result in theirs}
    return [result for result in ours if _place(result) in places]


def at_pools(
    replays: Sequence[Replay], cases: Cases, group: str, budget: float
) -> dict[str, dict[str, list[Result]]]:
    """Results of each experiment on pools, of the cases that the hardest one leaves rows to buy."""
    hardest = {r.case for r in of(replays, list(POOLS)[-1], group)}
    return {
        experiment: by_method(
            results([r for r in of(replays, experiment, group) if r.case in hardest], cases, budget)
        )
        for experiment in POOLS
    }


def extrapolation_table(replays: Sequence[Replay], cases: Cases, group: str, budget: float) -> str:
    """Regret and hit rate where the largest runs are a half, a quarter, an eighth of the target."""
    at = at_pools(replays, cases, group, budget)
    shared = [name for name in at["main"] if all(name in at[e] for e in POOLS)]
    first = list(POOLS)[-1]
    shared.sort(key=lambda name: np.mean([r.outcome.regret for r in at[first][name]]))
    columns = [f"{what} at {share}" for share in POOLS.values() for what in ("regret", "hits")]
    lines = [f"| method | {' | '.join(columns)} |", "| --- " * 7 + "|"]
    for names in alike(shared, *map(answers, at.values())):
        cells = []
        for experiment in POOLS:
            found = at[experiment][names[0]]
            cells += [_regret_cell(found), _shown(table_row(found)["hit_90"], ".0%")]
        lines.append(f"| {together(names)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def worlds_table(replays: Sequence[Replay], cases: Cases, groups: Sequence[str]) -> str:
    """Mean regret at the main budget, in target runs so that loss units do not matter."""
    at = {g: by_method(results(of(replays, "main", g), cases, MAIN_BUDGET)) for g in groups}
    everywhere = [name for name in at[groups[0]] if all(name in at[group] for group in groups)]
    lines = [f"| method | {' | '.join(groups)} | mean |", "| --- " * (len(groups) + 2) + "|"]
    means = {name: [_bought_back(at[group][name]) for group in groups] for name in everywhere}
    best_first = sorted(everywhere, key=lambda name: np.mean(means[name]))
    for name, *others in alike(best_first, *map(answers, at.values())):
        values = [*means[name], float(np.mean(means[name]))]
        label = _bold([name, *others])
        lines.append(f"| {label} | {' | '.join(f'{value:.1%}' for value in values)} |")
    return "\n".join(lines)


def _bought_back(found: Sequence[Result]) -> float:
    """Compute that would buy the regret back, in target runs, on average."""
    return float(np.mean([result.outcome.overhead - result.outcome.spent for result in found]))


def parallel_table(replays: Sequence[Replay], cases: Cases, group: str) -> str:
    """Regret and time to the end of the main budget, one run at a time and many at once."""
    at = {e: _at_end(of(replays, e, group), cases) for e in ("main", "parallel")}
    lines = [
        f"| method | regret, one by one | {SLOTS} at once | time, one by one | {SLOTS} at once |",
        "| --- " * 5 + "|",
    ]
    both = [name for name in at["parallel"] if name in at["main"]]
    both.sort(key=lambda name: np.mean(at["parallel"][name][0]))
    ends = [by_method(results(of(replays, e, group), cases, MAIN_BUDGET)) for e in at]
    for name, *others in alike(both, *map(answers, ends)):
        (alone, alone_time), (at_once, at_once_time) = at["main"][name], at["parallel"][name]
        cells = [f"{1e3 * np.mean(regrets):.1f}" for regrets in (alone, at_once)]
        cells += [f"{np.mean(times):.1%}" for times in (alone_time, at_once_time)]
        lines.append(f"| {together([name, *others])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _at_end(replays: Sequence[Replay], cases: Cases) -> dict[str, tuple[list[float], list[float]]]:
    """Regrets and times at the end of the replays of the main budget, by method."""
    held: dict[str, tuple[list[float], list[float]]] = {}
    for replay in (r for r in replays if r.budget == MAIN_BUDGET and r.states):
        last = replay.states[-1]
        regrets, times = held.setdefault(replay.method, ([], []))
        regrets.append(outcome(last, cases[replay.case]).regret)
        times.append(last.get("clock", last["spent"]))
    return held


def given_list(replays: Sequence[Replay]) -> str:
    """What each rival is and was given, with the versions it ran with."""
    versions: dict[str, Mapping[str, Any]] = {}
    for replay in replays:
        for state in replay.states[:1]:
            versions[replay.method] = state["versions"]
    lines = []
    for name, entry in entries().items():
        if name in versions:
            used = ", ".join(f"{what} {which}" for what, which in versions[name].items())
            lines.append(f"- `{name}`{f' ({used})' if used else ''}: {entry.given}")
    return "\n".join(lines)


def short_table(replays: Sequence[Replay], cases: Cases) -> str:
    """For people in a hurry: ours, and the best rival of each family by the better of its scores.

    A family is the first word of a name: two ways to spread one grid are one row here.
    """
    budgets = (0.02, 0.05, MAIN_BUDGET)
    at = {b: by_method(results(replays, cases, b)) for b in budgets}
    stops = by_method(results(_within(replays, AT_STOP), cases, AT_STOP))
    lines = [
        "| method | regret at 2 % | 5 % | 10 % | overhead at its own end |",
        "| --- " * 5 + "|",
    ]
    families: set[str] = set()
    for names in alike(ordered(replays, cases), *map(answers, (*at.values(), stops))):
        family = names[0].split("-")[0].removesuffix(SHARED)
        ablated = names[0].removesuffix(SHARED) in ABLATIONS
        without = ablated or (family == OURS and OURS not in names)
        if without or family in (*families, "zero") or in_sample(names[0], cases, replays):
            continue
        families |= {name.split("-")[0] for name in names}
        cells = [f"{table_row(at[b][names[0]])['regret_mean']:.1f}" for b in budgets]
        overhead = f"{table_row(stops[names[0]])['overhead']:.1%}"
        lines.append(f"| {_bold(names)} | {' | '.join(cells)} | {overhead} |")
    return "\n".join(lines[: 2 + _SHORT])
