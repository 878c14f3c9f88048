"""Backtest words: what do the results of a backtest mean for the user's next large run?"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from horizon_bo.evaluation.backtest import (
    AT_ITS_STOP,
    NO_RUN,
    OWN_PRIOR,
    Backtest,
    Coverage,
    Scored,
)

#: Claimed over realised regret within this factor of 1 is called about right.
_RIGHT = 2.0
_CLAIM = 0.9
#: With fewer runs than this the budget, not the tuner, decides.
_FEW_RUNS = 5


def verdict(result: Backtest) -> tuple[str, ...]:
    """Plain sentences, with the uncertainty that few cells leave."""
    sentences = (_loss, _few_runs, _coverage, _claims, _rivals, _wrong_guesses, _stop, _reach)
    return tuple(line for sentence in sentences for line in sentence(result))


def mean_of(scores: Sequence[Scored], quantity: Callable[[Scored], float]) -> float:
    """Mean over cells, each cell weighing the same however often it was replayed."""
    cells = list(dict.fromkeys(score.cell.label for score in scores))
    means = [np.mean([quantity(s) for s in scores if s.cell.label == cell]) for cell in cells]
    return float(np.mean(means))


def regret(score: Scored) -> float:
    """Regret in thousandths of the loss unit."""
    return 1e3 * score.outcome.regret


def _loss(result: Backtest) -> Iterator[str]:
    ours = result.of("horizon", OWN_PRIOR)
    worst = max(ours, key=regret)
    ratios = sorted(cell.compute_ratio for cell in result.cells)
    times = " to ".join(dict.fromkeys(f"{ratio:.3g}" for ratio in (ratios[0], ratios[-1])))
    yield (
        f"On {_cells(len(ours))}, {times} times the compute of the largest run it "
        f"could buy, it spent {_spent(ours)} and lost "
        f"{mean_of(ours, regret):.1f} thousandths of the loss unit "
        f"({mean_of(ours, lambda s: s.regret_percent):.2f} % of the loss) on average, "
        f"{regret(worst):.1f} ({worst.regret_percent:.2f} %) at worst."
    )


def _few_runs(result: Backtest) -> Iterator[str]:
    most = max(score.runs for score in result.of("horizon"))
    if most < _FEW_RUNS:
        yield (
            f"The budget buys no more than {most} of your runs: log smaller ones, or raise "
            "--budget, to judge it on more."
        )


def _coverage(result: Backtest) -> Iterator[str]:
    found = result.coverage(90)
    yield (
        f"{found.hits} of {found.cells} 90 % intervals held the best rate: the rate behind that "
        f"lies between {_share(found.low)} and {_share(found.high)} (95 % confidence, exact); "
        f"{_meaning(found)}."
    )


def _meaning(found: Coverage) -> str:
    if found.high < _CLAIM:
        return "that is fewer than claimed, so widen its intervals on your runs"
    if found.low > _CLAIM:
        return "that is more than claimed, so its intervals are wider than they need be"
    return f"too few cells to tell 90 % from {_share(found.low)}"


def _claims(result: Backtest) -> Iterator[str]:
    ours = result.of("horizon", OWN_PRIOR)
    claimed = mean_of(ours, lambda s: 1e3 * (s.outcome.claimed or 0.0))
    realised = mean_of(ours, regret)
    if claimed > _RIGHT * realised:
        judgement = "on these cells it was too cautious"
    elif realised > _RIGHT * claimed:
        judgement = "on these cells it was too sure of itself"
    else:
        judgement = "about right"
    yield f"It expected to lose {claimed:.1f} thousandths and lost {realised:.1f}: {judgement}."


def _rivals(result: Backtest) -> Iterator[str]:
    none, uniform = result.of(NO_RUN, OWN_PRIOR), result.of("random")
    yield (
        f"No run at all would have lost {mean_of(none, regret):.1f}; uniform runs for the same "
        f"compute, read by a least-squares law, {mean_of(uniform, regret):.1f}."
    )


def _wrong_guesses(result: Backtest) -> Iterator[str]:
    wrong = [s for s in result.of("horizon") if s.start != OWN_PRIOR]
    before = [s for s in result.of(NO_RUN) if s.start != OWN_PRIOR]
    yield (
        f"Told a best rate 3x too low or too high, it would have lost "
        f"{mean_of(before, regret):.1f} before any run and lost {mean_of(wrong, regret):.1f}, and "
        f"{sum(bool(s.outcome.hit_90) for s in wrong)} of {len(wrong)} 90 % intervals held the "
        "best rate."
    )


def _stop(result: Backtest) -> Iterator[str]:
    stopped, spent = result.of(AT_ITS_STOP, OWN_PRIOR), result.of("horizon", OWN_PRIOR)
    yield (
        f"Stopped where it first advises to, it would have spent {_spent(stopped)} and lost "
        f"{mean_of(stopped, regret):.1f}: an overhead of "
        f"{mean_of(stopped, _overhead):.1f} % of a target run, against "
        f"{mean_of(spent, _overhead):.1f} % with the whole budget."
    )


def _reach(result: Backtest) -> Iterator[str]:
    """Whether the planned target lies further out than anything tested here."""
    tested = (
        min(cell.params_ratio for cell in result.cells),
        min(cell.tokens_ratio for cell in result.cells),
    )
    for name, planned, seen in zip(("size", "tokens"), result.planned_ratios, tested, strict=True):
        # token counts are rounded to whole steps
        if planned is not None and planned > 1.01 * seen:
            yield (
                f"Your target is {planned:.3g} times your largest logged run in {name}, further "
                f"than the {seen:.3g} times tested here: expect more regret than this."
            )


def _overhead(score: Scored) -> float:
    return 100 * score.outcome.overhead


def _spent(scores: Sequence[Scored]) -> str:
    return f"{mean_of(scores, lambda s: 100 * s.outcome.spent):.1f} % of a target run"


def _share(rate: float) -> str:
    return f"{100 * rate:.0f} %"


def _cells(count: int) -> str:
    return "one hidden cell" if count == 1 else f"{count} hidden cells"
