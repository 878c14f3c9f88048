"""Demo: what does the tuner do on a real sweep, told run by run?

The sweep is our own: byte-level GPTs of 25k to 440k parameters, trained on CPUs. The target is a
cell whose true optimum was measured; its rows are hidden, and the tuner buys smaller and shorter
runs instead.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from horizon_bo.adapters.cases import Case, Problem, find_sweep, problem_on
from horizon_bo.adapters.replay import METHODS, replay
from horizon_bo.adapters.score_view import PALETTE, decimal_ticks, save_figure
from horizon_bo.adapters.tables import logged_table
from horizon_bo.trials import LoggedRun

#: The longest cell of the sweep with rates on both sides of the optimum.
TARGET = Case(
    name="demo",
    sweep="cpu_gpt.csv",
    target_params=97_280,
    target_tokens=3_999_744,
    batch_tokens=1_024,
    max_params_ratio=1.0,
    max_tokens_ratio=0.5,
    max_run_cost=0.3,
)
#: What a practitioner might guess for a model this small: three times too low.
PRIOR_CENTER = 3e-3
#: Target runs.
BUDGET = 0.4

_Truth = tuple[float, np.ndarray, np.ndarray, np.ndarray]


def demo_states() -> Iterator[dict[str, Any]]:
    """States of the demo's replay, each with the run it bought and how that ended."""
    problem, runs = _problem()
    study = problem.study(budget=BUDGET, prior_center=PRIOR_CENTER, seed=0)
    for state in replay(problem, METHODS["horizon"], study, obey_stop=True):
        bought = None if state["row"] is None else runs[state["row"]]
        yield {**state, "run": None if bought is None else _told(bought)}


def opening() -> str:
    """What the demo is about."""
    problem, _ = _problem()
    return (
        f"target  {TARGET.target_params:,.0f} parameters on {TARGET.target_tokens:,.0f} tokens, "
        f"never trained here\npool    {len(problem.pool)} logged runs at most half as long, "
        f"{min(t.flops for t in problem.pool) / problem.target.flops:.1%} to "
        f"{max(t.flops for t in problem.pool) / problem.target.flops:.0%} of the target's compute "
        f"each\nbudget  {BUDGET:.0%} of one target run; loss in nats per byte\n"
    )


def story_line(state: Mapping[str, Any]) -> str:
    """One state as two lines: what was bought, what is believed now."""
    run = state["run"]
    bought = f"guess: the best rate is about {PRIOR_CENTER:g}"
    if run is not None:
        end = "diverged" if run["diverged"] else f"loss {run['loss']:.3f}"
        recipe = "" if run["recipe"] == "cosine" else f" ({run['recipe']})"
        bought = (
            f"run {state['step']}: rate {run['learning_rate']:.2e}, "
            f"{run['params']:,.0f} parameters, {run['tokens']:,.0f} tokens{recipe}: {end}"
        )
    low, high = state["interval_90"]
    return (
        f"{bought}\n    spent {state['spent']:6.1%}   use {state['learning_rate']:.2e}   "
        f"90 % sure {low:.1e} to {high:.1e}   expected regret "
        f"{1e3 * state['expected_regret']:.0f} mnat"
    )


def ending(state: Mapping[str, Any]) -> str:
    """What the best rate really was, and what the recommendation would have cost."""
    best = demo_truth()[0]
    regret = demo_regret(state["learning_rate"])
    low, high = state["interval_90"]
    held = "holds" if low <= best <= high else "misses"
    why = "it advised to stop" if state["stop"] else "no run fits the budget any more"
    return (
        f"\nafter {state['step']} runs {why}.\nthe best rate really was {best:.2e} (seeds "
        f"averaged, parabola in ln rate): the 90 % interval {held} it.\nrecommended "
        f"{state['learning_rate']:.2e}, off by {abs(math.log2(state['learning_rate'] / best)):.1f} "
        f"octaves: regret {1e3 * regret:.0f} mnat, expected {1e3 * state['expected_regret']:.0f}; "
        f"the first guess would have cost {1e3 * demo_regret(PRIOR_CENTER):.0f}."
    )


