"""Paradigms: which one names the better rate for the same compute, and where does each fail?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.problems.paradigm_runs import PROXY_SEEDS, Sizes, Stack, Target, targets
from benchmarks.problems.trained import smoothed
from benchmarks.report.open_standings import balanced, layered
from benchmarks.rivals.paradigms import PARADIGMS, Lines

Array = NDArray[np.float64]
_PARAMETRIZATIONS = ("standard", "mup")
#: Places a curve is read at, per octave.
_FINE = 50
#: Regret above which an answer has failed, nats per token.
_FAILED = 0.010


@dataclass(frozen=True)
class Truth:
    """A target's own grid: the curve through it, its best rate, its lowest loss, and its noise.

    Args:
        at: log₂ of rates, finely.
        losses: Smoothed mean over seeds there, nats per token.
        noise: Standard deviation between seeds at the three lowest rates.
    """

    at: Array
    losses: Array
    noise: float

    @property
    def optimum(self) -> float:
        """log₂ of the best rate."""
        return float(self.at[self.losses.argmin()])

    def regret(self, log2_rate: float) -> float:
        """Loss there above the lowest; a rate outside the grid is read at its end."""
        return float(np.interp(log2_rate, self.at, self.losses) - self.losses.min())


@dataclass(frozen=True)
class Score:
    """One paradigm's answer for a target from one seed's runs."""

    paradigm: str
    target: Target
    seed: int
    regret: float
    octaves: float
    behind: float
    share: float

    @property
    def world(self) -> tuple[str, str, int]:
        """What means are taken over."""
        return self.target.family, self.target.name, self.seed


def truth(lines: Lines, stack: Stack) -> Truth:
    """The curve of a target's grid; rates at which any seed diverged are left out."""
    (rows,) = lines[stack.name]["losses"].values()
    kept = [
        (rate, row) for rate, row in zip(stack.log2_rates, rows, strict=True) if None not in row
    ]
    rates = np.array([rate for rate, _ in kept])
    losses = np.array([row for _, row in kept])
    at = np.linspace(rates[0], rates[-1], round(_FINE * (rates[-1] - rates[0])) + 1)
    near = np.argsort(losses.mean(1))[:3]
    noise = math.sqrt(float(losses[near].var(axis=1, ddof=1).mean()))
    return Truth(at, smoothed(rates, losses.mean(1), at), noise)


def whole(target: Target, lines: Lines) -> bool:
    """Whether all that a target needs has been trained."""
    truths = [target.truth(name) for name in _PARAMETRIZATIONS]
    return all(stack.name in lines for stack in (*truths, target.proxy, *target.ladder))


def scored(lines: Lines, sizes: Sizes) -> list[Score]:
    """Every paradigm on every target that is whole, from each seed's runs."""
    found = []
    for target in (target for target in targets(sizes) if whole(target, lines)):
        truths = {name: truth(lines, target.truth(name)) for name in _PARAMETRIZATIONS}
        lowest = min(own.losses.min() for own in truths.values())
        price = target.truth("standard").flops((target.steps,))
        for name, paradigm in PARADIGMS.items():
            for seed in range(len(PROXY_SEEDS)):
                answer = paradigm(target, seed, lines)
                own = truths[answer.parametrization]
                regret = own.regret(answer.log2_rate)
                octaves = answer.log2_rate - own.optimum
                behind = regret + own.losses.min() - lowest
                found.append(
                    Score(name, target, seed, regret, octaves, behind, answer.flops / price)
                )
    return found


def _of(scores: Sequence[Score], paradigm: str, target: Target | None = None) -> list[Score]:
    return [s for s in scores if s.paradigm == paradigm and target in (None, s.target)]


def _mean(scores: Sequence[Score], value: str) -> float:
    return balanced([s.world for s in scores], np.array([getattr(s, value) for s in scores]))


def _interval(scores: Sequence[Score], value: str) -> tuple[float, float]:
    return layered([s.world for s in scores], np.array([getattr(s, value) for s in scores]))


