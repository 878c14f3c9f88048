"""Tables for tests: synthetic ones with a known answer, and the public sweep where it is given."""

from pathlib import Path

import numpy as np
import pandas as pd

from horizon_bo.published.loss import ChinchillaLaw, chinchilla_law

CHINCHILLA = chinchilla_law("chinchilla")

Table = dict[str, list]


def chinchilla_table(
    rows: int = 400, noise: float = 0.004, law: ChinchillaLaw = CHINCHILLA, seed: int = 0
) -> Table:
    rng = np.random.default_rng(seed)
    params = np.exp(rng.uniform(np.log(5e7), np.log(1e10), rows))
    tokens = np.exp(rng.uniform(np.log(1e9), np.log(1e12), rows))
    loss = law.loss(params, tokens) * np.exp(noise * rng.standard_normal(rows))
    return {"params": params.tolist(), "tokens": tokens.tolist(), "loss": loss.tolist()}


def lr_sweep(
    slope_n: float = -0.5,
    slope_d: float = -0.3,
    sizes: tuple[float, ...] = (1e8, 2e8, 4e8, 8e8),
    lengths: tuple[float, ...] = (2e9, 4e9, 8e9, 1.6e10),
    batches: tuple[float, ...] = (262_144.0,),
    slope_b: float = 0.4,
    noise: float = 2e-4,
) -> Table:
    """Bowls in ln LR around `2e-3 (N/2e8)^slope_n (D/4e9)^slope_d (B/262144)^slope_b`."""
    rng = np.random.default_rng(1)
    rows = []
    for params in sizes:
        for tokens in lengths:
            for batch in batches:
                best = np.log(2e-3) + slope_n * np.log(params / 2e8)
                best += slope_d * np.log(tokens / 4e9) + slope_b * np.log(batch / 262_144)
                for rate in np.geomspace(2.5e-4, 1.6e-2, 13):
                    bowl = 1 + 0.0075 * (np.log(rate) - best) ** 2
                    level = 3.0 * (params / 2e8) ** -0.05 * (tokens / 4e9) ** -0.06
                    loss = level * bowl * np.exp(noise * rng.standard_normal())
                    rows.append((rate, params, tokens, batch, loss))
    names = ("learning_rate", "params", "tokens", "batch_tokens", "loss")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def steplaw(folder: Path, origin: str | None = None) -> Table:
    """The public Step Law sweep, all of it or what was published in one place."""
    frame = pd.read_csv(folder / "steplaw_dense.csv")
    if origin is not None:
        frame = frame[frame["origin"] == origin]
    return {str(name): frame[name].tolist() for name in frame}