@lru_cache(maxsize=1)
def demo_truth() -> _Truth:
    """The measured optimum of the hidden cell, its rates, mean losses and the fitted parabola."""
    _, runs = _problem()
    hidden: dict[float, list[float]] = {}
    for run in runs:
        here = (run.params, run.tokens) == (TARGET.target_params, TARGET.target_tokens)
        if here and run.loss is not None:
            hidden.setdefault(run.learning_rate, []).append(run.loss)
    rates = np.array(sorted(hidden))
    losses = np.array([np.mean(hidden[rate]) for rate in rates])
    parabola = np.polyfit(np.log(rates), losses, 2)
    return float(np.exp(-parabola[1] / (2 * parabola[0]))), rates, losses, parabola


def demo_regret(rate: float) -> float:
    """Loss above the best at the target, by the fitted parabola, in nats per byte."""
    best, _, _, parabola = demo_truth()
    return float(parabola[0] * math.log(rate / best) ** 2)


def draw_demo(states: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a figure: belief against spend, runs bought, and the hidden curve of the target."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_belief(left, states)
    _draw_runs(right, states)
    save_figure(figure, path)


def _draw_belief(axis: Axes, states: Sequence[Mapping[str, Any]]) -> None:
    spent = [100 * state["spent"] for state in states]
    for name, alpha in (("interval_90", 0.2), ("interval_50", 0.35)):
        low, high = zip(*(state[name] for state in states), strict=True)
        style = {"step": "post", "alpha": alpha, "color": PALETTE[0], "linewidth": 0}
        axis.fill_between(spent, low, high, label=f"{name[-2:]} % interval", **style)
    rates = [state["learning_rate"] for state in states]
    axis.step(spent, rates, where="post", color=PALETTE[0], label="recommended")
    axis.axhline(demo_truth()[0], color=PALETTE[1], linestyle="--", label="truth")
    axis.set(xlabel="compute spent (% of a target run)", ylabel="learning rate", yscale="log")
    decimal_ticks(axis.yaxis)
    axis.legend(frameon=False, fontsize="small")


def _draw_runs(axis: Axes, states: Sequence[Mapping[str, Any]]) -> None:
    _, rates, losses, parabola = demo_truth()
    fine = np.geomspace(rates[0], rates[-1], 100)
    axis.plot(fine, np.polyval(parabola, np.log(fine)), color=PALETTE[1], label="target, hidden")
    axis.plot(rates, losses, "o", color=PALETTE[1])
    told = [s["run"] for s in states if s["run"] is not None and not s["run"]["diverged"]]
    for index, cell in enumerate(sorted({(run["params"], run["tokens"]) for run in told})):
        here = [run for run in told if (run["params"], run["tokens"]) == cell]
        axis.plot(
            [run["learning_rate"] for run in here],
            [run["loss"] for run in here],
            "sDv^P"[index % 5],
            color=PALETTE[(index + 3) % len(PALETTE)],
            label=f"bought: {cell[0]:,.0f} parameters, {cell[1]:,.0f} tokens",
        )
    final = states[-1]["learning_rate"]
    axis.axvline(final, color=PALETTE[2], label="final recommendation")
    axis.set(xlabel="learning rate", ylabel="loss (nats per byte)", xscale="log")
    decimal_ticks(axis.xaxis)
    axis.legend(frameon=False, fontsize="small")


@lru_cache(maxsize=1)
def _problem() -> tuple[Problem, tuple[LoggedRun, ...]]:
    """The demo's problem; runs on another corpus are left out, being another loss altogether."""
    frame = logged_table(find_sweep(TARGET.sweep)).frame
    own = frame.query("corpus == 'stdlib' and schedule != 'stable'")
    runs = logged_table(own).runs
    return problem_on(TARGET, runs), runs


def _told(run: LoggedRun) -> dict[str, Any]:
    return {
        "learning_rate": run.learning_rate,
        "params": run.params,
        "tokens": run.tokens,
        "loss": run.loss,
        "diverged": run.diverged,
        "recipe": run.schedule,
    }
