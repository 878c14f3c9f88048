"""Open words: who won the open race, by how much, and what is lost?

Reads the races of `open_standings`. A rule that was fitted to runs behind an emulator is shown, and
is no rival there.
"""

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.harness.methods import entries
from benchmarks.harness.open_race import OURS, named
from benchmarks.report.open_standings import (
    AT_STOP,
    BUDGETS,
    FOUND,
    Paired,
    Race,
    balanced,
    paired,
    shared,
)

#: From one group of recipes nothing can be said of others.
_FEWEST_GROUPS = 2


def fitted_here(method: str, races: Sequence[Race]) -> bool:
    """Whether a published rule was fitted to the runs behind one of the emulators."""
    entry = entries().get(named(method)[0])
    return entry is not None and bool({race.group for race in races} & set(entry.in_sample))


def means(races: Sequence[Race], at: float | str = AT_STOP) -> dict[str, float]:
    """Mean overhead of each method, groups and their targets counting alike, lowest first."""
    races = shared(races)
    held = {}
    for method in sorted({race.method for race in races}):
        own = [race for race in races if race.method == method]
        held[method] = balanced([r.world for r in own], np.array([r.overhead(at) for r in own]))
    return dict(sorted(held.items(), key=lambda item: item[1]))


def rivals(races: Sequence[Race]) -> list[str]:
    """Methods that ours is compared with, lowest overhead first."""
    return [name for name in means(races) if name != OURS and not fitted_here(name, races)]


def against(races: Sequence[Race], other: str, at: float | str = AT_STOP) -> Paired:
    """Ours beside another method, by overhead."""
    return paired(shared(races), OURS, other, lambda race: race.overhead(at))


def verdict(races: Sequence[Race]) -> str:
    """Whether ours has the lowest overhead at its own end, and how sure that is."""
    found, others = means(races), rivals(races)
    best = others[0]
    gap = against(races, best)
    low, high = (100 * end for end in gap.interval)
    first = found[OURS] < found[best]
    sure = high < 0 if first else low > 0
    targets = len({race.case for race in shared(races)})
    groups = len({race.group for race in races})
    head = (
        f"ours has the lowest mean overhead at its own end, {found[OURS]:.1%} of a target run; "
        f"second is `{best}` with {found[best]:.1%}"
        if first
        else f"ours is not the lowest: `{best}` has a mean overhead of {found[best]:.1%} of a "
        f"target run at its own end, ours {found[OURS]:.1%}"
    )
    claim = "excludes zero" if sure else "does not exclude zero, so nobody is shown to be ahead"
    if groups < _FEWEST_GROUPS:
        claim = "is of a single group of recipes, so nothing is shown"
    return (
        f"Over {gap.worlds} worlds of {targets} targets in {groups} groups of recipes {head}. "
        f"Ours less that one: {100 * gap.difference:+.1f} points; the 95 % interval, {low:+.1f} … "
        f"{high:+.1f}, {claim}."
    )


def found_sentence(races: Sequence[Race]) -> str:
    """Spend until the regret stays small, ours beside the best rival that gets there as often."""
    races = shared(races)
    own_share, own_median = _found(races, OURS)
    theirs = {name: _found(races, name) for name in rivals(races)}
    often = {name: median for name, (share, median) in theirs.items() if share >= own_share}
    said = (
        f"Regret stays below {FOUND:.1%} of the loss in {own_share:.0%} of our races, from a "
        f"median spend of {_spend(own_median)} on (races that never get there count as endless)."
    )
    if not often:
        top = max(theirs, key=lambda name: theirs[name][0])
        return f"{said} No rival gets there as often; `{top}` does in {theirs[top][0]:.0%}."
    best = min(often, key=lambda name: often[name])
    return f"{said} The best rival that gets there as often is `{best}`: {_spend(often[best])}."


def _found(races: Sequence[Race], method: str) -> tuple[float, float]:
    spends = [race.found_at() for race in races if race.method == method]
    return float(np.mean(np.isfinite(spends))), float(np.median(spends))


def _spend(share: float) -> str:
    return f"{share:.2%} of a target run" if math.isfinite(share) else "none"


def losses(races: Sequence[Race]) -> str:
    """A line for each rival that has the lower mean overhead at some budget, and where that is."""
    races = shared(races)
    lines = []
    for other in rivals(races):
        at = {str(b): against(races, other, b) for b in (*BUDGETS, AT_STOP)}
        lost = {name: f for name, f in at.items() if f.difference > 0}
        if lost:
            said = ", ".join(
                f"{_budget(name)} {100 * f.difference:+.1f} ({100 * f.interval[0]:+.1f} … "
                f"{100 * f.interval[1]:+.1f})"
                for name, f in lost.items()
            )
            lines.append(f"- `{other}`: {said}")
    return "\n".join(lines) or "None: at no budget has a rival the lower mean overhead."


def _budget(name: str) -> str:
    return "own end" if name == AT_STOP else f"at {float(name):.1%}"


def by_recipe(races: Sequence[Race]) -> str:
    """Ours beside the best rival of each group of recipes, chosen in hindsight."""
    lines = ["| recipes | worlds | ours | best rival there | its overhead |", "|---" * 5 + "|"]
    for group in sorted({race.group for race in races}):
        own = [race for race in races if race.group == group]
        found, others = means(own), rivals(own)
        worlds = len({race.world for race in shared(own)})
        lines.append(
            f"| {group} | {worlds} | {found[OURS]:.1%} | {others[0]} | {found[others[0]]:.1%} |"
        )
    return "\n".join(lines)
