"""Watch: how often, and how early, is the word on a large run that has begun the right one?

Trains the built-in trainer's small models on a few rates, then the first half of a target four
times as large at a third of the recommended rate, at it, and at three and ten times it, by several
seeds; asks `watch` at growing shares of it, with and without the small runs' curves. A run logged
in bits instead of nats is the good one times 1.44. About five CPU minutes:

    OMP_NUM_THREADS=1 python -m benchmarks.measurements.watch benchmarks/results/watch.jsonl

What is in the file is not asked again.
"""

import json
import math
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from horizon_bo import HorizonTuner, LoggedRun, SearchSpace
from horizon_bo.core.checks.watch import Curve, watched
from horizon_bo.runs.builtin import shaped_horizon, shaped_model, shaped_scale
from horizon_bo.store.threads import keep_to_one_thread
from horizon_bo.training.config import Recipe, RunConfig
from horizon_bo.training.corpus import batches, corpus
from horizon_bo.training.loop import Training, train
from horizon_bo.training.schedules import trunk_rate

SHAPES, TOKENS, RATES = ("16x2", "32x2"), (62_464, 250_880), (2e-3, 6e-3, 1.8e-2, 5.4e-2)
TARGET_SHAPE, TARGET_TOKENS, BATCH_TOKENS = "64x2", 2_000_896, 1_024
FACTORS = (1 / 3, 1.0, 3.0, 10.0)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
#: A point of the large run's curve is the mean of so many steps, as training scripts log it.
STEPS_A_POINT = 5
BITS = 1 / math.log(2)

app = typer.Typer(add_completion=False)


def small_runs() -> tuple[list[LoggedRun], dict[int, Curve]]:
    """The study's runs in order, and their curves by that order."""
    runs: list[LoggedRun] = []
    curves: dict[int, Curve] = {}
    for shape in SHAPES:
        for tokens in TOKENS:
            told: list[Mapping[str, Any]] = []
            model = shaped_model(shape)
            config = RunConfig(
                model=model,
                recipe=Recipe(batch_tokens=BATCH_TOKENS),
                learning_rates=RATES,
                seeds=(0,) * len(RATES),
                tokens=tokens,
            )
            outcome = train(config, corpus(), progress=told.append)
            seen = np.array([line["tokens"] for line in told], dtype=float)
            losses = np.array([line["loss"] for line in told], dtype=float)
            for k, reading in enumerate(outcome.readings):
                curves[len(runs)] = Curve(seen, losses[:, k])
                place = {"params": model.params, "tokens": tokens, "learning_rate": RATES[k]}
                diverged = reading["diverged"]
                runs.append(LoggedRun(loss=reading["loss"], diverged=diverged, **place))
    return runs, curves


def large_runs(rates: tuple[float, ...], seed: int) -> list[Curve]:
    """The first half of the target at several rates."""
    config = RunConfig(
        model=shaped_model(TARGET_SHAPE),
        recipe=Recipe(batch_tokens=BATCH_TOKENS),
        learning_rates=rates,
        seeds=(seed,) * len(rates),
        tokens=TARGET_TOKENS,
    )
    run, losses = Training(config, corpus()), []
    for step in range(int(max(SHARES) * TARGET_TOKENS) // BATCH_TOKENS):
        text = batches(run.text, config.seeds, step, run.rows, config.model.context)
        losses.append(run.step(text, trunk_rate(run.table, step)).double())
    points = torch.stack(losses).unfold(0, STEPS_A_POINT, STEPS_A_POINT).mean(dim=-1).numpy()
    seen = BATCH_TOKENS * STEPS_A_POINT * np.arange(1.0, len(points) + 1)
    return [Curve(seen, points[:, k]) for k in range(len(rates))]


@app.command()
def main(
    out: Path,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the large run.")] = 3,
) -> None:
    """Ask `watch` of large runs whose rate is known to be good or too high, a JSON line each."""
    torch.set_num_threads(1)
    keep_to_one_thread()
    done = (
        {json.loads(line)["seed"] for line in out.read_text().splitlines()}
        if out.exists()
        else set()
    )
    target = shaped_horizon(TARGET_SHAPE, TARGET_TOKENS, batch_tokens=BATCH_TOKENS)
    scales = [shaped_scale(shape) for shape in SHAPES]
    tokens = (float(min(TOKENS)), float(max(TOKENS)))
    space = SearchSpace(learning_rate=(1e-3, 0.2), scales=scales, tokens=tokens)
    tuner = HorizonTuner(target=target, space=space, budget=0.3 * target.flops)
    began = time.process_time()
    runs, recorded = small_runs()
    tuner.import_runs(runs)
    best = tuner.recommend().learning_rate
    args = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(args, capture_output=True, text=True, check=False).stdout.strip()
    about = {"commit": commit, "torch": version("torch"), "machine": platform.machine()}
    for seed in sorted(set(range(seeds)) - done):
        curves = large_runs(tuple(factor * best for factor in FACTORS), seed)
        cases = [(factor, "nats", curve) for factor, curve in zip(FACTORS, curves, strict=True)]
        good = curves[FACTORS.index(1.0)]
        cases.append((1.0, "bits", Curve(good.tokens, good.losses * BITS)))
        lines = []
        for factor, unit, curve in cases:
            for share in SHARES:
                count = int((curve.tokens <= share * TARGET_TOKENS).sum())
                so_far = Curve(curve.tokens[:count], curve.losses[:count])
                for known in ({}, recorded):
                    found = watched(tuner.study, tuner.belief, so_far, factor * best, known)
                    where = {"seed": seed, "factor": factor, "unit": unit, "share": share}
                    lines.append(
                        {**where, "curves": bool(known), "best": best, **asdict(found), **about}
                    )
        for line in lines:
            line["cpu_s"] = time.process_time() - began
        with out.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    app()