def standings(scores: Sequence[Score]) -> str:
    """Mean regret of each paradigm at each target and over all."""
    met = sorted({s.target for s in scores}, key=targets(scores[0].target.sizes).index)
    head = ["paradigm", "compute", *(t.name for t in met), "all", "behind the best of both"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in PARADIGMS:
        own = _of(scores, name)
        shares = [100 * s.share for s in own]
        cells = [_cell(_of(own, name, target)) for target in met]
        low, high = (1000 * end for end in _interval(own, "regret"))
        cells.append(f"{1000 * _mean(own, 'regret'):.0f} ({low:.0f} … {high:.0f})")
        cells.append(f"{1000 * _mean(own, 'behind'):.0f}")
        lines.append(f"| {name} | {min(shares):.0f}–{max(shares):.0f} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(scores: Sequence[Score]) -> str:
    """Regret over seeds with its lowest and highest, and how far the rate is off."""
    regrets = [1000 * s.regret for s in scores]
    off = np.mean([s.octaves for s in scores])
    return f"{np.mean(regrets):.0f} ({min(regrets):.0f} … {max(regrets):.0f}), {off:+.1f}"


def targets_table(lines: Lines, sizes: Sizes) -> str:
    """What each target is under both parametrizations."""
    head = ["target", "best rate, standard", "its loss", "best rate, µP", "its loss", "seed noise"]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for target in (target for target in targets(sizes) if whole(target, lines)):
        found = [truth(lines, target.truth(name)) for name in _PARAMETRIZATIONS]
        cells = [cell for t in found for cell in (f"2^{t.optimum:.1f}", f"{t.losses.min():.3f}")]
        noise = " and ".join(f"{1000 * t.noise:.0f}" for t in found)
        rows.append(f"| {target.name} | {' | '.join(cells)} | {noise} mnat |")
    return "\n".join(rows)


def words(scores: Sequence[Score]) -> str:
    """Fitting against transfer, paired by target and seed, and where each fails."""
    names = list(PARADIGMS)
    one, others = names[0], [name for name in names if name.startswith("transfer")]
    other = min(others, key=lambda name: _mean(_of(scores, name), "regret"))
    pairs = list(zip(_of(scores, one), _of(scores, other), strict=True))
    gaps = np.array([a.regret - b.regret for a, b in pairs])
    worlds = [a.world for a, _ in pairs]
    low, high = (1000 * end for end in layered(worlds, gaps))
    said = [
        f"{len({s.target for s in scores})} targets, {len(PROXY_SEEDS)} seeds. `{one}` loses "
        f"{1000 * _mean(_of(scores, one), 'regret'):.0f} mnat, the best of transfer, `{other}`, "
        f"{1000 * _mean(_of(scores, other), 'regret'):.0f}: {1000 * balanced(worlds, gaps):+.0f} "
        f"({low:+.0f} … {high:+.0f}) between them, in favour of "
        f"{'neither for certain' if low * high <= 0 else one if high < 0 else other}."
    ]
    return " ".join((*said, *(_failure(_of(scores, name)) for name in names)))


def _failure(scores: Sequence[Score]) -> str:
    """Where a paradigm loses most, and in which direction its rate is off."""
    met = {s.target for s in scores}
    mean = {t: float(np.mean([s.regret for s in scores if s.target == t])) for t in met}
    worst = max(mean, key=mean.__getitem__)
    failed = sum(s.regret > _FAILED for s in scores)
    off = float(np.mean([s.octaves for s in scores if s.target == worst]))
    head = f"`{scores[0].paradigm}` loses more than {1000 * _FAILED:.0f} mnat"
    if not failed:
        return f"{head} nowhere."
    return (
        f"{head} in {failed} of {len(scores)}, most at {worst.name}: "
        f"{1000 * mean[worst]:.0f} mnat, {abs(off):.1f} octaves too {'high' if off > 0 else 'low'}."
    )


def table(lines: Lines, sizes: Sizes) -> str:
    """All that is shown."""
    scores = scored(lines, sizes)
    if not scores:
        return "No target has been trained with all its proxies yet."
    return "\n\n".join((words(scores), standings(scores), targets_table(lines, sizes)))
