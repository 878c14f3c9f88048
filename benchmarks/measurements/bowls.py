"""Bowls: what losses does a stack of rates reach, and where is the best one?

Needs torch and numpy alone, so that a bare accelerator can run what is built on it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from horizon_bo.training.config import ModelConfig, Recipe, RunConfig
from horizon_bo.training.corpus import Corpus
from horizon_bo.training.flops import flops_per_token
from horizon_bo.training.loop import train

#: Octaves around the lowest mean loss in which a curve is taken for a parabola.
NEAR = 2.01


def losses(
    model: ModelConfig,
    recipe: Recipe,
    rates: Sequence[float],
    seeds: Sequence[int],
    tokens: int,
    text: Corpus,
    device: str,
    branches: Sequence[int] = (),
) -> tuple[dict[int, np.ndarray], float]:
    """Held-out losses of every rate × seed, all in one stack, by horizon; also the FLOP of all.

    Diverged runs are infinite.
    """
    pairs = [(rate, seed) for rate in rates for seed in seeds]
    config = RunConfig(
        model=model,
        recipe=recipe,
        learning_rates=tuple(rate for rate, _ in pairs),
        seeds=tuple(seed for _, seed in pairs),
        tokens=tokens,
        branches=tuple(branches),
    )
    with torch.compiler.set_stance("force_eager"):  # compiling each shape would take longer
        outcome = train(config, text, device=device)
    ended = "wsd" if branches else recipe.schedule
    found: dict[int, list[float]] = {}
    for reading in outcome.readings:
        if reading["schedule"] == ended:
            loss = reading["loss"]
            found.setdefault(reading["tokens"], []).append(np.inf if loss is None else loss)
    shape = (len(rates), len(seeds))
    return {t: np.reshape(values, shape) for t, values in found.items()}, len(pairs) * outcome.flops


def cost(model: ModelConfig, tokens: float) -> float:
    """FLOP of a run."""
    return flops_per_token(model) * tokens


def parabola(log_rates: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Coefficients of a parabola through the finite losses near the lowest, highest power first."""
    near = np.abs(log_rates - log_rates[np.argmin(loss)]) <= NEAR * np.log(2)
    use = near & np.isfinite(loss)
    return np.polyfit(log_rates[use], loss[use], 2)


def vertex(log_rates: np.ndarray, loss: np.ndarray) -> float:
    """Natural log of the best rate: a parabola's vertex, inside the rates that were tried."""
    curvature, slope, _ = parabola(log_rates, loss)
    if curvature <= 0:
        return float(log_rates[np.argmin(loss)])
    return float(np.clip(-slope / (2 * curvature), log_rates[0], log_rates[-1]))


def known(path: Path) -> list[dict[str, Any]]:
    """The lines that are in a file already."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, record: dict[str, Any], model: ModelConfig, device: str) -> None:
    """Add one line to a file, with the model and the machine."""
    cuda = device.startswith("cuda")
    machine = {
        "device": torch.cuda.get_device_name(device) if cuda else device,
        "torch": torch.__version__,
    }
    with path.open("a") as file:
        file.write(json.dumps({**record, "model": asdict(model), **machine}) + "\n")
