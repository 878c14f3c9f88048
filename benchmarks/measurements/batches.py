"""Batches: how good is a pair of batch and rate, and how does the best rate move with tokens?

    python -m benchmarks.measurements.batches replay     # goes on where it stopped
    python -m benchmarks.measurements.batches table
    python -m benchmarks.measurements.batches sign --figure ../docs/assets/batch-sign.png

All on the dense runs of Step Law. `replay` hides a cell at every batch and leaves the batch open;
the pair is scored against the loss smoothed over (rate, batch), and so are the pairs of published
laws. `sign` fits the best rate of every cell, at fixed batch and along the best batch.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.problems.lines import whole_lines
from horizon_bo.core import policy
from horizon_bo.core.inference import believe
from horizon_bo.evaluation.cases import Case, find_sweep, load_problem
from horizon_bo.evaluation.replay import Method, replay, suggested_row
from horizon_bo.published.batch import BATCH_LAWS
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.report.style import PALETTE, save_figure
from horizon_bo.study.horizons import Horizon

SWEEP = "steplaw_dense.csv"
CELLS = ((1_073_741_824, 2e10), (536_872_960, 5e10), (429_260_800, 5e10), (268_304_384, 8e10))
CENTERS = (0.5e-3, 1.5e-3, 4.5e-3)
RESULTS = Path(__file__).parents[1] / "results" / "batches.jsonl"
#: Laws that name a batch and a rate; the last was fitted to these very runs.
LAWS = ("deepseek", "porian", "step")
#: What tells a replay from others.
REPLAY = ("case", "prior_center", "seed")
#: Of a table, in target runs.
BUDGETS = (0.02, 0.05, 0.10)
#: Runs within this share of a cell's lowest loss are fitted by its parabola.
_NEAR = 1.03
_FEWEST = 5


@dataclass(frozen=True)
class Plane:
    """The smoothed loss of a size and length over ln batch and ln rate.

    Args:
        level: Loss at the best rate, a parabola in ln batch.
        optimum: ln of the best rate, a parabola in ln batch.
        log_curvature: Of the bowl, a line in ln batch.
        low: ln of the smallest batch that was fitted.
        high: ln of the largest.
    """

    level: np.poly1d
    optimum: np.poly1d
    log_curvature: np.poly1d
    low: float
    high: float

    def regret(self, batch: float, rate: float) -> float:
        """Loss of a pair above that of the best pair, in loss units."""
        at = float(np.clip(math.log(batch), self.low, self.high))
        off = math.log(rate) - self.optimum(at)
        bowl = math.exp(self.log_curvature(at)) * off**2 / 2
        grid = np.linspace(self.low, self.high, 401)
        return float(self.level(at) + bowl - self.level(grid).min())


def bowls(runs: pd.DataFrame) -> pd.DataFrame:
    """Each cell's best rate, its loss and curvature by a parabola near the best loss."""
    rows = []
    for (params, tokens, batch), cell in runs.groupby(["params", "tokens", "batch_tokens"]):
        near = cell[cell["loss"] < _NEAR * cell["loss"].min()]
        log_lr = np.log(near["learning_rate"].to_numpy())
        if len(near) < _FEWEST:
            continue
        second, first, lowest = np.polyfit(log_lr - log_lr.mean(), near["loss"].to_numpy(), 2)
        at = -first / second / 2
        if second <= 0 or not log_lr.min() <= log_lr.mean() + at <= log_lr.max():
            continue
        level = lowest + second * at**2 + first * at
        rows.append((params, tokens, batch, log_lr.mean() + at, level, 2 * second))
    names = ["params", "tokens", "batch_tokens", "log_optimum", "level", "curvature"]
    return pd.DataFrame(rows, columns=names)


def plane_of(cells: pd.DataFrame) -> Plane:
    """The plane of one size and length from its cells."""
    b = np.log(cells["batch_tokens"].to_numpy())
    fit = lambda values, degree: np.poly1d(np.polyfit(b, values, degree))  # noqa: E731
    return Plane(
        fit(cells["level"].to_numpy(), 2),
        fit(cells["log_optimum"].to_numpy(), 2),
        fit(np.log(cells["curvature"].to_numpy()), 1),
        float(b.min()),
        float(b.max()),
    )


def planes() -> dict[tuple[float, float], Plane]:
    """The plane of every hidden cell by its size and length."""
    found = bowls(pd.read_csv(find_sweep(SWEEP)).dropna(subset=["loss"]))
    size, length = found["params"], found["tokens"]
    return {cell: plane_of(found[(size == cell[0]) & (length == cell[1])]) for cell in CELLS}


def replays(
    centers: Sequence[float], seeds: Sequence[int], budget: float, done: Set[tuple]
) -> Iterator[list[dict]]:
    """The states of every replay that is not done, with their pairs and what those lose."""
    for (params, tokens), plane in planes().items():
        limits: dict[str, Any] = {"max_params_ratio": 0.5, "max_tokens_ratio": 0.5}
        case = Case(
            name=f"open-{params / 1e6:.0f}M-{tokens / 1e9:.0f}B",
            sweep=SWEEP,
            target_params=params,
            target_tokens=tokens,
            batch_tokens=262_144,
            pool_batch="any",
            max_run_cost=0.5,
            **limits,
        )
        problem = load_problem(case)
        problem = replace(problem, target=replace(problem.target, batch_tokens=None))
        for center in centers:
            for seed in seeds:
                where = dict(zip(REPLAY, (case.name, center, seed), strict=True))
                if tuple(where.values()) in done:
                    continue
                study = problem.study(budget=budget, prior_center=center, seed=seed)
                said: list[policy.Recommendation] = []

                def answered(*given: Any, said: list = said) -> policy.Recommendation:
                    said.append(policy.recommend(*given))
                    return said[-1]

                states = []
                for state in replay(problem, Method(believe, answered, suggested_row), study):
                    batch = said[-1].batch_tokens
                    assert batch is not None
                    lost = plane.regret(batch, state["learning_rate"])
                    states.append({**where, **state, "batch_tokens": batch, "regret": lost})
                yield states


