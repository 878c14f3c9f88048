"""Score: how good were the recommendations of replays against the smoothed truth?

The score at a budget is that of the last state that spent no more. Regret is read off the case's
frozen excess-loss curve, interpolated in ln LR, the recommendation clamped to its grid. Replays on
one (size, length) cell are not independent, so uncertainty comes from resampling cells.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from horizon_bo.errors import InvalidTableError
from horizon_bo.evaluation.cases import Case

#: Budgets to report, in target runs; those beyond what was replayed are left out.
BUDGETS = (0.0, 0.01, 0.02, 0.05, 0.10, 0.25, 0.50, 1.0)

#: The state at which the method first advised to stop, or the last one where it never did.
AT_STOP = "stop"

ALL_CENTERS = "all"
ALL_GROUPS = "all"

_LEVEL = 0.90
_RESAMPLES = 10_000
#: Two-sided level of the interval that is reported for the hit rate.
_SIGNIFICANCE = 0.01
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One state of a replay against the truth.

    Args:
        case: Name of the case.
        cell: The target's size and length.
        spent: Compute spent, in target runs.
        regret: Excess loss of the recommendation, in loss units.
        overhead: Spend plus the compute that would buy the regret back, in target runs.
        octaves: Distance of the recommendation from the optimum, in factors of two.
        hit_50: Whether the 50 % interval holds the optimum; `None` where none was claimed.
        hit_90: The same of the 90 % interval.
        width: Width of the 90 % interval, in octaves.
        interval_score: Winkler score of the 90 % interval, in octaves; lower is better.
        claimed: Expected regret, in loss units.
    """

    case: str
    cell: tuple[float, float]
    spent: float
    regret: float
    overhead: float
    octaves: float
    hit_50: bool | None
    hit_90: bool | None
    width: float | None
    interval_score: float | None
    claimed: float | None


def group_of(case_name: str) -> str:
    """The part of a case's name before its sizes: `own-size` of `own-size-268M-80B-b256`."""
    found = re.match(r"(.+?)-\d", case_name)
    return found.group(1) if found else case_name


def outcome(line: Mapping[str, Any], case: Case) -> Outcome:
    """Score one state."""
    truth = case.truth
    if truth is None:
        raise InvalidTableError(
            f"case {case.name} has no truth, expected a curve of excess loss; add it to the cases"
        )
    log_rates = np.log(truth["learning_rate"])
    regret = float(np.interp(math.log(line["learning_rate"]), log_rates, truth["excess"]))
    best = truth["optimum"]
    interval = line["interval_90"]
    return Outcome(
        case=case.name,
        cell=(line["target_params"], line["target_tokens"]),
        spent=line["spent"],
        regret=regret,
        overhead=line["spent"] + regret / truth["loss_per_log_tokens"],
        octaves=abs(math.log2(line["learning_rate"] / best)),
        hit_50=_holds(line["interval_50"], best),
        hit_90=_holds(interval, best),
        width=math.log2(interval[1] / interval[0]) if interval else None,
        interval_score=winkler(interval, best, _LEVEL) if interval else None,
        claimed=line["expected_regret"],
    )


def winkler(interval: Sequence[float], truth: float, level: float) -> float:
    """Score of an interval in octaves: its width, plus 2/(1 − level) times what it misses by.

    Source: Gneiting and Raftery (2007), JASA 102(477), equation 43.
    """
    low, high, at = (math.log2(value) for value in (*interval, truth))
    return high - low + 2 / (1 - level) * max(low - at, at - high, 0.0)


def finished(lines: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], int]:
    """The lines of replays that came to their end, and how many replays did not.

    A replay that was cut short would be scored at budgets it never reached. Where no line says
    `final`, whoever wrote the file is taken to have finished.
    """
    ended = {_replay_of(line) for line in lines if line.get("final", "final" not in line)}
    if not ended:
        raise InvalidTableError(
            f"0 finished replays in {len(lines)} lines, expected some; replay again to finish"
        )
    kept = [line for line in lines if _replay_of(line) in ended]
    return kept, len({_replay_of(line) for line in lines}) - len(ended)


def states_at(lines: Iterable[Mapping[str, Any]], budget: float | str) -> list[Mapping[str, Any]]:
    """Of each replay the last state within the budget, or the one at which it advised to stop."""
    replays: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for line in lines:
        replays.setdefault(_replay_of(line), []).append(line)
    return [
        state_at(sorted(states, key=lambda line: line["step"]), budget)
        for states in replays.values()
    ]


def state_at(states: Sequence[Mapping[str, Any]], budget: float | str) -> Mapping[str, Any]:
    """Of one replay's states in order, the last within the budget, or the one that said stop."""
    if isinstance(budget, str):
        return next((state for state in states if state.get("stop")), states[-1])
    return [state for state in states if state["spent"] <= budget + _ROUNDING][-1]


