"""Demo: what does the tuner do with real training runs, from a guess to the check at the target?

Byte-level language models of 6k to 55k parameters are trained on the source of Python's standard
library, at most half as long as the target, to choose the rate of one of 97k. Then the target
itself is trained at that rate and at rates around it, which a user would never do.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from horizon_bo.core.policy import Recommendation
from horizon_bo.learning.kept import write_evidence
from horizon_bo.published.evidence import shipped, usable
from horizon_bo.report.style import PALETTE, decimal_ticks, save_figure
from horizon_bo.runs.builtin import (
    builtin_command,
    builtin_config,
    shaped_horizon,
    shaped_scale,
)
from horizon_bo.runs.jobs import RunEvent, Watch, WatchedState
from horizon_bo.runs.plan import RunReport
from horizon_bo.study.horizons import SearchSpace
from horizon_bo.study.trials import Study, Suggestion, Trial
from horizon_bo.training.config import Recipe, RunConfig
from horizon_bo.training.corpus import corpus
from horizon_bo.training.loop import train
from horizon_bo.tuner import HorizonTuner

TARGET_SHAPE, TARGET_TOKENS, BATCH_TOKENS = "64x2", 1_000_448, 1_024
SHAPES = ("16x2", "32x2", "48x2")
TOKENS = (62_464.0, 500_000.0)
LEARNING_RATE = (5e-4, 0.12)
#: What a recipe for models a thousand times larger would say: several times too low.
PRIOR_CENTER = 1.5e-3
#: The sweep that ships was made with the same trainer: what it says has no say here.
OWN_SWEEP = ("stdlib_gpt",)
#: Target runs.
BUDGET = 0.3
#: Rates at which the target is trained at the end, relative to the recommended one, in octaves.
CHECKED_OCTAVES = (0, -1, 1, -2, 2)
#: The figure shows losses up to this far above the target's best, nats per byte.
_SHOWN_ABOVE = 2.0

#: Recommendations in order, each with the spend it was made at, in target runs.
Beliefs = tuple[tuple[float, Recommendation], ...]


@dataclass(frozen=True)
class Story:
    """What happened, for the figure and the last words.

    Args:
        report: What the run loop said at its end.
        trials: The small runs.
        beliefs: What was believed along the way.
        checked: Rates at which the target was trained and the losses reached, nats per byte.
        target_flops: Compute of the target, FLOP.
    """

    report: RunReport
    trials: tuple[Trial, ...]
    beliefs: Beliefs
    checked: tuple[tuple[float, float], ...]
    target_flops: float

    @property
    def parabola(self) -> np.ndarray:
        """Coefficients of the loss in ln rate through what the target reached, highest first."""
        rates, losses = np.array(self.checked).T
        return np.polyfit(np.log(rates), losses, 2)

    @property
    def best_rate(self) -> float:
        """Where the parabola is lowest, within the rates that were trained."""
        slope, intercept = self.parabola[:2]
        rates = [rate for rate, _ in self.checked]
        if slope <= 0:
            return min(self.checked, key=lambda pair: pair[1])[0]
        return min(max(rates), max(min(rates), math.exp(-intercept / (2 * slope))))

    def regret(self, rate: float) -> float:
        """Loss by the parabola above its least, nats per byte."""
        at = lambda x: float(np.polyval(self.parabola, math.log(x)))  # noqa: E731
        return at(rate) - at(self.best_rate)


@dataclass
class _Recorder:
    """Keeps what was believed along the way, and passes everything on."""

    watch: Watch
    beliefs: list[tuple[float, Recommendation]] = field(default_factory=list)

    def __call__(self, state: WatchedState, event: RunEvent | None) -> None:
        best = state.best
        if best is not None and (not self.beliefs or self.beliefs[-1][1] is not best):
            self.beliefs.append((best.spent / state.study.target.flops, best))
        self.watch(state, event)


def demo_tuner(folder: Path) -> HorizonTuner:
    """The demo's study, kept in its folder; one that is there is gone on with."""
    path = folder / "demo.db"
    if path.is_file():
        return HorizonTuner.open(path)
    folder.mkdir(parents=True, exist_ok=True)
    target = shaped_horizon(TARGET_SHAPE, TARGET_TOKENS, batch_tokens=BATCH_TOKENS)
    prior = folder / "prior.json"
    write_evidence(prior, usable(shipped(), OWN_SWEEP))
    return HorizonTuner(
        target=target,
        space=SearchSpace(
            learning_rate=LEARNING_RATE, scales=[shaped_scale(s) for s in SHAPES], tokens=TOKENS
        ),
        budget=BUDGET * target.flops,
        prior=prior,
        prior_center=PRIOR_CENTER,
        study=path,
    )


def opening(tuner: HorizonTuner) -> str:
    """What the demo is about."""
    target = tuner.study.target
    cheapest = min(scale.flops(TOKENS[0]) for scale in tuner.study.space.scales) / target.flops
    return (
        f"target  a language model of {target.params:,.0f} parameters on {target.tokens:,.0f} "
        f"bytes of Python source\nruns    smaller and at most half as long, from {cheapest:.1%} of "
        f"the target's compute\nbudget  {BUDGET:.0%} of one target run; loss in nats per byte\n"
        f"guess   the best rate is about {PRIOR_CENTER:g}\n"
    )