def table() -> str:
    """Mean regret of the pair by budget, of published pairs, and what is claimed, in mnat."""
    states = pd.read_json(RESULTS, lines=True)
    ended = [
        states[states["spent"] <= budget + 1e-9].sort_values("spent").groupby(list(REPLAY)).last()
        for budget in BUDGETS
    ]
    own = [f"{1000 * some['regret'].mean():.1f}" for some in ended]
    worst = f"{1000 * ended[-1]['regret'].max():.1f}"
    claimed = f"{1000 * ended[-1]['expected_regret'].mean():.1f}"
    lines = [
        f"| pair named by | {' | '.join(f'{b:.0%}' for b in BUDGETS)} | worst then | claimed |",
        "|---" * (len(BUDGETS) + 3) + "|",
        f"| ours, {len(ended[-1])} replays | {' | '.join(own)} | {worst} | {claimed} |",
    ]
    for name in LAWS:
        lost = [1000 * lost_by(name, *cell, plane) for cell, plane in planes().items()]
        title = f"published-{name}" + (", fitted to these runs" if name == LAWS[-1] else "")
        same = " | ".join([f"{np.mean(lost):.1f}"] * len(BUDGETS))
        lines.append(f"| {title} | {same} | {max(lost):.1f} | – |")
    return "\n".join(lines)


def lost_by(law: str, params: float, tokens: float, plane: Plane) -> float:
    """What a law's pair loses at a cell, in loss units."""
    bare = Horizon(params=params, tokens=tokens)
    batch = BATCH_LAWS[law].batch_tokens(bare)
    rate = learning_rate_law(law).learning_rate(replace(bare, batch_tokens=batch))
    return plane.regret(batch, rate)


def sign(figure: Path | None) -> dict[str, float]:
    """Exponents of tokens at fixed batch and along the best batch, perhaps with a figure."""
    cells = bowls(pd.read_csv(find_sweep(SWEEP)).dropna(subset=["loss"]))
    n, d, b = (np.log(cells[name] / cells[name].median()) for name in cells.columns[:3])
    fixed = np.linalg.lstsq(
        np.column_stack([np.ones(len(cells)), n, d, b]), cells["log_optimum"], rcond=None
    )[0]
    rows = []
    for (params, tokens), own in cells.groupby(["params", "tokens"]):
        if len(own) < _FEWEST:
            continue
        plane = plane_of(own)
        if plane.level.c[0] <= 0:
            continue
        best = float(-plane.level.c[1] / plane.level.c[0] / 2)
        if not plane.low <= best <= plane.high:
            continue
        rows.append((params, tokens, best, float(plane.optimum(best))))
    along = pd.DataFrame(rows, columns=["params", "tokens", "log_batch", "log_optimum"])
    x = np.column_stack([np.ones(len(along)), np.log(along["params"]), np.log(along["tokens"])])
    rate, batch = (
        np.linalg.lstsq(x, along[name], rcond=None)[0] for name in ("log_optimum", "log_batch")
    )
    if figure is not None:
        _draw(cells, along, figure)
    return {
        "tokens at fixed batch": float(fixed[2]),
        "batch at fixed tokens": float(fixed[3]),
        "tokens along the best batch": float(rate[2]),
        "best batch per tokens": float(batch[2]),
    }


def _draw(cells: pd.DataFrame, along: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    size = along["params"].value_counts().idxmax()
    own = cells[cells["params"] == size]
    batches = [2**k for k in (16, 17, 18, 19, 20)]
    for batch, color in zip(batches, PALETTE, strict=False):
        line = own[own["batch_tokens"] == batch].sort_values("tokens")
        if len(line) > 1:
            label = f"batch fixed at {batch // 1024} Ki tokens"
            axes.plot(line["tokens"], np.exp(line["log_optimum"]), "o-", color=color, label=label)
    best = along[along["params"] == size].sort_values("tokens")
    rate = np.exp(best["log_optimum"])
    axes.plot(best["tokens"], rate, "k--", marker="D", lw=2, label="at each length's best batch")
    axes.set(xscale="log", yscale="log", xlabel="training tokens", ylabel="best learning rate")
    axes.set_title(f"{size / 1e6:.0f}M parameters, Step Law's dense runs")
    axes.grid(visible=True, alpha=0.25)
    axes.legend(fontsize="small", framealpha=0.85, edgecolor="none")
    save_figure(figure, path)


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("replay", "table", "sign"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", type=float, default=0.1)
    given = parser.parse_args()
    if given.what == "sign":
        print(json.dumps(sign(given.figure), indent=1))
        return
    if given.what == "table":
        print(table())
        return
    done = {tuple(line[name] for name in REPLAY) for line in whole_lines(RESULTS)}
    for states in replays(CENTERS, range(given.seeds), given.budget, done):
        with RESULTS.open("a") as file:
            file.writelines(json.dumps(state) + "\n" for state in states)


if __name__ == "__main__":
    main()