def score_rows(lines: Sequence[Mapping[str, Any]], cases: Sequence[Case]) -> list[dict[str, Any]]:
    """One row per group of cases × method × budget × prior centre, and one for all of each."""
    known = {case.name: case for case in cases}
    strange = sorted({line["case"] for line in lines} - set(known))
    if strange:
        raise InvalidTableError(
            f"case {strange[0]!r} is not among the cases, expected one of {len(known)} names; "
            "give the cases file of the replay"
        )
    rows = []
    groups = list(dict.fromkeys(group_of(line["case"]) for line in lines))
    for group in [*groups, *([ALL_GROUPS] if len(groups) > 1 else [])]:
        in_group = [line for line in lines if group in (ALL_GROUPS, group_of(line["case"]))]
        for method in dict.fromkeys(line["method"] for line in in_group):
            ours = [line for line in in_group if line["method"] == method]
            for budget in replayed_budgets(ours):
                states = states_at(ours, budget)
                rows.extend(_rows_of_centers(states, known, (group, method, budget)))
    return rows


def replayed_budgets(lines: Sequence[Mapping[str, Any]]) -> list[float | str]:
    """The budgets that these replays reached, and their own stop."""
    largest = max(line.get("budget", line["spent"]) for line in lines) + _ROUNDING
    return [*(budget for budget in BUDGETS if budget <= largest), AT_STOP]


def hit_rate_range(outcomes: Sequence[Outcome]) -> tuple[float, float, float]:
    """Lower and upper end of the pooled 90 % hit rate, and a two-sided p-value against 0.9.

    The ends come from a bootstrap over (size, length) cells. Where every interval hit, resampling
    sees no spread at all, so the p-value is the larger of the bootstrap's and of the exact binomial
    one, which takes replays as independent and so can only be too small.
    """
    cells = sorted({o.cell for o in outcomes})
    hits = np.array([sum(bool(o.hit_90) for o in outcomes if o.cell == cell) for cell in cells])
    counts = np.array([sum(o.cell == cell for o in outcomes) for cell in cells])
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(cells), size=(_RESAMPLES, len(cells)))
    rates = hits[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(rates, [_SIGNIFICANCE / 2, 1 - _SIGNIFICANCE / 2])
    below = (1 + np.sum(rates <= _LEVEL)) / (1 + _RESAMPLES)
    above = (1 + np.sum(rates >= _LEVEL)) / (1 + _RESAMPLES)
    exact = binomtest(int(hits.sum()), int(counts.sum()), _LEVEL).pvalue
    return float(low), float(high), float(min(1.0, max(exact, 2 * min(below, above))))


def _rows_of_centers(
    states: Sequence[Mapping[str, Any]],
    cases: Mapping[str, Case],
    where: tuple[str, str, float | str],
) -> list[dict[str, Any]]:
    group, method, budget = where
    rows = []
    centers = sorted({s["prior_center"] for s in states}, key=lambda c: (c is None, c))
    for center in [ALL_CENTERS, *centers]:
        chosen = [s for s in states if center in (ALL_CENTERS, s["prior_center"])]
        summary = summarised([outcome(s, cases[s["case"]]) for s in chosen])
        wall_s = float(np.median([s["wall_s"] for s in chosen]))
        where_ = {"group": group, "method": method, "budget": budget, "prior_center": center}
        rows.append({**where_, **summary, "wall_s": wall_s})
    return rows


def summarised(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means, spread and calibration of some outcomes; regrets in thousandths of the loss unit."""
    regret = 1e3 * np.array([o.regret for o in outcomes])
    claims = [(o.claimed, o.regret) for o in outcomes if o.claimed is not None]
    claimed, realised = (sum(values) for values in zip(*claims, strict=True)) if claims else (0, 0)
    low, high, p_value = (
        hit_rate_range(outcomes) if outcomes[0].hit_90 is not None else (None, None, None)
    )
    return {
        "replays": len(outcomes),
        "spent": _mean([o.spent for o in outcomes]),
        "regret_mean": float(regret.mean()),
        "regret_median": float(np.median(regret)),
        "regret_p90": float(np.quantile(regret, 0.9)),
        "regret_worst": float(regret.max()),
        "overhead": _mean([o.overhead for o in outcomes]),
        "octaves": _mean([o.octaves for o in outcomes]),
        "hit_50": _mean([o.hit_50 for o in outcomes]),
        "hit_90": _mean([o.hit_90 for o in outcomes]),
        "hit_90_low": low,
        "hit_90_high": high,
        "hit_90_p": p_value,
        "width_90": _median([o.width for o in outcomes]),
        "interval_score": _mean([o.interval_score for o in outcomes]),
        "claimed_ratio": claimed / realised if realised else None,
    }


def _replay_of(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return (line["case"], line["prior_center"], line["method"], line["seed"])


def _holds(interval: Sequence[float] | None, value: float) -> bool | None:
    return None if interval is None else interval[0] <= value <= interval[1]


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return float(np.mean(given)) if given else None


def _median(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return float(np.median(given)) if given else None