def tune(
    tuner: HorizonTuner, folder: Path, parallel: int, watch: Watch
) -> tuple[RunReport, Beliefs]:
    """Train the small runs; what the loop said, and what was believed along the way."""
    recorder = _Recorder(watch)
    command = builtin_command(tuner.study, device="cpu")
    report = tuner.run(command, folder=folder / "runs", parallel=parallel, watch=recorder)
    best = report.recommendation
    return report, (*recorder.beliefs, (best.spent / tuner.study.target.flops, best))


def check_target(
    study: Study, rate: float, folder: Path, told: Callable[[Mapping[str, Any]], None]
) -> tuple[tuple[float, float], ...]:
    """Rates about `rate` and the losses that the target reaches at them, in one stacked run."""
    config = target_config(study, [rate * 2.0**octaves for octaves in CHECKED_OCTAVES])
    folder.mkdir(parents=True, exist_ok=True)
    outcome = train(config, corpus(), folder=folder, progress=told)
    return tuple(
        (reading["learning_rate"], reading["loss"])
        for reading in outcome.readings
        if reading["loss"] is not None
    )


def target_config(study: Study, rates: Sequence[float]) -> RunConfig:
    """The target at several rates, one seed, stacked."""
    target, scale = study.target, shaped_scale(TARGET_SHAPE)
    run = Suggestion(
        id=len(study.trials),
        learning_rate=rates[0],
        params=target.params,
        tokens=target.tokens,
        batch_tokens=target.batch_tokens,
        flops=target.flops,
        scale=scale,
        schedule=target.schedule,
        averaging=target.averaging,
    )
    config = builtin_config(run, scale, study, Recipe())
    seeds = config.seeds * len(rates)
    return replace(config, learning_rates=tuple(rates), seeds=seeds)


def ending(story: Story) -> str:
    """What was recommended, what the target reached, and what the guess would have cost."""
    best = story.report.recommendation
    low, high = best.interval_90
    true = story.best_rate
    held = "holds" if low <= true <= high else "misses"
    reached = ", ".join(f"{rate:.1e}: {loss:.3f}" for rate, loss in sorted(story.checked))
    return (
        f"\nafter {len(story.report.observed)} runs, {best.spent / story.target_flops:.0%} of a "
        f"target run: {story.report.reason}.\nrecommended {best.learning_rate:.2e}, 90 % sure "
        f"{low:.1e} to {high:.1e}, expected regret {1e3 * best.expected_regret:.0f} mnat.\n"
        f"the target, trained at five rates: {reached}.\nthe best rate by a parabola through them "
        f"is {true:.2e}: the interval {held} it, the recommendation is off by "
        f"{abs(math.log2(best.learning_rate / true)):.1f} octaves and loses "
        f"{1e3 * story.regret(best.learning_rate):.0f} mnat; the guess would have lost "
        f"{1e3 * story.regret(PRIOR_CENTER):.0f}.\none seed's loss scatters by about 10 mnat here."
    )


def draw_demo(story: Story, path: Path) -> None:
    """Write a figure: belief against spend, the small runs, and the target's own curve."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_belief(left, story)
    _draw_runs(right, story)
    save_figure(figure, path)


def _draw_belief(axis: Axes, story: Story) -> None:
    spent = [100 * spend for spend, _ in story.beliefs]
    for name, alpha in (("interval_90", 0.2), ("interval_50", 0.35)):
        low, high = zip(*(getattr(best, name) for _, best in story.beliefs), strict=True)
        style = {"step": "post", "alpha": alpha, "color": PALETTE[0], "linewidth": 0}
        axis.fill_between(spent, low, high, label=f"{name[-2:]} % interval", **style)
    rates = [best.learning_rate for _, best in story.beliefs]
    axis.step(spent, rates, where="post", color=PALETTE[0], label="recommended")
    axis.axhline(story.best_rate, color=PALETTE[1], linestyle="--", label="best at the target")
    axis.set(xlabel="compute spent (% of a target run)", ylabel="learning rate", yscale="log")
    decimal_ticks(axis.yaxis)
    axis.legend(frameon=False, fontsize="small")


def _draw_runs(axis: Axes, story: Story) -> None:
    rates = sorted(rate for rate, _ in story.checked)
    fine = np.geomspace(rates[0], rates[-1], 100)
    axis.plot(fine, np.polyval(story.parabola, np.log(fine)), color=PALETTE[1])
    axis.plot(*zip(*story.checked, strict=True), "o", color=PALETTE[1], label="target, the check")
    for index, params in enumerate(sorted({trial.params for trial in story.trials})):
        here = [t for t in story.trials if t.params == params and t.loss is not None]
        axis.scatter(
            [trial.learning_rate for trial in here],
            [trial.loss or math.nan for trial in here],
            s=[12 + 60 * trial.tokens / TOKENS[1] for trial in here],
            marker="sDv"[index % 3],
            color=PALETTE[(index + 3) % len(PALETTE)],
            label=f"{params:,.0f} parameters (larger: longer)",
        )
    final = story.report.recommendation.learning_rate
    axis.axvline(final, color=PALETTE[2], label="recommended")
    axis.set(xlabel="learning rate", ylabel="loss (nats per byte)", xscale="log")
    axis.set_ylim(top=min(loss for _, loss in story.checked) + _SHOWN_ABOVE)
    decimal_ticks(axis.xaxis)
    axis.legend(frameon=False, fontsize="small")
