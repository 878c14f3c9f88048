"""Inputs: does weight decay as an input of the model beat pooling runs as equal, and as recipes?

    python -m benchmarks.measurements.inputs --out results/inputs.jsonl
    python -m benchmarks.measurements.inputs --show

Part of a sweep is hidden, the rest is believed in three ways: runs of several weight decays with
the decay as an input, as if all had the target's, and each other decay as a recipe of its own.
Scored are the hidden losses by their log predictive density, and the rate at the hidden cell that
has most rates against the vertex of its bowl. Parts that are in the file already are skipped. No
evidence behind the prior has seen either sweep.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.measurements.bowls import vertex
from horizon_bo.core.decision import decide
from horizon_bo.core.inference import Belief, believe, placed
from horizon_bo.core.points import Cells
from horizon_bo.core.seeds import BELIEF, study_generator
from horizon_bo.core.surrogate import (
    NOISE_FREEDOM,
    condition,
    draw_departures,
    features,
    level_mean,
)
from horizon_bo.evaluation.cases import find_sweep
from horizon_bo.study.changes import import_runs
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.trials import LoggedRun, Study, Trial

RESULTS = Path(__file__).parents[1] / "results" / "inputs.jsonl"
WAYS = ("input", "as equal", "as recipes")
SHIPPED, PUBLIC = "stdlib_gpt.csv", "sweeps/fantastic_ablations.csv"
#: Kinds of evidence behind the prior that share data with either sweep.
EXCLUDED = ("stdlib_gpt", "fantastic_optimizers", "fantastic_ablations")
#: One-at-a-time changes of the public sweep that are used, beside the runs they are made from.
VARIED = ("baseline", "learning_rate", "weight_decay")
#: Size that is hidden there; most of the runs are at the one below it.
HIDDEN_SIZE = 301_989_888
_FEWEST_RATES = 3
_DRAWS = 8
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Part:
    """A sweep with some of its runs hidden.

    Args:
        sweep: Its file.
        name: What is hidden.
        optimizer: Of all runs.
        seen: The runs that are believed.
        hidden: The runs that are to be foretold.
    """

    sweep: str
    name: str
    optimizer: str
    seen: pd.DataFrame
    hidden: pd.DataFrame


def parts() -> Iterator[Part]:
    """All parts, those of the sweep that ships first."""
    runs = pd.read_csv(find_sweep(SHIPPED))
    runs = runs[(runs.batch_tokens == 1024) & (runs.schedule == "cosine") & (runs.seed == 0)]
    runs = runs[(runs.averaging == "none") & (runs.parametrization == "standard")]
    decayed = runs[runs.weight_decay == 0.5]
    runs = runs[runs.params.isin(decayed.params)]
    for params, tokens in decayed[["params", "tokens"]].drop_duplicates().to_numpy():
        for decay in (0.1, 0.5):
            here = (runs.params == params) & (runs.tokens == tokens) & (runs.weight_decay == decay)
            name = f"{params:.0f} parameters, {tokens:.0f} tokens, decay {decay:g}"
            yield Part(SHIPPED, name, "adamw", runs[~here], runs[here])
    runs = pd.read_csv(find_sweep(PUBLIC))
    runs = runs[runs.varied.isin(VARIED)]
    for optimizer, own in runs.groupby("optimizer"):
        here = own.params == HIDDEN_SIZE
        if own[here].weight_decay.nunique() > 1 and own[~here].weight_decay.nunique() > 1:
            yield Part(PUBLIC, str(optimizer), str(optimizer), own[~here], own[here])


def logged(rows: pd.DataFrame, way: str, own: float) -> list[LoggedRun]:
    """Rows as runs, their weight decay told in one of the ways.

    Args:
        rows: Of one sweep.
        way: One of `WAYS`.
        own: The target's weight decay.
    """
    return [
        LoggedRun(
            learning_rate=row.learning_rate,
            params=row.params,
            tokens=row.tokens,
            batch_tokens=row.batch_tokens,
            loss=None if row.diverged else row.loss,
            diverged=bool(row.diverged),
            inputs={"weight_decay": row.weight_decay} if way == "input" else {},
            source=f"decay {row.weight_decay:g}"
            if way == "as recipes" and row.weight_decay != own
            else None,
        )
        for row in rows.itertuples()
    ]


def main_cell(hidden: pd.DataFrame) -> tuple[pd.DataFrame, float | None]:
    """The hidden cell of one weight decay with most finite rates, and the best rate's logarithm."""
    finite = hidden[~hidden.diverged]
    groups = [cell for _, cell in finite.groupby(["params", "tokens", "weight_decay"])]
    cell = max(groups, key=lambda rows: rows.learning_rate.nunique())
    loss = cell.groupby("learning_rate").loss.mean()
    if len(loss) < _FEWEST_RATES:
        return cell, None
    return cell, vertex(np.log(loss.index.to_numpy()), loss.to_numpy())


