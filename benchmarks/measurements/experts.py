"""Experts: how far does the best rate move with width and number of experts, with and without µP?

    python -m benchmarks.measurements.experts benchmarks/results/experts.jsonl --device cuda
    python -m benchmarks.measurements.experts benchmarks/results/experts_cpu.jsonl --small
    python -m benchmarks.measurements.experts FILE --show

The file beside it took four minutes of one H200. `--small` is for a CPU. Needs torch and
numpy alone. One line per model: the held-out loss of every rate × seed. Models in the file already
are skipped. The last command prints the table: octaves between the highest and the lowest best
rate over the models, and 90 % intervals from seeds drawn anew at every rate.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements.bowls import append, known, losses, vertex
from horizon_bo.training.config import PARAMETRIZATIONS, ModelConfig, Recipe
from horizon_bo.training.corpus import standard_library

SEEDS = (0, 1, 2)
RATES = tuple(2.0**k for k in range(-12, -3))
DRAWS = 2_000
#: Widths, experts, tokens and tokens per step; the first width is the base.
FULL = ((64, 128, 256), (4, 16), 4_000_000, 4_096)
SMALL = ((16, 32, 64), (4, 16), 200_000, 1_024)


def models(widths: tuple[int, ...], experts: tuple[int, ...]) -> list[ModelConfig]:
    """Every model under both parametrizations, the cheapest first."""
    return [
        ModelConfig(
            width=width,
            depth=2,
            head_dim=16,
            experts=number,
            active_experts=2,
            parametrization=parametrization,
            base_width=widths[0],
            base_depth=2,
        )
        for width in widths
        for number in experts
        for parametrization in PARAMETRIZATIONS
    ]


def measure(path: Path, device: str, small: bool) -> None:
    """Train what the file lacks."""
    widths, experts, tokens, batch_tokens = SMALL if small else FULL
    done = [
        (r["model"]["width"], r["model"]["experts"], r["model"]["parametrization"])
        for r in known(path)
    ]
    text = standard_library()
    for model in models(widths, experts):
        if (model.width, model.experts, model.parametrization) in done:
            continue
        began = time.perf_counter()
        recipe = Recipe(batch_tokens=batch_tokens)
        grid, flops = losses(model, recipe, RATES, SEEDS, tokens, text, device)
        seconds = time.perf_counter() - began
        record = {"rates": RATES, "seeds": SEEDS, "tokens": tokens, "batch_tokens": batch_tokens}
        record = {**record, "loss": grid.tolist(), "flops": flops, "seconds": round(seconds, 1)}
        append(path, record, model, device)
        print(f"{model.width} {model.experts} {model.parametrization}: {seconds:.0f} s", flush=True)


def best(record: dict[str, Any], noise: np.random.Generator | None = None) -> float:
    """log₂ of the best rate, of seeds drawn anew where a generator is given."""
    loss = np.asarray(record["loss"])
    if noise is not None:
        loss = np.take_along_axis(loss, noise.integers(loss.shape[1], size=loss.shape), 1)
    return vertex(np.log(record["rates"]), loss.mean(1)) / np.log(2)


def moved(lines: list[dict[str, Any]], noise: np.random.Generator | None = None) -> float:
    """Octaves between the highest and the lowest best rate."""
    found = [best(line, noise) for line in lines]
    return max(found) - min(found)


def show(path: Path) -> None:
    """Print the best rate of each model and how far it moves under each parametrization."""
    noise = np.random.default_rng(0)
    drawn: dict[str, np.ndarray] = {}
    print("| parametrization | width | experts | log2 of best rate | 90 % interval |")
    print("| --- | --- | --- | --- | --- |")
    for name in PARAMETRIZATIONS:
        lines = [r for r in known(path) if r["model"]["parametrization"] == name]
        for r in lines:
            low, high = np.quantile([best(r, noise) for _ in range(DRAWS)], (0.05, 0.95))
            m = r["model"]
            print(
                f"| {name} | {m['width']} | {m['experts']} | {best(r):.2f} | {low:.2f}…{high:.2f} |"
            )
        drawn[name] = np.array([moved(lines, noise) for _ in range(DRAWS)])
        low, high = np.quantile(drawn[name], (0.05, 0.95))
        print(f"{name}: moves {moved(lines):.2f} octaves ({low:.2f}…{high:.2f})")
    low, middle, high = np.quantile(drawn["mup"] / drawn["standard"], (0.05, 0.5, 0.95))
    print(f"with over without: {middle:.2f} ({low:.2f}…{high:.2f})")


def main() -> None:
    """Measure or show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="models for a CPU")
    parser.add_argument("--show", action="store_true", help="print the table and train nothing")
    given = parser.parse_args()
    if not given.show:
        measure(given.path, given.device, given.small)
    show(given.path)


if __name__ == "__main__":
    main()
