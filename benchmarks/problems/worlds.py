"""Worlds: does the tuner hold where nature differs from its priors?

Writes synthetic sweeps with known truth, drawn far from the figures the priors were taken from,
and the replay cases that go with them:

    python -m benchmarks.problems.worlds OUT_FOLDER --count 12 --seed 0
    horizon-bo replay --cases OUT_FOLDER/cases.json --budget 0.1 --prior-center 1.5e-3 --out W.jsonl

Every world has its own loss unit, curvature, noise, exponents and asymmetry, an optimum that
bends away from its power law, a ragged divergence cliff and heavy-tailed noise.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

#: Prior centre the worlds are drawn around, and the spread of the truth about it in ln LR.
CENTER, CENTER_SD = 1.5e-3, 1.1
TARGET_PARAMS, TARGET_TOKENS = 1e9, 4e10
SIZES = (3e7, 6e7, 1.2e8, 2.5e8, 5e8)
TOKENS = (1e9, 2e9, 4e9, 1e10, 2e10)


def law_of_world(rng: np.random.Generator) -> dict[str, float]:
    """Coefficients of one world, relative to its target; losses in its own unit."""
    unit = float(np.exp(rng.uniform(-1.5, 1.5)))
    return {
        "unit": unit,
        "irreducible": rng.uniform(1.2, 2.2) * unit,
        "params_amplitude": rng.uniform(0.1, 0.4) * unit,
        "tokens_amplitude": rng.uniform(0.1, 0.4) * unit,
        "params_exponent": rng.uniform(0.2, 0.45),
        "tokens_exponent": rng.uniform(0.2, 0.45),
        "log_optimum": np.log(CENTER) + CENTER_SD * rng.standard_normal(),
        "optimum_per_params": rng.uniform(-0.7, 0.0),
        "optimum_per_tokens": rng.uniform(-0.5, 0.3),
        "bend": 0.05 * rng.standard_normal(),
        "wobble": 0.15,
        "wobble_phase": rng.uniform(0, 2 * np.pi),
        "log_curvature": np.log(0.03 * unit) + 0.8 * rng.standard_normal(),
        "curvature_per_tokens": rng.uniform(-0.35, 0.05),
        "asymmetry": rng.uniform(0.0, 1.5),
        "noise": 0.0015 * unit * np.exp(0.8 * rng.standard_normal()),
        "cliff": rng.uniform(1.7, 3.5),
        "raggedness": 0.3,
        "noise_freedom": 4.0,
        "curvature_per_params": 0.0,
    }


def log_optimum(w: dict[str, float], n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Optimal ln LR at sizes and horizons relative to the target."""
    wave = w["wobble"] * np.sin(1.3 * n + 0.9 * d + w["wobble_phase"])
    line = w["log_optimum"] + w["optimum_per_params"] * n + w["optimum_per_tokens"] * d
    return line + w["bend"] * n**2 / 2 + wave


def excess(w: dict[str, float], log_lr: np.ndarray, n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Loss above the best rate's, noiseless: a bowl that is not quite the surrogate's."""
    u = log_lr - log_optimum(w, n, d)
    by_scale = w["curvature_per_params"] * n + w["curvature_per_tokens"] * d
    curvature = np.exp(w["log_curvature"] + by_scale)
    # quadratic with a cubic on the steep side, so that no linex fits it
    return curvature * (u**2 / 2 + w["asymmetry"] * np.clip(u, 0, None) ** 3 / 6)


def sweep(w: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """The logged runs of one world: a full grid of rates in every cell, the target's included."""
    rows = []
    cells = [(size, tokens) for size in SIZES for tokens in TOKENS]
    for params, tokens in [*cells, (TARGET_PARAMS, TARGET_TOKENS)]:
        n, d = np.log(params / TARGET_PARAMS), np.log(tokens / TARGET_TOKENS)
        middle = float(log_optimum(w, np.array(n), np.array(d)))
        rates = np.exp(np.round(middle / 0.35) * 0.35 + 0.35 * np.arange(-5, 7))
        for rate in rates:
            u = np.log(rate) - middle
            diverged = bool(u + w["raggedness"] * rng.standard_normal() > w["cliff"])
            level = w["irreducible"] + w["params_amplitude"] * np.exp(-w["params_exponent"] * n)
            level += w["tokens_amplitude"] * np.exp(-w["tokens_exponent"] * d)
            loss = (
                level
                + excess(w, np.log(rate), n, d)
                + w["noise"] * rng.standard_t(w["noise_freedom"])
            )
            rows.append((rate, params, tokens, 262_144, np.nan if diverged else loss, diverged))
    columns = ["learning_rate", "params", "tokens", "batch_tokens", "loss", "diverged"]
    return pd.DataFrame(rows, columns=columns)


def case(name: str, file: str, w: dict[str, float]) -> dict[str, Any]:
    """A replay case with the exact curve at the target as its truth."""
    best = float(log_optimum(w, np.array(0.0), np.array(0.0)))
    grid = best + np.linspace(-3, 3, 121)
    return {
        "name": name,
        "sweep": file,
        "target_params": TARGET_PARAMS,
        "target_tokens": TARGET_TOKENS,
        "batch_tokens": 262_144,
        "pool_batch": "same",
        "max_params_ratio": 0.5,
        "max_tokens_ratio": 0.5,
        "only_params": None,
        "max_run_cost": 0.5,
        "truth": {
            "learning_rate": np.exp(grid).tolist(),
            "excess": excess(w, grid, np.array(0.0), np.array(0.0)).tolist(),
            "optimum": float(np.exp(best)),
            "optimum_log_sd": 0.0,
            "minimum": w["irreducible"] + w["params_amplitude"] + w["tokens_amplitude"],
            "loss_per_log_tokens": w["tokens_exponent"] * w["tokens_amplitude"],
        },
    }


def write(folder: Path, posed: Sequence[tuple[pd.DataFrame, dict[str, Any]]]) -> None:
    """Write sweeps and the cases on them, for `horizon-bo replay --cases`."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, about in posed:
        frame.to_csv(folder / about["sweep"], index=False)
    (folder / "cases.json").write_text(json.dumps([about for _, about in posed]))


def main(
    folder: Path,
    count: Annotated[int, typer.Option(min=1, help="Number of worlds.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the worlds.")] = 0,
) -> None:
    """Write the worlds' sweeps and their cases.

    Example: python -m benchmarks.problems.worlds build/worlds --count 12 --seed 0
    """
    posed = []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        w = law_of_world(rng)
        posed.append((sweep(w, rng), case(f"world-{k}", f"world_{k}.csv", w)))
    write(folder, posed)


if __name__ == "__main__":
    typer.run(main)
