"""Synthetic problems: who finds the rate where the truth is known, and what breaks whom?

One world that keeps every assumption of a power law, then worlds that break one each, and the test
function of PLES. As problems for tests, or written for the benchmark:

    python -m benchmarks.problems.synthetic OUT_FOLDER --seeds 3
    python -m benchmarks.harness.bench --cases OUT_FOLDER/cases.json …
"""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks.problems import worlds
from horizon_bo.evaluation.cases import Case, Problem, problem_on
from horizon_bo.tables.logged import logged_table

#: A sweep and the case it poses, in the form of a cases file.
Posed = tuple[pd.DataFrame, dict[str, Any]]

#: A law that holds: symmetric bowls of one curvature about a power law, and no divergence.
_PLAIN: Mapping[str, float] = MappingProxyType(
    {
        "bend": 0.0,
        "wobble": 0.0,
        "curvature_per_tokens": 0.0,
        "curvature_per_params": 0.0,
        "asymmetry": 0.0,
        "cliff": math.inf,
        "noise_freedom": 30.0,
    }
)

#: What each world breaks of it.
KINDS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "holds": {},
        # the slope of ln LR* in ln N changes by 0.4 from the smallest runs to the target
        "bends": {"bend": -0.12, "wobble": 0.15},
        # bowls four times flatter at the target than at the smallest, shortest runs
        "curvature": {"curvature_per_tokens": -0.25, "curvature_per_params": -0.15},
        # half of the runs diverge at 3.7 times the optimum, some at twice and some not at six times
        "cliff": {"cliff": 1.3, "raggedness": 0.4, "asymmetry": 1.0},
        # one run in twenty is off by more than six times the scale of the noise
        "tails": {"noise_freedom": 1.5},
    }
)


def world(kind: str, seed: int) -> Posed:
    """A world of that kind: levels, exponents and the optimum are drawn, its breach is fixed."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    law = {**worlds.law_of_world(rng), **_PLAIN, **KINDS[kind]}
    return worlds.sweep(law, rng), worlds.case(f"{kind}-{seed}", f"{kind}_{seed}.csv", law)


def problem(posed: Posed) -> Problem:
    """The problem that a sweep and its case pose."""
    frame, about = posed
    return problem_on(Case(**about), logged_table(frame, repeats=True).runs)


#: Grid of the PLES sweep; the function's optimum lies inside the rates in every cell.
PLES_SIZES = (6.25e7, 1.25e8, 2.5e8, 5e8)
PLES_TOKENS = (1.25e9, 2.5e9, 5e9, 1e10)
PLES_RATES = tuple(2.0**k for k in range(-14, -8))
PLES_BATCHES = (2.0**19, 2.0**20, 2.0**21)
PLES_TARGET_PARAMS, PLES_TARGET_TOKENS = 1e9, 2e10

#: Exponent of D in the loss and its amplitude. Source: Hoffmann et al. (2022), as in PLES.
_TOKENS_EXPONENT, _TOKENS_AMPLITUDE = 0.28, 410.7

#: Curvature of the loss in ln η and in ln B.
_RATE_CURVATURE, _BATCH_CURVATURE = 0.40, 0.15


def ples_optimum(params: float, tokens: float) -> float:
    """The best rate of the PLES function, η* = 0.1896 N^−0.734 D^0.342."""
    return 0.1896 * params**-0.734 * tokens**0.342


def ples_loss(rate: float, params: float, tokens: float, batch: float) -> float:
    """The synthetic loss of PLES, noiseless.

        L = 1.69 + 406.4/N^0.34 + 410.7/D^0.28 + 0.40 ln²(η/η*) + 0.15 ln²(B/B*),
        B* = 14.9624 D^0.5

    Source: Chen et al. (2026), arXiv 2609.01431, appendix C.
    """
    floor = 1.69 + 406.4 * params**-0.34 + _TOKENS_AMPLITUDE * tokens**-_TOKENS_EXPONENT
    by_rate = _RATE_CURVATURE * math.log(rate / ples_optimum(params, tokens)) ** 2
    return floor + by_rate + _BATCH_CURVATURE * math.log(batch / (14.9624 * tokens**0.5)) ** 2


def ples() -> Posed:
    """The PLES function on a grid of 288 runs, at a target of four times the dearest one's cost."""
    rows = [
        (rate, params, tokens, batch, ples_loss(rate, params, tokens, batch))
        for params, tokens, batch, rate in product(
            PLES_SIZES, PLES_TOKENS, PLES_BATCHES, PLES_RATES
        )
    ]
    frame = pd.DataFrame(
        rows, columns=["learning_rate", "params", "tokens", "batch_tokens", "loss"]
    )
    best = ples_optimum(PLES_TARGET_PARAMS, PLES_TARGET_TOKENS)
    log_ratio = np.linspace(-3, 3, 121)
    return frame, {
        "name": "ples-1000M-20B",
        "sweep": "ples.csv",
        "target_params": PLES_TARGET_PARAMS,
        "target_tokens": PLES_TARGET_TOKENS,
        "batch_tokens": PLES_BATCHES[-1],
        "pool_batch": "any",
        "truth": {
            "learning_rate": (best * np.exp(log_ratio)).tolist(),
            "excess": (_RATE_CURVATURE * log_ratio**2).tolist(),
            "optimum": best,
            "optimum_log_sd": 0.0,
            "minimum": ples_loss(best, PLES_TARGET_PARAMS, PLES_TARGET_TOKENS, PLES_BATCHES[-1]),
            "loss_per_log_tokens": _TOKENS_EXPONENT
            * _TOKENS_AMPLITUDE
            * PLES_TARGET_TOKENS**-_TOKENS_EXPONENT,
        },
    }


def all_posed(seeds: int) -> Iterator[Posed]:
    """The PLES function, and every kind of world at that many seeds."""
    yield ples()
    for kind in KINDS:
        for seed in range(seeds):
            yield world(kind, seed)


def main(
    folder: Path,
    seeds: Annotated[int, typer.Option(min=1, help="Worlds of each kind.")] = 3,
) -> None:
    """Write the synthetic sweeps and their cases.

    Example: python -m benchmarks.problems.synthetic build/synthetic --seeds 3
    """
    worlds.write(folder, list(all_posed(seeds)))


if __name__ == "__main__":
    typer.run(main)