def study_of(part: Part, way: str) -> tuple[Study, list[Trial]]:
    """The study that knows what is not hidden, and the hidden runs as trials."""
    cell, _ = main_cell(part.hidden)
    row = cell.iloc[0]
    every = pd.concat([part.seen, part.hidden])
    study = Study(
        target=Horizon(
            params=row.params,
            tokens=row.tokens,
            batch_tokens=row.batch_tokens,
            inputs={"weight_decay": row.weight_decay} if way == "input" else {},
        ),
        space=SearchSpace(
            learning_rate=(every.learning_rate.min(), every.learning_rate.max()),
            scales=[Scale(params=size) for size in sorted(every.params.unique())],
            tokens=sorted(every.tokens.unique()),
        ),
        budget=1e30,
        optimizer=part.optimizer,
        excluded_data=EXCLUDED,
    )
    hidden = [
        study.trial_from(run, trial_id=k, charged=False)
        for k, run in enumerate(logged(part.hidden, way, row.weight_decay))
        if not run.diverged
    ]
    return import_runs(study, logged(part.seen, way, row.weight_decay)), hidden


def log_losses(study: Study, belief: Belief, hidden: Sequence[Trial]) -> np.ndarray:
    """−ln of the predictive density of each hidden loss, in nats."""
    labels = {label for trial in hidden if (label := study.recipe(trial)) is not None}
    recipes = (*belief.recipes, *sorted(labels - set(belief.recipes)))
    posterior = belief.posterior.with_recipes(len(recipes) - len(belief.recipes))
    points, runs = placed(study, hidden, recipes), belief.runs
    cells = Cells(
        torch.cat([runs.cells.log_scales, points.log_scales]),
        torch.cat([runs.cells.source, points.source]),
    )
    fit = condition(
        posterior.z, posterior.noise_scale, replace(runs, cells=cells), posterior.priors
    )
    drawn = draw_departures(fit, study_generator(study, BELIEF), _DRAWS)[..., len(runs.cells) :]
    c = fit.coefficients
    at = features(c, points)
    mean = level_mean(c, points.log_scales) + at.mean + (at.basis * drawn.mT).sum(-1)
    noise = torch.distributions.StudentT(NOISE_FREEDOM, mean, at.variance.sqrt())
    loss = torch.tensor([trial.loss for trial in hidden], dtype=torch.float64) / belief.loss_scale
    density = noise.log_prob(loss).flatten(0, 1)
    return -(density.logsumexp(0) - math.log(len(density)) - math.log(belief.loss_scale)).numpy()


def measure(out: Path) -> None:
    """Score what the file lacks, a line a part and way."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = Counter((line["sweep"], line["part"], line["way"]) for line in lines)
    for part in parts():
        for way in WAYS:
            if done[part.sweep, part.name, way]:
                continue
            study, hidden = study_of(part, way)
            belief = believe(study)
            lost = log_losses(study, belief, hidden)
            best = main_cell(part.hidden)[1]
            log_lr = decide(belief).log_lr
            record: dict[str, Any] = {
                "sweep": part.sweep,
                "part": part.name,
                "way": way,
                "seen": len(part.seen),
                "hidden": len(hidden),
                "log_loss": float(lost.mean()),
                "learning_rate": math.exp(log_lr),
                "octaves_off": None if best is None else (log_lr - best) / math.log(2),
                "acceptance": belief.posterior.acceptance,
            }
            if way == "input":
                slope = belief.posterior.coefficients.optimum_per_input
                record["slope"] = [float(slope.mean()), float(slope.std())]
            with out.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


def table(path: Path = RESULTS) -> str:
    """Held-out log loss and the rate by sweep and way, each against the input."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rows = pd.DataFrame(lines).drop(columns="slope", errors="ignore")
    noise = np.random.default_rng(0)
    text = "| sweep | weight decay | parts | log loss | less the input's | octaves off | "
    text += "less the input's |\n" + "|---" * 7 + "|\n"
    for sweep, own in rows.groupby("sweep", sort=False):
        log_loss = own.pivot_table(index="part", columns="way", values="log_loss")
        off = own.assign(off=own.octaves_off.abs())
        off = off.pivot_table(index="part", columns="way", values="off").dropna()
        for way in WAYS:
            text += f"| `{Path(str(sweep)).stem}` | {way} | {len(log_loss)} "
            for found, digits in ((log_loss, 2), (off, 2)):
                text += f"| {found[way].mean():.{digits}f} "
                text += f"| {_against(found[way] - found[WAYS[0]], noise, digits)} "
            text += "|\n"
    return text


def _against(more: pd.Series, noise: np.random.Generator, digits: int) -> str:
    """A mean difference with its 90 % interval, parts drawn anew."""
    if not more.any():
        return "–"
    values = more.to_numpy()
    drawn = noise.choice(values, (_RESAMPLES, len(values))).mean(1)
    low, high = np.quantile(drawn, (0.05, 0.95))
    return f"{values.mean():+.{digits}f} ({low:+.{digits}f} … {high:+.{digits}f})"


def main() -> None:
    """Measure or show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--show", action="store_true", help="print the table and measure nothing")
    given = parser.parse_args()
    if not given.show:
        measure(given.out)
    print(table(given.out))


if __name__ == "__main__":
    main()
