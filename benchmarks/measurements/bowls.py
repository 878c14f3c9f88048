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
) -> tuple[np.ndarray, float]:
    """Held-out losses of every rate × seed, all in one stack; also the FLOP of all.

    Diverged runs are infinite.
    """
    pairs = [(rate, seed) for rate in rates for seed in seeds]
    config = RunConfig(
        model=model,
        recipe=recipe,
        learning_rates=tuple(rate for rate, _ in pairs),
        seeds=tuple(seed for _, seed in pairs),
        tokens=tokens,
    )
    with torch.compiler.set_stance("force_eager"):  # compiling each shape would take longer
        outcome = train(config, text, device=device)
    found = [reading["loss"] for reading in outcome.readings]
    loss = np.array([np.inf if value is None else value for value in found])
    return loss.reshape(len(rates), len(seeds)), len(pairs) * outcome.flops


def vertex(log_rates: np.ndarray, loss: np.ndarray) -> float:
    """Natural log of the best rate: a parabola's vertex, inside the rates that were tried.

    The parabola goes through the finite losses near the lowest; fewer than three of them, or a
    curve that bends down, leave the lowest itself.
    """
    lowest = log_rates[np.argmin(loss)]
    use = np.isfinite(loss) & (np.abs(log_rates - lowest) <= NEAR * np.log(2))
    if use.sum() < 3:
        return float(lowest)
    curvature, slope, _ = np.polyfit(log_rates[use], loss[use], 2)
    if curvature <= 0:
        return float(lowest)
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
